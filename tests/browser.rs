//! What people see and do, in real browsers.

mod accessibility;
mod authoring;
mod decisions;
mod docs;
mod hostile;
mod keyboard;
mod live;
mod redaction;
mod situations;
mod walk;
