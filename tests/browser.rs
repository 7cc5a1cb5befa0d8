//! What people see and do, in real browsers.

mod accessibility;
mod authoring;
mod decisions;
mod docs;
mod explorer;
mod groups;
mod hostile;
mod keyboard;
mod live;
mod redaction;
mod replay;
mod situations;
mod walk;
