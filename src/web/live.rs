//! Server-sent events: a page's block `live`, drawn again whenever what it shows has changed.
//!
//! Owns the streams' manners: listen before reading, repeat nothing, ask again who is there, end with the app.
//! Never holds a connection while it waits, and never redirects. Format: https://html.spec.whatwg.org/#server-sent-events

mod gather;

pub use gather::Gather;

use super::pages::handlers::run::Told;
use super::problem::AppError;
use super::site::Site;
use crate::auth::session;
use crate::engine::ids::RunId;
use crate::scheduler::Scheduler;
use crate::scheduler::changes::Listener;
use crate::store::error::StoreError;
use crate::store::{Pool, sessions};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, ContentEncoding};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A comment this often, so that nothing in between takes the stream for dead; and a look whether the session lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The least time between two states.
const PAUSE: Duration = Duration::from_millis(250);
/// Drawing takes at most one part in this many of a core for each stream, while drawing is quick.
const SHARE: u32 = 20;
/// The most time between two states: a machine that is busy for a moment must not hold a page back for a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The name that the pages give to the last event.
const END: &str = "end";

/// What open pages read, for all of them together.
pub struct Readings {
    /// Of the sessions that are asked for, those that live, by their keys' hashes.
    sessions: Gather<Vec<u8>, ()>,
    /// What the page of a run shows to anybody; or why it shows nothing, where a newer version wrote it.
    pub runs: Gather<RunId, Result<Arc<Told>, String>>,
}

impl Readings {
    /// Within a runtime.
    pub fn start(pool: &Pool, scheduler: &Scheduler) -> Readings {
        let scheduler = scheduler.clone();
        let sessions = |connection: &mut _, keys: &[Vec<u8>]| {
            let living = sessions::living(connection, keys)?;
            Ok(living.into_iter().map(|key| (key, ())).collect())
        };
        let runs = move |connection: &mut _, runs: &[RunId]| {
            let mut told = HashMap::new();
            for run in runs {
                match scheduler.load_shown(connection, *run) {
                    Ok(Some(shown)) => {
                        told.insert(*run, Ok(Arc::new(Told::read(connection, shown)?)));
                    }
                    // One page less, and not all that are read together.
                    Ok(None) | Err(StoreError::Archived { .. }) => {}
                    Err(StoreError::Newer(what)) => {
                        told.insert(*run, Err(what));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(told)
        };
        Readings { sessions: Gather::start(pool.clone(), sessions), runs: Gather::start(pool.clone(), runs) }
    }

    /// Whether a session lives, by its key's hash.
    ///
    /// # Errors
    /// 503 when that cannot be read.
    pub async fn is_signed_in(&self, key_hash: Vec<u8>) -> Result<bool, AppError> {
        Ok(self.sessions.get(key_hash).await?.is_some())
    }
}

/// One state of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// None: nothing has changed since the last.
    pub html: Option<String>,
    /// Comes back as `Last-Event-ID` when the browser connects again.
    pub id: String,
    /// Nothing will change any more.
    pub end: bool,
    /// How long drawing it kept a core busy ([`core_time`]).
    pub drawing: Duration,
}

impl Frame {
    /// There is nothing to show any more.
    pub fn end() -> Frame {
        Frame { html: None, id: String::new(), end: true, drawing: Duration::ZERO }
    }

    /// As it goes over the wire. None: nothing goes.
    fn text(&self) -> Option<String> {
        let mut text = String::new();
        if let Some(html) = &self.html {
            text.push_str(&format!("id: {}\n", self.id));
            // Every line end of the format ends a line of ours.
            for line in html.replace("\r\n", "\n").split(['\n', '\r']) {
                text.push_str(&format!("data: {line}\n"));
            }
            text.push('\n');
        }
        if self.end {
            text.push_str(&format!("event: {END}\ndata:\n\n"));
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The session of a stream, by its key's hash: the stream ends with it.
#[derive(Debug, Clone)]
pub struct SessionKey(Vec<u8>);

/// The session that a stream belongs to.
///
/// # Errors
/// 401 without one: streams are for pages, and a bearer token has an end that a stream would outlive.
pub fn session(req: &HttpRequest) -> Result<SessionKey, AppError> {
    session::key_hash_of(req).map(|hash| SessionKey(hash.to_vec())).ok_or_else(|| AppError::Unauthorized {
        detail: "Streams are for pages: sign in. With a token, use GET /acts/runs/{id}?wait=20.".to_owned(),
        challenge: super::problem::Challenge::Missing,
    })
}

/// Where the reader is: what the browser last saw wins over what the page was drawn with.
pub fn position(req: &HttpRequest, after: &str) -> Option<String> {
    let last = req.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    last.map(str::to_owned).or_else(|| Some(after.to_owned())).filter(|position| !position.is_empty())
}

/// A stream about to begin.
pub struct Live {
    /// Taken before anything was read.
    pub listener: Listener,
    /// The run that it follows. None: anything.
    pub of: Option<RunId>,
    pub session: SessionKey,
    pub site: web::Data<Site>,
}

impl Live {
    /// Begins the stream. `draw` is given what was seen last, and gives what it has drawn with what is seen then.
    pub fn respond<S, F, W>(self, seen: S, draw: F) -> HttpResponse
    where
        S: 'static,
        F: FnMut(&mut S) -> W + 'static,
        W: Future<Output = Result<(S, Frame), AppError>> + 'static,
    {
        let (sender, receiver) = mpsc::channel(1);
        actix_web::rt::spawn(self.run(seen, draw, sender));
        let body = futures_util::stream::unfold(receiver, |mut receiver| async {
            let text: String = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Bytes::from(text)), receiver))
        });
        HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((CACHE_CONTROL, "no-store"))
            // Compressed, events would wait in a buffer; and so they would in some proxies.
            .insert_header((CONTENT_ENCODING, ContentEncoding::Identity))
            .insert_header(("x-accel-buffering", "no"))
            .streaming(body)
    }

    async fn run<S, F, W>(mut self, mut seen: S, mut draw: F, sender: mpsc::Sender<String>)
    where
        F: FnMut(&mut S) -> W,
        W: Future<Output = Result<(S, Frame), AppError>>,
    {
        let mut stopping = self.site.stopping.clone();
        // Something goes out at once, so that the browser knows that it is connected.
        let mut out = ": connected\n\n".to_owned();
        loop {
            let drawing;
            match draw(&mut seen).await {
                Ok((now, frame)) => {
                    (seen, drawing) = (now, frame.drawing);
                    out.push_str(&frame.text().unwrap_or_default());
                    if !out.is_empty() && sender.send(std::mem::take(&mut out)).await.is_err() || frame.end {
                        return;
                    }
                }
                // The browser connects again, and the state is then read anew.
                Err(error) => {
                    tracing::warn!(error = %error, "a stream ended early");
                    return;
                }
            }
            let pause = pause_after(drawing);
            tokio::select! {
                // Not the end of what it shows: browsers connect to the instance that comes after.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = sender.closed() => return,
                goes_on = self.next(pause, &sender) => if !goes_on { return },
            }
        }
    }

    /// Waits for a change. False: the stream is over.
    async fn next(&mut self, pause: Duration, sender: &mpsc::Sender<String>) -> bool {
        tokio::time::sleep(pause).await;
        loop {
            let changed = async {
                match self.of {
                    Some(run) => self.listener.run_changed(run).await,
                    None => self.listener.anything_changed().await,
                }
            };
            match tokio::time::timeout(HEARTBEAT, changed).await {
                Ok(goes_on) => return goes_on && self.is_signed_in().await,
                Err(_) => {
                    if !self.is_signed_in().await || sender.send(":\n\n".to_owned()).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// Signing out, another role, another password and switching off all remove the session.
    async fn is_signed_in(&self) -> bool {
        self.site.readings.is_signed_in(self.session.0.clone()).await.unwrap_or(false)
    }
}

/// What this thread has used of a core so far: two moments on one thread say how long drawing took, however many
/// others drew at the same time.
pub fn core_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long a stream rests after it took this long to draw.
fn pause_after(drawing: Duration) -> Duration {
    (drawing * SHARE).clamp(PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::{Frame, LONGEST_PAUSE, PAUSE, pause_after, position};
    use actix_web::test::TestRequest;
    use std::time::Duration;

    #[test]
    fn slow_drawing_rests_longer_but_never_long() {
        assert_eq!(pause_after(Duration::from_millis(1)), PAUSE);
        assert_eq!(pause_after(Duration::from_millis(50)), Duration::from_secs(1));
        assert_eq!(pause_after(Duration::from_secs(3)), LONGEST_PAUSE);
    }

    #[test]
    fn state_is_one_unnamed_event_with_its_position() {
        let html = Some("<p>\n a\r\nb\rc</p>".to_owned());
        let frame = Frame { html, id: "7".to_owned(), end: false, drawing: Duration::ZERO };
        assert_eq!(frame.text().as_deref(), Some("id: 7\ndata: <p>\ndata:  a\ndata: b\ndata: c</p>\n\n"));
        let nothing = Frame { html: None, ..frame.clone() };
        assert_eq!(nothing.text(), None);
        let last = Frame { end: true, ..frame };
        assert!(last.text().expect("text").ends_with("</p>\n\nevent: end\ndata:\n\n"));
    }

    #[test]
    fn what_the_browser_saw_last_wins() {
        let first = TestRequest::default().to_http_request();
        assert_eq!(position(&first, "3").as_deref(), Some("3"));
        assert_eq!(position(&first, ""), None);
        let again = TestRequest::default().insert_header(("last-event-id", "9")).to_http_request();
        assert_eq!(position(&again, "3").as_deref(), Some("9"));
    }
}
