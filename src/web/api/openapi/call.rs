//! One call, put together: the words that every call needs, said once.

use super::problem;
use super::{BEARER, SESSION};
use crate::auth::policy::Permission;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{KnownFormat, Object, Ref, RefOr, Required};

/// A method of an address, and the schemas that it names.
pub struct Call {
    pub method: HttpMethod,
    pub path: &'static str,
    pub operation: Operation,
    pub schemas: Vec<(String, RefOr<Schema>)>,
}

/// A call in the making.
pub struct Draft {
    method: HttpMethod,
    path: &'static str,
    operation: OperationBuilder,
    about: Vec<String>,
    schemas: Vec<(String, RefOr<Schema>)>,
    lists: bool,
}

pub fn get(path: &'static str, id: &str, summary: &str) -> Draft {
    Draft::new(HttpMethod::Get, path, id, summary)
}

pub fn post(path: &'static str, id: &str, summary: &str) -> Draft {
    Draft::new(HttpMethod::Post, path, id, summary)
}

pub fn put(path: &'static str, id: &str, summary: &str) -> Draft {
    Draft::new(HttpMethod::Put, path, id, summary)
}

pub fn patch(path: &'static str, id: &str, summary: &str) -> Draft {
    Draft::new(HttpMethod::Patch, path, id, summary)
}

/// What an answer's header means.
#[derive(Clone, Copy)]
pub enum AnswerHeader {
    Location,
    ETag,
    Link,
}

impl AnswerHeader {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            AnswerHeader::Location => ("Location", "The address of what was made."),
            AnswerHeader::ETag => ("ETag", "The version in quotes, for `If-Match`: `\"3\"`."),
            AnswerHeader::Link => ("Link", "The next page, with `rel=\"next\"`; missing on the last."),
        }
    }
}

impl Draft {
    fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Draft {
        let operation = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        let draft = Draft { method, path, operation, about: Vec::new(), schemas: Vec::new(), lists: false };
        // Nobody promises that nothing of ours ever breaks.
        draft.problem(500)
    }

    pub fn about(mut self, text: &str) -> Draft {
        self.about.push(text.to_owned());
        self
    }

    /// Who may: taken from the policy, so that it is what the door asks.
    pub fn needs(mut self, permission: Permission) -> Draft {
        let scopes: Vec<&str> = permission.needs().iter().map(|scope| scope.as_str()).collect();
        for scope in &scopes {
            self.operation = self.operation.security(SecurityRequirement::new(BEARER, [*scope]));
        }
        self.operation = self.operation.security(SecurityRequirement::new::<_, [&str; 0], _>(SESSION, []));
        let role = permission.role().map_or(String::new(), |role| format!(" and the role {}", role.as_str()));
        self.about.push(format!("Needs the scope `{}`{role}.", scopes.join("` or `")));
        [401, 403, 429, 503].into_iter().fold(self, Draft::problem)
    }

    /// Anybody may, without a token.
    pub fn open(mut self) -> Draft {
        self.operation = self.operation.securities(Some([]));
        self
    }

    pub fn path_number(self, name: &str, about: &str) -> Draft {
        let number = whole_number().minimum(Some(1)).build();
        self.parameter(ParameterIn::Path, name, about, number).problem(400).problem(404)
    }

    /// The number of a run, which may be in the archive.
    pub fn path_run(self) -> Draft {
        self.path_number("id", "The run's number.").problem(410)
    }

    pub fn path_text(self, name: &str, about: &str) -> Draft {
        self.parameter(ParameterIn::Path, name, about, text()).problem(404)
    }

    pub fn query_text(self, name: &str, about: &str) -> Draft {
        self.query(name, about, text())
    }

    pub fn query_number(self, name: &str, about: &str) -> Draft {
        self.query(name, about, whole_number().build())
    }

    /// A number from `low` to `high`.
    pub fn query_range(self, name: &str, about: &str, low: f64, high: f64) -> Draft {
        let whole = low.fract() == 0.0;
        let kind = if whole { Type::Integer } else { Type::Number };
        let range = ObjectBuilder::new().schema_type(kind).minimum(Some(low)).maximum(Some(high));
        self.query(name, about, range.build())
    }

    /// 1 or true, 0 or false.
    pub fn query_flag(self, name: &str, about: &str) -> Draft {
        let words = text_builder().enum_values(Some(["1", "true", "0", "false"])).build();
        self.query(name, about, words)
    }

    /// `from` and `to`.
    pub fn query_span(self, of_what: &str) -> Draft {
        let form = "a time (2026-11-22T14:00:00Z) or a day (2026-11-22)";
        self.query_text("from", &format!("Only {of_what} from then on: {form}."))
            .query_text("to", &format!("Only {of_what} before then: {form}, which is included."))
    }

    fn query(self, name: &str, about: &str, schema: Object) -> Draft {
        self.parameter(ParameterIn::Query, name, about, schema).problem(400)
    }

    /// The parameters of every list.
    pub fn list(mut self) -> Draft {
        self.lists = true;
        self.query_range("limit", "How many at most; 50 unless said otherwise.", 1.0, 200.0)
            .query_text("cursor", "Where to go on: `next` of the page before.")
    }

    pub fn request_header(self, name: &str, about: &str, schema: Object) -> Draft {
        self.parameter(ParameterIn::Header, name, about, schema)
    }

    /// `If-Match`, against lost edits.
    pub fn if_match(self) -> Draft {
        let about = "The version that you saw, as in `ETag`. If somebody saved another since, the answer is 412. \
                     Without it, or with `*`, yours is saved on top.";
        self.request_header("If-Match", about, text()).problem(400).problem(412)
    }

    fn parameter(mut self, place: ParameterIn, name: &str, about: &str, schema: Object) -> Draft {
        let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(about))
            .schema(Some(Schema::Object(schema)));
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// A JSON body. Whatever the shape says, fields that it does not name are refused: the reader of bodies does.
    pub fn body<T: ToSchema>(mut self, example: Value) -> Draft {
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        remember::<T>(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), schema));
        let content = ContentBuilder::new().schema(Some(named::<T>())).example(Some(example)).build();
        let body =
            RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", content);
        self.operation = self.operation.request_body(Some(body.build()));
        [400, 413, 415, 422].into_iter().fold(self, Draft::problem)
    }

    /// An answer in JSON.
    pub fn answer<T: ToSchema>(self, status: u16, about: &str, headers: &[AnswerHeader]) -> Draft {
        self.answer_as::<T>(status, about, "application/json", headers)
    }

    /// An answer in JSON that has a media type of its own.
    pub fn answer_as<T: ToSchema>(
        mut self,
        status: u16,
        about: &str,
        media_type: &str,
        headers: &[AnswerHeader],
    ) -> Draft {
        remember::<T>(&mut self.schemas);
        let content = ContentBuilder::new().schema(Some(named::<T>())).build();
        self.respond(status, ResponseBuilder::new().description(about).content(media_type, content), headers)
    }

    /// An answer that is text, in one or more media types.
    pub fn answer_text(self, about: &str, media_types: &[(&str, &str)]) -> Draft {
        let response = media_types.iter().fold(
            ResponseBuilder::new().description(about),
            |response, (media_type, about)| {
                let schema = text_builder().description(Some(*about)).build();
                let content = ContentBuilder::new().schema(Some(Schema::Object(schema))).build();
                response.content(*media_type, content)
            },
        );
        self.respond(200, response, &[])
    }

    /// A schema that the words of this call name.
    pub fn names<T: ToSchema>(mut self) -> Draft {
        remember::<T>(&mut self.schemas);
        self
    }

    fn respond(mut self, status: u16, response: ResponseBuilder, headers: &[AnswerHeader]) -> Draft {
        let link: &[AnswerHeader] = if self.lists { &[AnswerHeader::Link] } else { &[] };
        let response = headers.iter().chain(link).fold(response, |response, header| {
            let (name, about) = header.words();
            let schema = RefOr::T(Schema::Object(text()));
            response.header(name, HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build())
        });
        self.operation = self.operation.response(status.to_string(), response.build());
        self
    }

    /// A refusal in general words.
    pub fn problem(mut self, status: u16) -> Draft {
        let response = Ref::from_response_name(problem::name(status));
        self.operation = self.operation.response(status.to_string(), RefOr::Ref(response));
        self
    }

    /// A refusal that means something of its own here.
    pub fn problem_as<T: ToSchema>(mut self, status: u16, about: &str) -> Draft {
        remember::<T>(&mut self.schemas);
        self.operation = self.operation.response(status.to_string(), problem::response::<T>(about));
        self
    }

    pub fn tag(self, tag: &str) -> Call {
        let about = self.about.join(" ");
        let about = (!about.is_empty()).then_some(about);
        let operation = self.operation.description(about).tag(tag).build();
        Call { method: self.method, path: self.path, operation, schemas: self.schemas }
    }
}

/// Adds a shape and those that it is made of; a later one of the same name takes its place.
pub fn remember<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
}

/// A reference to a shape by its name.
pub fn named<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

fn text_builder() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub fn text() -> Object {
    text_builder().build()
}

/// Text of at most so many characters.
pub fn short_text(most: usize) -> Object {
    text_builder().min_length(Some(1)).max_length(Some(most)).build()
}

fn whole_number() -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format))
}
