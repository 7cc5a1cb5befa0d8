//! What a request asks of the log page: what stands in the box, and what stands in the fields.

use super::super::sent::Sent;
use crate::store::log_search::LogFilter;
use crate::web::log_search;
use crate::web::pages::forms::Problem;

pub const KNOWN: [&str; 10] =
    ["search", "run_id", "actor", "step", "type", "status", "from", "to", "q", "cursor"];

#[derive(Debug, Default)]
pub struct Asked {
    pub filter: LogFilter,
    /// What is wrong, in the box or at a field.
    pub problems: Vec<Problem>,
    /// What is wrong in the box.
    pub search_errors: Vec<String>,
    typed: String,
}

impl Asked {
    /// Both together: links from elsewhere use the fields' names, and an entry must fit all that is asked.
    pub fn read(query: &Sent) -> Asked {
        let mut asked = Asked { typed: query.text("search"), ..Asked::default() };
        asked.filter = asked.fields(query);
        match log_search::read(&asked.typed) {
            Ok(search) => {
                if let Err(name) = log_search::join(&mut asked.filter, search) {
                    asked
                        .search_errors
                        .push(format!("A field asks for another {name}: than the box. Clear one."));
                }
            }
            Err(errors) => asked.search_errors = errors,
        }
        let told = asked.search_errors.iter().map(|error| Problem::at_field("search", error));
        asked.problems.extend(told);
        asked
    }

    pub fn is_wrong(&self) -> bool {
        !self.problems.is_empty()
    }

    /// What stands in the box: the whole filter in its one spelling, or what was typed if something is wrong.
    pub fn search(&self) -> String {
        if self.is_wrong() { self.typed.clone() } else { log_search::write(&self.filter) }
    }

    fn fields(&mut self, query: &Sent) -> LogFilter {
        let run = query.filled("run_id").map(|text| log_search::run(&text));
        let moment = |name, is_end| query.filled(name).map(|text| log_search::moment(name, &text, is_end));
        LogFilter {
            run_id: self.taken("run_id", run),
            actor: query.filled("actor"),
            step: query.filled("step"),
            type_name: query.filled("type"),
            status: query.filled("status"),
            from: self.taken("from", moment("from", false)),
            to: self.taken("to", moment("to", true)),
            texts: self
                .taken("q", query.filled("q").map(|text| log_search::read_texts(&text)))
                .unwrap_or_default(),
        }
    }

    fn taken<T>(&mut self, field: &str, read: Option<Result<T, String>>) -> Option<T> {
        match read? {
            Ok(value) => Some(value),
            Err(message) => {
                self.problems.push(Problem::at_field(field, message));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Asked {
        Asked::read(&Sent::query(query, &KNOWN).expect("known"))
    }

    #[test]
    fn box_and_fields_say_the_same() {
        let fields = asked("run_id=%239001&actor=ada&type=step.failed&from=2026-11-22&q=a+%22b+c%22");
        assert_eq!(fields.search(), "run:9001 actor:ada type:step.failed from:2026-11-22 a \"b c\"");
        let typed = asked("search=run%3A9001+actor%3Aada+type%3Astep.failed+from%3A2026-11-22+a+%22b+c%22");
        assert_eq!(typed.filter, fields.filter);
        assert!(!typed.is_wrong());
        assert_eq!(asked("actor=ada&search=status%3Afailed").search(), "actor:ada status:failed");
        assert_eq!(asked("q=actor%3Aada").search(), "\"actor:ada\"", "in the field it is text");
    }

    #[test]
    fn what_cannot_be_searched_for_says_so_at_its_field() {
        let fields = |query: &str| -> Vec<String> {
            asked(query).problems.iter().map(|problem| problem.field.clone()).collect()
        };
        assert_eq!(fields("run_id=x&from=2026-13-01&q=%22open"), ["run_id", "from", "q"]);
        assert_eq!(fields("search=actr%3Aada"), ["search"]);
        assert_eq!(fields("search=actor%3Aada&actor=eve"), ["search"]);
        assert_eq!(asked("search=actr%3Aada").search(), "actr:ada", "what was typed stays to be mended");
    }
}
