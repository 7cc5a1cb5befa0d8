//! The engine: what may happen to a run. PURE: no I/O, no async, no database, no clock, no randomness; time and
//! numbers come in as arguments. Start here.
//!
//! A run is the fold of its events. `decide` turns a command into events or a rejection, `apply` folds an event
//! into the run, `effects` reads from a run what should be happening in the world.
//!
//! ```text
//!                    StartRun
//!                       │
//!                    queued ──────────────┐
//!                       │ first step      │
//!        decision   ┌───▼────┐  all done  │        ┌───────────┐
//!      ┌───────────►│ running├────────────┼───────►│ completed │
//!      │            └┬──┬───┬┘            │        └───────────┘
//!      │   only      │  │   │ step failed │        ┌───────────┐
//!      │   people    │  │   └─────────────┼───────►│ failed    │
//!      │   awaited   │  │ third rescue    │        └───────────┘
//!   ┌──┴──────┐◄─────┘  │ in a row        │        ┌───────────┐
//!   │ waiting ├─────────┼──── rejected ───┼───────►│ rejected  │
//!   └──┬──────┘         ▼                 │        └───────────┘
//!      │            ┌────────┐            │        ┌───────────┐
//!      │            │ paused ├── resume ──┘ ┌─────►│ cancelled │
//!      │            └───┬────┘  → running   │      └───────────┘
//!      └────────────────┴─── CancelRun ─────┘  (from any state that is not final)
//! ```
//!
//! | state | who puts a run there | who takes it out | after a crash |
//! |---|---|---|---|
//! | queued | `StartRun` | its first step, in the same decision | begun again |
//! | running | a step that starts | its result, its failure | attempts are rescued |
//! | waiting | an approval, when nothing else is open | a decision | nothing to do |
//! | paused | the third rescue in a row | `ResumeRun`, `CancelRun` | nothing to do |
//! | completed, rejected, failed, cancelled | the closing event | nobody: final states absorb | nothing to do |

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
pub mod retry;
pub mod scope;
pub mod state;
pub mod steps;
