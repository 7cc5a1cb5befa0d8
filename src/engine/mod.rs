//! The engine: what may happen to a run. PURE: no I/O, no async, no database, no clock, no randomness; time and
//! numbers come in as arguments. Start here.
//!
//! A run is the fold of its events. `decide` turns a command into events or a rejection, `apply` folds an event
//! into the run, `effects` reads from a run what should be happening in the world.
//!
//! ```text
//!                StartRun
//!                    │        AdmitRun: room under the concurrency limit
//!                 queued ─────────────┐
//!                    │ first step     │
//!       what it  ┌───▼────┐  all done │          ┌───────────┐
//!       waits for│        ├───────────┼─────────►│ completed │
//!      ┌────────►│ running│           │          └───────────┘
//!      │         │        │  a step failed, an approver said no, somebody cancels
//!      │         │        ├────────────────┐      ┌───────────┐
//!  ┌───┴─────┐◄──┤        │           ┌────▼───┐  │ failed    │
//!  │ waiting │   └─┬────▲─┘           │ ending ├─►│ rejected  │
//!  └───┬─────┘     │    │             └────┬───┘  │ cancelled │
//!      │     pause,│    │resume, retry,    │      └───────────┘
//!      │  override,│    │skip, a decision  │ an undo failed: paused,
//!      │  a failure│    │on the override   │ until a person retries or skips it
//!      │  that is a│    │                  │
//!      │  person's ▼    │                  │
//!      │         ┌──────┴─┐                │
//!      └────────►│ paused ├────────────────┘
//!                └────────┘
//! ```
//!
//! | state | who puts a run there | who takes it out | after a crash |
//! |---|---|---|---|
//! | queued | `StartRun` | its first step, in the same decision or when `AdmitRun` finds room | admitted later |
//! | running | a step that starts; an end that is under way (`Run::ending`) | its result, its failure, its time | attempts are rescued, timers follow from the state |
//! | waiting | approvals, events, times, workers, callbacks, when nothing else is open | what it waits for, or a person | nothing to do |
//! | paused | `PauseRun`, an override, `on_failure: pause`, the third rescue in a row, an undo that failed | `ResumeRun`, `RetryStep`, `SkipStep`, a decision on the override, `CancelRun` | nothing to do |
//! | completed, rejected, failed, cancelled | the closing event | nobody: final states absorb | nothing to do |
//!
//! A run that ends in any way but completion first lets its attempts in flight end, for [`decide::GRACE`] at most; then
//! it takes back what was done (`undo`), latest first, one after the other. Until then it is `running`, and
//! `Run::ending` says to what.
//!
//! A group (`parallel`) is a step of its own, and each of its branches a list of steps inside it. It is done when enough
//! branches succeeded, and failed when they no longer can; what is then open inside it is cancelled: a call is broken
//! off, an approval closes, a sub-run is cancelled. Where successes are counted (`any`, a number), a branch that did
//! nothing is none, and what the winners made needless before it began is cancelled too. What a cancelled branch had done stays done, and is taken back with
//! the rest when the run ends badly. A branch sees the payload as it was when its group began, and what its own steps
//! saved: never what another branch saved, so that the order of results cannot change the end.

pub mod apply;
pub mod checksum;
pub mod command;
pub mod decide;
pub mod effects;
pub mod event;
pub mod expression;
pub mod ids;
pub mod json;
pub mod protocol;
pub mod redact;
pub mod retry;
pub mod scope;
pub mod seating;
pub mod state;
pub mod steps;
pub mod whatif;
