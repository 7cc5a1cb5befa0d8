//! 403, 404, 409, 500: what happened, and what to do next.

use super::chrome::Chrome;
use askama::Template;

#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    pub chrome: Chrome,
    pub heading: String,
    pub sentence: String,
    /// What to do next, one sentence each.
    pub advice: Vec<String>,
    /// 403: the permission that is missing, and whom to ask for it.
    pub missing: Option<Missing>,
    /// 500: the one thing to tell an admin. Nothing else of the fault is ever shown.
    pub request_id: Option<String>,
}

pub struct Missing {
    /// `approvals:decide`.
    pub permission: String,
    pub ask: String,
}

impl ErrorPage {
    pub fn forbidden(chrome: Chrome, message: &str, permission: &str) -> ErrorPage {
        let missing =
            Missing { permission: permission.to_owned(), ask: "An admin can change your role.".to_owned() };
        ErrorPage {
            missing: Some(missing),
            ..ErrorPage::plain(
                chrome,
                "You may not do this",
                message,
                &["Your try was written into the activity log."],
            )
        }
    }

    pub fn not_found(chrome: Chrome) -> ErrorPage {
        ErrorPage::plain(
            chrome,
            "Page not found",
            "There is nothing at this address, or you may not see it.",
            &["Check the address for typing mistakes.", "Look for the run or protocol in its list."],
        )
    }

    pub fn conflict(chrome: Chrome, message: &str) -> ErrorPage {
        ErrorPage::plain(
            chrome,
            "Somebody was faster",
            message,
            &["Go back and load the page again to see how things stand now."],
        )
    }

    pub fn internal(chrome: Chrome, request_id: &str) -> ErrorPage {
        let advice = ["Try again in a minute.", "If it happens again, give an admin the request id below."];
        ErrorPage {
            request_id: Some(request_id.to_owned()),
            ..ErrorPage::plain(chrome, "Something went wrong here", "It is our fault, not yours.", &advice)
        }
    }

    /// Any other refusal, in its own words.
    pub fn plain(chrome: Chrome, heading: &str, sentence: &str, advice: &[&str]) -> ErrorPage {
        ErrorPage {
            chrome,
            heading: heading.to_owned(),
            sentence: sentence.to_owned(),
            advice: advice.iter().map(|&line| line.to_owned()).collect(),
            missing: None,
            request_id: None,
        }
    }
}
