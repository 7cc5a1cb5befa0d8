//! `/sign-in`.

use super::chrome::Chrome;
use askama::Template;

/// The form sends `user`, `password`, `next` and `csrf` to `POST /sign-in`.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignIn {
    pub chrome: Chrome,
    /// What was typed before, so that only the password has to be typed again.
    pub user_name: String,
    pub error: Option<String>,
    /// Where to go afterwards: a path of ours.
    pub next: String,
    /// In demo mode: who exists.
    pub demo_users: Vec<DemoUser>,
}

pub struct DemoUser {
    pub name: String,
    /// What this user can do, in a few words.
    pub can: String,
}
