//! All tests, in one binary: one link, one private Postgres for the run.

mod support;

mod acts;
mod agency_log;
mod api_lists;
mod api_protocols;
mod architecture;
mod backup;
mod bad_credentials;
mod bad_input;
mod bootstrap;
mod browser;
mod callbacks;
mod commands;
mod embedded;
mod engine_properties;
mod evidence;
mod kill;
mod licence_walk;
mod log_exports;
mod log_privileges;
mod migration_of_runs;
mod openapi;
mod outage;
mod overrides;
mod rerun;
mod returns;
mod schedules;
mod schema;
mod slots;
mod subruns;
mod two_instances;
mod verify;
mod waits;
mod work;
