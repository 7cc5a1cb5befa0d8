//! `/users`: who may sign in, and as what.

use super::sent::{Form, Sent};
use super::visit::{Visit, page, page_with, role_word, see_other};
use crate::auth::policy::{Permission, Role};
use crate::store::users::{self, User};
use crate::web::doors::Doors;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::moment::Moment;
use crate::web::pages::users::{NewUser, UserRow, Users};
use crate::web::people;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

/// `GET /users`.
///
/// # Errors
/// 403.
pub async fn index(visit: Visit) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ManageUsers).await?;
    page(&view(&visit, None, Vec::new()).await?)
}

/// `POST /users`.
///
/// # Errors
/// 403. Problems come back with the form.
pub async fn create(
    visit: Visit,
    doors: web::Data<Doors>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ManageUsers).await?;
    let Some(role) = Role::parse(&sent.text("role")) else { return Err(no_role()) };
    let (name, password) = (sent.text("name"), sent.raw("password").to_owned());
    let groups = groups(&sent);
    match people::create(&visit.site, &doors, &visit.who, name, role, groups, password).await {
        Ok(user) => {
            visit.notice(true, format!("The user {} is added.", user.name));
            Ok(see_other("/users"))
        }
        Err(error) => refused(&visit, Some(&sent), error).await,
    }
}

/// `POST /users/{name}/role`.
///
/// # Errors
/// 403, 404, 409.
pub async fn set_role(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let Some(role) = Role::parse(&sent.text("role")) else { return Err(no_role()) };
    let user = people::set_role(&visit.site, &visit.who, path.into_inner(), role).await?;
    done(&visit, &format!("{} is now {}.", user.name, role_word(role)))
}

/// `POST /users/{name}/groups`.
///
/// # Errors
/// 403, 404. Problems come back with the page.
pub async fn set_groups(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    match people::set_groups(&visit.site, &visit.who, path.into_inner(), groups(&sent)).await {
        Ok(user) => done(&visit, &format!("The groups of {} are changed.", user.name)),
        Err(error) => refused(&visit, None, error).await,
    }
}

/// Names with commas or spaces between them.
fn groups(sent: &Sent) -> Vec<String> {
    let typed = sent.text("groups");
    let names = typed.split(|letter: char| letter == ',' || letter.is_whitespace());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// `POST /users/{name}/password`.
///
/// # Errors
/// 403, 404. Problems come back with the page.
pub async fn set_password(
    visit: Visit,
    doors: web::Data<Doors>,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let (name, password) = (path.into_inner(), sent.raw("password").to_owned());
    match people::set_password(&visit.site, &doors, &visit.who, name, password).await {
        Ok(user) => done(&visit, &format!("{} has a new password, and signs in again.", user.name)),
        Err(error) => refused(&visit, None, error).await,
    }
}

/// `POST /users/{name}/disable`.
///
/// # Errors
/// 403, 404, 409.
pub async fn disable(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let user = people::disable(&visit.site, &visit.who, path.into_inner()).await?;
    done(&visit, &format!("{} is switched off, and signed out everywhere.", user.name))
}

/// `POST /users/{name}/enable`.
///
/// # Errors
/// 403, 404, 409.
pub async fn enable(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let user = people::enable(&visit.site, &visit.who, path.into_inner()).await?;
    done(&visit, &format!("{} may sign in again.", user.name))
}

fn done(visit: &Visit, said: &str) -> Result<HttpResponse, AppError> {
    visit.notice(true, said);
    Ok(see_other("/users"))
}

fn no_role() -> AppError {
    AppError::field("role", "Choose one of the roles: staff, supervisor, auditor, admin.")
}

/// What is wrong with the form of a new user goes to its fields; with another form, to the top of the page.
async fn refused(visit: &Visit, new: Option<&Sent>, error: AppError) -> Result<HttpResponse, AppError> {
    let AppError::Unprocessable { errors } = error else { return Err(error) };
    let problems = errors.into_iter().map(|error| {
        let field = if new.is_some() { error.path.trim_start_matches("$.") } else { "" };
        Problem::at_field(field, error.message)
    });
    let view = view(visit, new, problems.collect()).await?;
    page_with(StatusCode::UNPROCESSABLE_ENTITY, &view)
}

async fn view(visit: &Visit, typed: Option<&Sent>, problems: Vec<Problem>) -> Result<Users, AppError> {
    let found = visit.site.read(|connection| Ok(users::list(connection)?)).await?;
    let role = typed.map(|sent| sent.text("role")).unwrap_or_default();
    Ok(Users {
        rows: found.into_iter().map(|user| row(user, &visit.who.user)).collect(),
        form: NewUser {
            name: typed.map(|sent| sent.text("name")).unwrap_or_default(),
            roles: roles(&role),
            groups: typed.map(|sent| sent.text("groups")).unwrap_or_default(),
        },
        problems,
        chrome: visit.chrome("Users", "/users").await?,
    })
}

fn row(user: User, me: &str) -> UserRow {
    UserRow {
        role_word: Role::parse(&user.role).map_or(user.role.clone(), |role| role_word(role).to_owned()),
        roles: roles(&user.role),
        groups: user.groups.join(", "),
        enabled: user.disabled_at.is_none(),
        since: Moment::new(user.created_at),
        me: user.name == me,
        name: user.name,
    }
}

fn roles(chosen: &str) -> Vec<Choice> {
    Role::ALL.map(|role| Choice::new(role.as_str(), role_word(role), role.as_str() == chosen)).into()
}
