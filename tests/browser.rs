//! What people see and do, in real browsers.

mod accessibility;
mod authoring;
mod decisions;
mod docs;
mod explorer;
mod hostile;
mod keyboard;
mod live;
mod situations;
mod walk;
