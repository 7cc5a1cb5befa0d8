//! What each page shows: finished view structs, one file a page, and the templates that draw them.
//!
//! Owns words and shape. A view struct holds plain finished data, so a template needs `if` and `for` only;
//! it must never hold a query, a decision about permission, or markup (but for what a template has [`drawn`]).

pub mod actions;
pub mod acts;
pub mod agents;
pub mod approval;
pub mod approvals;
pub mod approvers;
pub mod assessment;
pub mod chrome;
pub mod drawing;
pub mod drawn;
pub mod error;
pub mod facts;
pub mod forms;
pub mod handlers;
pub mod home;
pub mod input_form;
pub mod log;
pub mod log_entry;
pub mod migration;
pub mod moment;
pub mod overrides;
pub mod plan;
pub mod protocol;
pub mod protocols;
pub mod reading;
pub mod redactions;
pub mod replay;
pub mod report;
pub mod rerun;
pub mod run;
pub mod run_new;
pub mod runs;
#[cfg(test)]
mod samples;
pub mod schedules;
pub mod sentences;
pub mod sign_in;
pub mod status;
pub mod steps;
pub mod users;
pub mod what_if;
