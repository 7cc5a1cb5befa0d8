//! `/users`: who may sign in, and as what.

use super::chrome::Chrome;
use super::forms::{Choice, Problem};
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// Forms, each with `csrf`: `POST /users` (`name`, `role`, `groups`, `password`), `POST /users/{name}/role` (`role`),
/// `POST /users/{name}/groups` (`groups`), `POST /users/{name}/password` (`password`),
/// `POST /users/{name}/disable` and `POST /users/{name}/enable`.
#[derive(Template)]
#[template(path = "users.html")]
pub struct Users {
    pub chrome: Chrome,
    pub rows: Vec<UserRow>,
    pub form: NewUser,
    pub problems: Vec<Problem>,
}

pub struct UserRow {
    pub name: String,
    pub role_word: String,
    /// To change it.
    pub roles: Vec<Choice>,
    /// With commas between them.
    pub groups: String,
    pub enabled: bool,
    pub since: Moment,
    /// The viewer: who changes their own role or switches themselves off is locked out.
    pub me: bool,
}

impl UserRow {
    pub fn status(&self) -> Status {
        Status::account(self.enabled)
    }
}

/// What was typed; a password is never shown again.
#[derive(Default)]
pub struct NewUser {
    pub name: String,
    pub roles: Vec<Choice>,
    pub groups: String,
}
