//! The data repository: licence applications of made-up companies.
//!
//! Owns `applications.json`. It only reads; nothing here changes an application.

use super::refusal;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use std::sync::LazyLock;

static APPLICATIONS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("applications.json"))
        .expect("applications.json in the binary is a list")
});

/// Every application, in the order of their numbers.
pub fn applications() -> &'static [Value] {
    &APPLICATIONS
}

/// The application with this number.
pub fn application(license_id: i64) -> Option<&'static Value> {
    APPLICATIONS.iter().find(|application| application["license_id"] == license_id)
}

/// `GET /repository/applications`: number, subject and applicant of each.
pub async fn list() -> HttpResponse {
    let line = |application: &Value| {
        json!({
            "license_id": application["license_id"],
            "subject": application["subject"],
            "applicant": application["applicant"]["name"],
            "about": application["about"],
        })
    };
    HttpResponse::Ok().json(json!({"applications": applications().iter().map(line).collect::<Vec<_>>()}))
}

/// `GET /repository/applications/{license_id}`.
pub async fn show(license_id: web::Path<String>) -> HttpResponse {
    let found = license_id.parse().ok().and_then(application);
    match found {
        Some(application) => {
            // What it is made to show is for the list; a real register would not say.
            let mut application = application.clone();
            if let Some(fields) = application.as_object_mut() {
                fields.shift_remove("about");
            }
            HttpResponse::Ok().json(application)
        }
        None => {
            let numbers: Vec<String> =
                applications().iter().map(|known| known["license_id"].to_string()).collect();
            let message = format!(
                "The data repository has no application for licence #{}. The demo has: {}.",
                license_id.chars().take(40).collect::<String>(),
                numbers.join(", ")
            );
            refusal(&HttpResponse::NotFound, "no such application", &message)
        }
    }
}
