//! `GET /runs/{id}/replay`: the recording, moment by moment. Nothing is executed, and every moment is the fold of the
//! log up to it: the projection is not asked.

use super::run;
use super::sent::{Sent, address};
use super::visit::{Visit, id, page};
use crate::auth::policy::Permission;
use crate::engine::redact;
use crate::engine::state::Run;
use crate::store::tape::{self, Idle};
use crate::store::{Connection, error::StoreError, log};
use crate::web::acts;
use crate::web::pages::chrome::Chrome;
use crate::web::pages::log::Entry;
use crate::web::pages::moment::duration;
use crate::web::pages::plan::{self, Focus, Known};
use crate::web::pages::replay::{Entries, Mark, Replay, Scene};
use crate::web::pages::sentences::{self, Depth};
use crate::web::pages::status::{Status, StatusKind};
use crate::web::problem::AppError;
use crate::web::site::Site;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;

/// Entries on one page of the list.
const PAGE: i64 = 500;
/// A longer time in which nothing happened counts as this long.
const IDLE: TimeDelta = TimeDelta::seconds(10);
/// Such times that are cut short.
const MOST_IDLE: i64 = 1_000;
/// Entries whose times the player knows ahead.
const AHEAD: i64 = 200;
/// Marks on the time line: of what people did, and of what failed.
const ACTS: [&str; 9] = [
    "approval.voted",
    "approval.decided",
    "run.paused",
    "run.cancel_requested",
    "run.value_set",
    "run.migrated",
    "override.filed",
    "override.decided",
    "run.closed",
];
const FAILURES: [&str; 2] = ["step.failed", "step.stalled"];
const MOST_ACTS: i64 = 150;
const MOST_FAILURES: i64 = 50;

/// `GET /runs/{id}/replay`, at the moment after the entry `?at=17`.
///
/// # Errors
/// 403, 404; 400 for a moment that there is not.
pub async fn show(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let asked = Asked::read(&visit, &path, &req).await?;
    let chrome = visit.chrome(&format!("Replay of run {}", asked.now.id), "/runs").await?;
    page(&draw(&visit, asked, chrome).await?)
}

/// `GET /runs/{id}/replay/moment?at=17`: the block `moment` of the page.
///
/// # Errors
/// As [`show`].
pub async fn moment(
    visit: Visit,
    path: web::Path<String>,
    req: HttpRequest,
) -> Result<HttpResponse, AppError> {
    let asked = Asked::read(&visit, &path, &req).await?;
    let asked = Asked { alone: true, ..asked };
    let view = draw(&visit, asked, Chrome::default()).await?;
    let html = view.as_moment().render().map_err(AppError::internal)?;
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html))
}

/// What a request asks of the recording.
struct Asked {
    /// The run as it is now.
    now: Arc<Run>,
    at: u64,
    focus: Option<Focus>,
    /// The moment without the page around it.
    alone: bool,
}

impl Asked {
    async fn read(visit: &Visit, path: &str, req: &HttpRequest) -> Result<Asked, AppError> {
        let query = Sent::query(req.query_string(), &["at", "group", "state", "page"])?;
        let now = acts::read_run_behind(&visit.site, &visit.who, id(path)?).await?;
        let (number, last) = (now.id, now.version);
        let at = match query.raw("at") {
            "" => 1,
            text => {
                let plain = text.bytes().all(|letter| letter.is_ascii_digit());
                let at = text.parse().ok().filter(|at| plain && (1..=last).contains(at));
                at.ok_or_else(|| {
                    AppError::BadRequest(format!(
                        "There is no moment after entry {text:?}: the recording of run {number} has the entries 1 \
                         to {last}."
                    ))
                })?
            }
        };
        Ok(Asked { at, focus: run::focus(&query)?, now, alone: false })
    }

    /// The address of a moment.
    fn href(&self, at: u64) -> String {
        let at = at.to_string();
        let kept = self.kept();
        let pairs = kept.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        address(&format!("/runs/{}/replay", self.now.id), [("at", at.as_str())].into_iter().chain(pairs))
    }

    /// The group that is shown alone, as parameters.
    fn kept(&self) -> Vec<(String, String)> {
        let Some(focus) = &self.focus else { return Vec::new() };
        let mut kept = vec![("group".to_owned(), focus.group.to_string())];
        kept.extend(focus.state.map(|state| ("state".to_owned(), state.slug().to_owned())));
        if focus.page > 1 {
            kept.push(("page".to_owned(), focus.page.to_string()));
        }
        kept
    }
}

async fn draw(visit: &Visit, asked: Asked, chrome: Chrome) -> Result<Replay, AppError> {
    let what_if = visit.may(Permission::ReadProtocols);
    let site = visit.site.clone();
    let number = asked.now.id;
    let draw = move |connection: &mut Connection| view(connection, &site, &asked, chrome.clone(), what_if);
    visit
        .site
        .read_behind(draw)
        .await?
        .ok_or_else(|| AppError::NotFound(format!("There is no run {number}.")))
}

fn view(
    connection: &mut Connection,
    site: &Site,
    asked: &Asked,
    chrome: Chrome,
    what_if: bool,
) -> Result<Option<Replay>, StoreError> {
    let now = &asked.now;
    let Some(then) = site.scheduler.at(connection, now.id, asked.at)? else { return Ok(None) };
    let then = redact::shown(&then);
    let line = Line::read(connection, now)?;
    let scene = scene(connection, asked, &then, &line)?;
    let (marks, more_marks) = if asked.alone { (Vec::new(), None) } else { marks(connection, asked, &line)? };
    let kept = asked.kept();
    let pairs = kept.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Some(Replay {
        chrome,
        run_number: now.id.to_string(),
        run_href: format!("/runs/{}", now.id),
        protocol: now.protocol_ref.name.clone(),
        summary: summary(now),
        entries_href: format!("/runs/{}/replay/entries", now.id),
        what_if_href: what_if.then(|| format!("/runs/{}/what-if", now.id)),
        fragment_href: address(&format!("/runs/{}/replay/moment", now.id), pairs),
        kept,
        marks,
        more_marks,
        scene,
    }))
}

fn summary(run: &Run) -> String {
    let count = plan::counted(run.version as usize, "entry", "entries");
    format!("{count} over {}", duration(run.updated_at - run.created_at))
}

fn scene(connection: &mut Connection, asked: &Asked, then: &Run, line: &Line) -> Result<Scene, StoreError> {
    let latest = run::latest(connection, then)?;
    let known = Known { moment: Some(asked.at), ..run::known(connection, then, &latest)? };
    let (at, count) = (asked.at, asked.now.version);
    let focus = asked.focus.as_ref();
    let idle = line.idle.iter().find(|idle| idle.seq as u64 == at);
    let times = tape::times(connection, then.id.0, at as i64, AHEAD + 1)?;
    let missing = || StoreError::Corrupt(format!("run {} has no entry {at}", then.id));
    Ok(Scene {
        seq: at,
        count,
        entry: latest
            .last()
            .map(|entry| sentences::entry(entry, Some(&then.protocol), Depth::Full))
            .ok_or_else(missing)?,
        idle: idle.map(|idle| format!("{} nothing happened.", duration(idle.lasted))),
        status: plan::status(then),
        sentence: plan::sentence(then, &known),
        steps: plan::steps(then, &known, focus),
        whole_href: focus.map(|_| format!("/runs/{}/replay?at={at}", then.id)),
        undone: plan::undone(then, &known),
        first: (at > 1).then(|| asked.href(1)),
        previous: (at > 1).then(|| asked.href(at - 1)),
        next: (at < count).then(|| asked.href(at + 1)),
        last: (at < count).then(|| asked.href(count)),
        present: at == count && !asked.now.status.is_final(),
        place: line.place(at, then.updated_at),
        ahead: ahead(&times),
    })
}

/// When the next entries come, in milliseconds, long times in which nothing happened cut short.
fn ahead(times: &[DateTime<Utc>]) -> String {
    let mut passed = TimeDelta::zero();
    let pauses = times.windows(2).map(|pair| (pair[1] - pair[0]).min(IDLE));
    let sums = pauses.map(|pause| {
        passed += pause;
        passed.num_milliseconds().to_string()
    });
    sums.collect::<Vec<_>>().join(" ")
}

/// What is worth a mark on the line, and how much more there is.
fn marks(
    connection: &mut Connection,
    asked: &Asked,
    line: &Line,
) -> Result<(Vec<Mark>, Option<String>), StoreError> {
    let run = &asked.now;
    let (number, until) = (run.id.0, run.version as i64);
    let mut found = tape::marked(connection, number, until, &ACTS, MOST_ACTS + 1)?;
    let failures = tape::marked(connection, number, until, &FAILURES, MOST_FAILURES + 1)?;
    let more = found.len() > MOST_ACTS as usize || failures.len() > MOST_FAILURES as usize;
    found.truncate(MOST_ACTS as usize);
    found.extend(failures.into_iter().take(MOST_FAILURES as usize));
    // The end is always there.
    if run.status.is_final() && !found.contains(&until) {
        found.push(until);
    }
    found.sort_unstable();
    let mut marks = Vec::new();
    for seq in found {
        for stored in log::of_run(connection, number, seq - 1, 1)? {
            let type_name = stored.type_name.clone();
            let entry = sentences::entry(&stored, Some(&run.protocol), Depth::Brief);
            marks.push(mark(asked, line, entry, &type_name, stored.at));
        }
    }
    let more = more.then(|| "There are more: the list of every entry has them all.".to_owned());
    Ok((marks, more))
}

fn mark(asked: &Asked, line: &Line, entry: Entry, type_name: &str, at: DateTime<Utc>) -> Mark {
    let Entry { seq, t, sentence, status, .. } = entry;
    let status = status.unwrap_or_else(|| match type_name {
        "approval.voted" => Status::new(StatusKind::Person, "One approval"),
        "override.decided" => Status::new(StatusKind::Person, "Override decided"),
        "run.cancel_requested" => Status::new(StatusKind::Warning, "To be cancelled"),
        "run.value_set" => Status::new(StatusKind::Warning, "Value changed"),
        _ => Status::new(StatusKind::Warning, "Moved"),
    });
    Mark { href: asked.href(seq), seq, t, status, sentence, place: line.place(seq, at) }
}

/// The time line: from the first entry to the last, with what lasted too long cut short.
struct Line {
    begins: DateTime<Utc>,
    /// How long it is.
    length: TimeDelta,
    count: u64,
    idle: Vec<Idle>,
}

impl Line {
    fn read(connection: &mut Connection, run: &Run) -> Result<Line, StoreError> {
        let idle = tape::idle(connection, run.id.0, run.version as i64, IDLE, MOST_IDLE)?;
        let mut line = Line { begins: run.created_at, length: TimeDelta::zero(), count: run.version, idle };
        line.length = line.passed(run.version, run.updated_at);
        Ok(line)
    }

    fn passed(&self, seq: u64, at: DateTime<Utc>) -> TimeDelta {
        let before = self.idle.iter().take_while(|idle| idle.seq as u64 <= seq);
        let cut: TimeDelta = before.map(|idle| idle.lasted - IDLE).sum();
        at - self.begins - cut
    }

    /// Where an entry stands, in per cent.
    fn place(&self, seq: u64, at: DateTime<Utc>) -> String {
        let micros = |length: TimeDelta| length.num_microseconds().unwrap_or(i64::MAX) as f64;
        let share = match micros(self.length) {
            length if length > 0.0 => micros(self.passed(seq, at)) / length,
            _ => (seq.saturating_sub(1)) as f64 / (self.count.saturating_sub(1).max(1)) as f64,
        };
        format!("{:.1}", (share * 100.0).clamp(0.0, 100.0))
    }
}

/// `GET /runs/{id}/replay/entries`: all of it as a list.
///
/// # Errors
/// 403, 404.
pub async fn entries(
    visit: Visit,
    path: web::Path<String>,
    req: HttpRequest,
) -> Result<HttpResponse, AppError> {
    let query = Sent::query(req.query_string(), &["cursor"])?;
    let run = acts::read_run_behind(&visit.site, &visit.who, id(&path)?).await?;
    let number = run.id;
    let after = query.filled("cursor").map(|text| id(&text)).transpose()?;
    let stored =
        visit.site.read_behind(move |connection| log::of_run(connection, number.0, after.unwrap_or(0), PAGE));
    let stored: Vec<_> = stored.await?.into_iter().filter(|entry| entry.seq as u64 <= run.version).collect();
    let last = stored.last().map_or(0, |entry| entry.seq);
    let here = format!("/runs/{number}/replay/entries");
    let view = Entries {
        run_number: number.to_string(),
        replay_href: format!("/runs/{number}/replay"),
        protocol: run.protocol_ref.name.clone(),
        status: plan::status(&run),
        summary: summary(&run),
        complete: run.status.is_final(),
        entries: stored
            .iter()
            .map(|entry| sentences::entry(entry, Some(&run.protocol), Depth::Full))
            .collect(),
        first: after.map(|_| here.clone()),
        next: ((last as u64) < run.version && last > 0)
            .then(|| query.address_with(&here, "cursor", &last.to_string())),
        chrome: visit.chrome(&format!("Entries of run {number}"), "/runs").await?,
    };
    page(&view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn at(seconds: i64) -> DateTime<Utc> {
        Utc.timestamp_opt(1_800_000_000 + seconds, 0).single().expect("a time")
    }

    #[test]
    fn a_long_time_in_which_nothing_happened_takes_little_of_the_line() {
        let idle = vec![Idle { seq: 3, lasted: TimeDelta::hours(3) }];
        let mut line = Line { begins: at(0), length: TimeDelta::zero(), count: 4, idle };
        line.length = line.passed(4, at(10 + 3 * 3600 + 20));
        assert_eq!(line.length, TimeDelta::seconds(40));
        assert_eq!(line.place(2, at(10)), "25.0");
        assert_eq!(line.place(3, at(10 + 3 * 3600)), "50.0");
        assert_eq!(line.place(4, at(10 + 3 * 3600 + 20)), "100.0");
    }

    #[test]
    fn entries_of_one_instant_stand_beside_each_other() {
        let line = Line { begins: at(0), length: TimeDelta::zero(), count: 5, idle: Vec::new() };
        assert_eq!((line.place(1, at(0)), line.place(3, at(0))), ("0.0".to_owned(), "50.0".to_owned()));
    }

    #[test]
    fn the_player_waits_no_longer_than_ten_seconds_for_what_comes() {
        assert_eq!(ahead(&[at(0), at(2), at(4000), at(4001)]), "2000 12000 13000");
    }
}
