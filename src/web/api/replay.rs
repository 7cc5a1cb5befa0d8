//! `GET /acts/runs/{id}/replay`: the whole log of a run, played back. Nothing is executed.

use super::super::acts;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::log::stream;
use super::path_id;
use super::query::Query;
use crate::audit::chain::Stored;
use crate::engine::ids::RunId;
use crate::scheduler::stopped;
use crate::store::log;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// Entries read at a time.
const PAGE: i64 = 1_000;

struct Replay {
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
    acts::read_run(&site, &who, id).await?;
    let accept =
        req.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let as_events = accept.contains("text/event-stream");
    let seen = req.headers().get("last-event-id").and_then(|seq| seq.to_str().ok()?.parse().ok());
    let after = seen.filter(|_| as_events).unwrap_or(0);
    let (sender, receiver) = mpsc::channel::<io::Result<web::Bytes>>(16);
    let replay = Replay { site, run: RunId(id), as_events, speed, follow, after };
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

impl Replay {
    async fn play(self, sender: &mpsc::Sender<io::Result<web::Bytes>>) -> Result<(), AppError> {
        let mut changes = self.site.scheduler.changes.listen();
        let mut after = self.after;
        let mut last: Option<DateTime<Utc>> = None;
        loop {
            let run = self.run.0;
            let page = self.site.read(move |connection| log::of_run(connection, run, after, PAGE)).await?;
            let full = page.len() == PAGE as usize;
            for entry in page {
                self.pause(last, entry.at).await;
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
        }
    }

    async fn pause(&self, last: Option<DateTime<Utc>>, at: DateTime<Utc>) {
        let (Some(speed), Some(last)) = (self.speed, last) else { return };
        let seconds = (at - last).as_seconds_f64().max(0.0) / speed;
        let mut stopping = self.site.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
            () = stopped(&mut stopping) => {}
        }
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
