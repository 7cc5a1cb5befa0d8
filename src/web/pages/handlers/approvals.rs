//! `/approvals`: what awaits a decision, and what was decided; with its stream.

use super::rows::{self, PAGE};
use super::sent::Sent;
use super::visit::{Visit, page};
use crate::auth::policy::{Permission, Principal};
use crate::scheduler::Scheduler;
use crate::store::Connection;
use crate::store::approvals::{self as store, ApprovalFilter, ApprovalRow};
use crate::store::error::StoreError;
use crate::web::live::{self, Frame, Live};
use crate::web::pages::approvals::Approvals;
use crate::web::pages::chrome::Chrome;
use crate::web::problem::AppError;
use crate::web::site::Site;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use sha2::{Digest, Sha256};
use std::time::Instant;

const KNOWN: [&str; 3] = ["tab", "mine", "cursor"];

/// `GET /approvals`, and `?tab=history`.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadApprovals).await?;
    let query = Sent::query(req.query_string(), &KNOWN)?;
    let chrome = visit.chrome("Approvals", "/approvals").await?;
    if query.raw("tab") == "history" {
        return history(&visit, &query, chrome).await;
    }
    let list = Awaiting::of(&visit, &query)?;
    let view = list.view(&visit.site, &visit.who, chrome).await?;
    let position = position(&view)?;
    page(&Approvals { live_href: Some(query.address_with("/approvals/live", "after", &position)), ..view })
}

/// `GET /approvals/live?after=…`: the list again, whenever it looks different.
///
/// # Errors
/// 401, 403: never a redirect.
pub async fn live(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let listener = visit.site.scheduler.changes.listen();
    visit.permit(Permission::ReadApprovals).await?;
    let query = Sent::query(req.query_string(), &["tab", "mine", "cursor", "after"])?;
    let after = live::position(&req, query.raw("after")).unwrap_or_default();
    let list = Awaiting::of(&visit, &query)?;
    let (site, who) = (visit.site.clone(), visit.who.clone());
    let stream = Live { listener, of: None, session: live::session(&req)?, site: visit.site.clone() };
    Ok(stream.respond(after, move |seen: &mut String| {
        let (site, who, list, known) = (site.clone(), who.clone(), list.clone(), seen.clone());
        async move {
            let began = Instant::now();
            let view = list.view(&site, &who, Chrome::default()).await?;
            let now = position(&view)?;
            let html = if now == known { None } else { Some(draw(&view)?) };
            Ok((now.clone(), Frame { html, id: now, end: false, drawing: began.elapsed() }))
        }
    }))
}

/// What a list looks like, in a few letters: two lists that look alike have the same position.
fn position(view: &Approvals) -> Result<String, AppError> {
    Ok(hex::encode(&Sha256::digest(draw(view)?.as_bytes())[..12]))
}

fn draw(view: &Approvals) -> Result<String, AppError> {
    view.as_live().render().map_err(AppError::internal)
}

/// The list of what waits: first what the viewer may decide, then what others must.
#[derive(Debug, Clone)]
struct Awaiting {
    query: Sent,
    decidable: ApprovalFilter,
    /// None: the viewer asked for the first part alone.
    others: Option<ApprovalFilter>,
    cursor: Option<(Part, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Decidable,
    Others,
}

impl Awaiting {
    fn of(visit: &Visit, query: &Sent) -> Result<Awaiting, AppError> {
        let decidable = visit.decidable();
        let others = ApprovalFilter {
            barred_for: decidable.decidable_by.clone(),
            decidable_by: None,
            run_starter: visit.only_runs_of(),
            ..decidable.clone()
        };
        Ok(Awaiting {
            query: query.clone(),
            decidable,
            others: (query.raw("mine") != "1").then_some(others),
            cursor: query.filled("cursor").map(|text| place(&text)).transpose()?,
        })
    }

    async fn view(&self, site: &Site, who: &Principal, chrome: Chrome) -> Result<Approvals, AppError> {
        let (list, scheduler, who) = (self.clone(), site.scheduler.clone(), who.clone());
        let read = site.read(move |connection| list.read(connection, &scheduler, &who));
        let (approvals, next) = read.await?;
        Ok(Approvals {
            chrome,
            awaiting: true,
            approvals,
            first: self.cursor.map(|_| self.query.address_with("/approvals", "cursor", "")),
            next: next.map(|next| self.query.address_with("/approvals", "cursor", &next)),
            live_href: None,
        })
    }

    fn read(
        &self,
        connection: &mut Connection,
        scheduler: &Scheduler,
        who: &Principal,
    ) -> Result<(Vec<crate::web::pages::approvals::ApprovalRow>, Option<String>), StoreError> {
        let (mut rows, mut own) = (Vec::new(), 0);
        if !matches!(self.cursor, Some((Part::Others, _))) {
            let after = self.cursor.map(|(_, after)| after);
            rows = store::list(connection, &self.decidable, after, PAGE + 1)?;
            own = rows.len();
        }
        if let (Some(others), true) = (&self.others, own <= PAGE as usize) {
            let after = self.cursor.filter(|(part, _)| *part == Part::Others).map(|(_, after)| after);
            rows.extend(store::list(connection, others, after, PAGE + 1 - own as i64)?);
        }
        let part = if own >= PAGE as usize { "d" } else { "o" };
        let next = rows::cut(&mut rows, |row: &ApprovalRow| format!("{part}{}", row.id));
        Ok((rows::approvals(connection, scheduler, who, rows)?, next))
    }
}

/// `d7`: after 7 among what the viewer may decide; `o7`: among the others.
fn place(text: &str) -> Result<(Part, i64), AppError> {
    let wrong = || AppError::BadRequest("The cursor is not one of ours. Begin at the first page.".to_owned());
    let (part, rest) = match text.split_at_checked(1) {
        Some(("d", rest)) => (Part::Decidable, rest),
        Some(("o", rest)) => (Part::Others, rest),
        _ => return Err(wrong()),
    };
    Ok((part, rest.parse().map_err(|_| wrong())?))
}

async fn history(visit: &Visit, query: &Sent, chrome: Chrome) -> Result<HttpResponse, AppError> {
    let filter = ApprovalFilter {
        statuses: ["approved", "rejected", "returned", "closed"].map(str::to_owned).to_vec(),
        run_starter: visit.only_runs_of(),
        ..ApprovalFilter::default()
    };
    let cursor = query.filled("cursor").map(|text| super::visit::id(&text)).transpose()?;
    let (approvals, next) = rows::read(visit, move |connection, scheduler, who| {
        let mut found = store::history(connection, &filter, cursor, PAGE + 1)?;
        let next = rows::cut(&mut found, |row| row.id.to_string());
        Ok((rows::approvals(connection, scheduler, who, found)?, next))
    })
    .await?;
    let view = Approvals {
        chrome,
        awaiting: false,
        approvals,
        first: cursor.map(|_| query.address_with("/approvals", "cursor", "")),
        next: next.map(|next| query.address_with("/approvals", "cursor", &next)),
        live_href: None,
    };
    page(&view)
}

#[cfg(test)]
mod tests {
    use super::{Part, place};

    #[test]
    fn cursor_says_which_part_of_the_list_it_is_in() {
        assert_eq!(place("d7").expect("ours"), (Part::Decidable, 7));
        assert_eq!(place("o12").expect("ours"), (Part::Others, 12));
        for text in ["", "7", "x7", "d", "é7"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
