//! `GET /acts/runs/{id}/replay`: the whole log of a run, played back. Nothing is executed.

use super::super::acts;
use super::super::principal::authenticate;
use super::super::problem::{AppError, Challenge};
use super::super::site::Site;
use super::log::stream;
use super::path_id;
use super::query::Query;
use crate::audit::chain::Stored;
use crate::auth::policy::{AuthMethod, Principal};
use crate::auth::session;
use crate::engine::ids::RunId;
use crate::scheduler::stopped;
use crate::store::{Connection, log};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// Entries read at a time.
const PAGE: i64 = 1_000;

/// However long nothing happened, and however slow it is played, no pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a longer pause the listener is asked again who they are.
const AWAY: Duration = Duration::from_secs(1);

struct Replay {
    listener: Listener,
    site: web::Data<Site>,
    run: RunId,
    /// Server-sent events instead of lines.
    as_events: bool,
    /// 1 keeps the original pauses, 10 makes them a tenth. None: at once.
    speed: Option<f64>,
    /// Goes on with what happens, until the run is over.
    follow: bool,
    /// Where to begin: after this `seq`.
    after: i64,
}

/// Each line is an entry's own bytes: the SHA-256 of a zero byte and the line is the next line's `prev`.
pub async fn replay(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    let id = path_id(&path, "a run")?;
    let mut query = Query::of(&req)?;
    let speed = speed(query.text("speed"))?;
    let follow = query.flag("follow")?;
    query.finish()?;
    acts::read_run_behind(&site, &who, id).await?;
    let accept =
        req.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let as_events = accept.contains("text/event-stream");
    let seen = req.headers().get("last-event-id").and_then(|seq| seq.to_str().ok()?.parse().ok());
    let after = seen.filter(|_| as_events).unwrap_or(0);
    let (sender, receiver) = mpsc::channel::<io::Result<web::Bytes>>(16);
    let session = if who.method == AuthMethod::Session { session::key_hash_of(&req) } else { None };
    let listener = Listener { req, who, session };
    let replay = Replay { listener, site, run: RunId(id), as_events, speed, follow, after };
    actix_web::rt::spawn(async move {
        if let Err(error) = replay.play(&sender).await {
            let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
        }
    });
    let content_type = if as_events { "text/event-stream" } else { "application/x-ndjson" };
    Ok(HttpResponse::Ok().content_type(content_type).streaming(stream(receiver)))
}

fn speed(text: Option<String>) -> Result<Option<f64>, AppError> {
    let Some(text) = text else { return Ok(None) };
    let speed = text.parse::<f64>().ok().filter(|speed| (0.001..=1_000_000.0).contains(speed));
    speed.map(Some).ok_or_else(|| {
        AppError::BadRequest(
            "The query parameter `speed` is a number: 1 keeps the pauses, 10 shortens them.".to_owned(),
        )
    })
}

fn pause_at(speed: f64, original: TimeDelta) -> Duration {
    Duration::from_secs_f64((original.as_seconds_f64().max(0.0) / speed).min(LONGEST_PAUSE.as_secs_f64()))
}

/// Whoever it is played to. A tape outlives its request; their rights may end before it does.
struct Listener {
    req: HttpRequest,
    who: Principal,
    /// None: they came with a token, which is looked at again.
    session: Option<[u8; 32]>,
}

impl Listener {
    /// # Errors
    /// 401 once the token or the session is void; 403 once the run is no longer theirs to see.
    async fn may_go_on(&self, site: &Site, run: RunId) -> Result<(), AppError> {
        let who = match self.session {
            None => authenticate(&self.req).await?,
            // Every change of a user ends their sessions.
            Some(key) if site.readings.is_signed_in(key.to_vec()).await? => self.who.clone(),
            Some(_) => {
                let detail = "The session is over. Sign in again.".to_owned();
                return Err(AppError::Unauthorized { detail, challenge: Challenge::Missing });
            }
        };
        acts::read_run_behind(site, &who, run.0).await.map(drop)
    }
}

impl Replay {
    async fn play(self, sender: &mpsc::Sender<io::Result<web::Bytes>>) -> Result<(), AppError> {
        let mut changes = self.site.scheduler.changes.listen();
        let mut after = self.after;
        let mut last: Option<DateTime<Utc>> = None;
        loop {
            let run = self.run.0;
            let read = move |connection: &mut Connection| log::of_run(connection, run, after, PAGE);
            let page = self.site.read_behind(read).await?;
            let full = page.len() == PAGE as usize;
            for entry in page {
                if !self.pause(last, entry.at, sender).await? {
                    return Ok(());
                }
                (after, last) = (entry.seq, Some(entry.at));
                let closed = entry.type_name == "run.closed";
                if sender.send(Ok(self.encode(&entry))).await.is_err()
                    || closed
                    || *self.site.stopping.borrow()
                {
                    return Ok(());
                }
            }
            if full {
                continue;
            }
            let mut stopping = self.site.stopping.clone();
            tokio::select! {
                changed = changes.run_changed(self.run), if self.follow => if !changed { return Ok(()) },
                () = stopped(&mut stopping) => return Ok(()),
                () = std::future::ready(()), if !self.follow => return Ok(()),
                () = sender.closed() => return Ok(()),
            }
            self.listener.may_go_on(&self.site, self.run).await?;
        }
    }

    /// False: it is over.
    async fn pause(
        &self,
        last: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
        sender: &mpsc::Sender<io::Result<web::Bytes>>,
    ) -> Result<bool, AppError> {
        let (Some(speed), Some(last)) = (self.speed, last) else { return Ok(true) };
        let pause = pause_at(speed, at - last);
        let mut stopping = self.site.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stopping) => return Ok(false),
            () = sender.closed() => return Ok(false),
        }
        if pause >= AWAY {
            self.listener.may_go_on(&self.site, self.run).await?;
        }
        Ok(true)
    }

    fn encode(&self, entry: &Stored) -> web::Bytes {
        // A leaf has no line breaks: RFC 8785 escapes them.
        let line = if self.as_events {
            [b"id: ", entry.seq.to_string().as_bytes(), b"\ndata: ", &entry.leaf, b"\n\n"].concat()
        } else {
            [&entry.leaf[..], b"\n"].concat()
        };
        web::Bytes::from(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pause_is_longer_than_a_minute() {
        assert_eq!(pause_at(10.0, TimeDelta::seconds(50)), Duration::from_secs(5));
        assert_eq!(pause_at(0.001, TimeDelta::days(3)), LONGEST_PAUSE);
        assert_eq!(pause_at(1.0, TimeDelta::seconds(-1)), Duration::ZERO);
    }
}
