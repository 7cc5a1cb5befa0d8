//! The command line. Reads what is asked, calls the module that does it, prints what came of it.

mod archive;
mod backup;
mod commands;
mod doctor;
mod verify;

use crate::bench::{Given, Part, Plan};
use crate::config::{Config, Flags};
use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use verify::What;

/// The conductor and black-box recorder for government work.
#[derive(Debug, Parser)]
#[command(name = "hms-act", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the dashboard and the API (the default).
    Serve {
        #[command(flatten)]
        flags: Flags,
    },
    /// Make the roles and bring the tables up to date (needs HMS_ACT_OWNER_DATABASE_URL for a given database).
    Migrate,
    /// Manage who may sign in.
    #[command(subcommand)]
    User(UserCommand),
    /// Make a bearer token. Prints the token alone on its last line.
    Token {
        /// The user that the token acts for.
        #[arg(long)]
        user: String,
        /// Space-separated: runs:read runs:write approvals:decide log:read protocols:write admin.
        #[arg(long, default_value = "runs:read")]
        scope: String,
        /// Seconds that it lasts, at most 2592000 (30 days).
        #[arg(long, default_value_t = 900)]
        ttl: u32,
    },
    /// Check the activity log: every entry's bytes, links, place in the tree, and the signatures over it.
    Verify {
        /// Only this run.
        #[arg(long, value_name = "ID")]
        run: Option<i64>,
        /// A run's bundle instead of the database.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "file"])]
        bundle: Option<PathBuf>,
        /// An exported log (NDJSON) instead of the database.
        #[arg(long, value_name = "EXPORT", conflicts_with = "run")]
        file: Option<PathBuf>,
        /// Also what `hms-act archive` moved to this place: a directory, or s3://bucket/prefix.
        #[arg(long, value_name = "PLACE", conflicts_with_all = ["run", "file", "bundle"])]
        archive: Option<String>,
        /// The verifier key that you trust, as /acts/log/key gave it.
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
    /// Look at everything that keeps this deployment well, and say what to do where it is not.
    Doctor,
    /// Back the log up, with all that a restore needs: adds what is missing at the target.
    Backup {
        /// A directory, or s3://bucket/prefix [HMS_ACT_BACKUP]
        #[arg(long, value_name = "PLACE")]
        to: Option<String>,
        /// Where what an erasure must reach is kept [HMS_ACT_BACKUP_ASIDE; default: aside/ in the directory]
        #[arg(long, value_name = "PLACE")]
        aside: Option<String>,
    },
    /// Prove a backup and fill an empty database with it.
    Restore {
        /// A directory, or s3://bucket/prefix [HMS_ACT_BACKUP]
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
        /// Where what an erasure must reach was kept [HMS_ACT_BACKUP_ASIDE; default: aside/ in the directory]
        #[arg(long, value_name = "PLACE")]
        aside: Option<String>,
        /// The verifier key that you trust, as /acts/log/key gave it; default: the data directory's own.
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
        /// As the backup was on this day, instead of the latest.
        #[arg(long, value_name = "YYYY-MM-DD")]
        at: Option<chrono::NaiveDate>,
        /// Go on although more was signed here than the backup has: that is lost, and anybody can see it.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Move the entries of runs that ended long ago out of the database, once a backup is proven to have them. Their
    /// rows, their places in the signed tree and all proofs stay (needs HMS_ACT_OWNER_DATABASE_URL for a given database).
    Archive {
        /// Runs that ended before this day (UTC).
        #[arg(long, value_name = "YYYY-MM-DD")]
        before: chrono::NaiveDate,
        /// The backup that keeps them: a directory, or s3://bucket/prefix [HMS_ACT_BACKUP]
        #[arg(long, value_name = "PLACE")]
        to: Option<String>,
        /// Where what an erasure must reach is kept [HMS_ACT_BACKUP_ASIDE; default: aside/ in the directory]
        #[arg(long, value_name = "PLACE")]
        aside: Option<String>,
        /// Only say how many would leave; the backup is brought up to date all the same.
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a new key that signs the log from now on; the one before it signs along for 30 days.
    RotateLogKey,
    /// Print the description of the API (OpenAPI 3.1).
    Openapi,
    /// Measure the whole product, on a private Postgres of its own: runs per second beside the raw rate of the same
    /// inserts, evidence beside COPY, pages, streams, restarts, one instance beside three.
    Bench {
        /// Measure only this part; may be given several times.
        #[arg(long = "only", value_enum)]
        parts: Vec<Part>,
        /// Runs of five steps to complete.
        #[arg(long, default_value_t = 20_000)]
        runs: usize,
        /// Runs that are there when pages are measured.
        #[arg(long, default_value_t = 50_000)]
        present: usize,
        /// Open pages of one run.
        #[arg(long, default_value_t = 2_000)]
        streams: usize,
        /// Runs in flight when the program is killed.
        #[arg(long, default_value_t = 10_000)]
        in_flight: usize,
        /// On the Postgres of DATABASE_URL and HMS_ACT_OWNER_DATABASE_URL instead, in a database without runs.
        #[arg(long)]
        given: bool,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user. The password is asked for, or read from standard input; with --no-password there is none.
    Add {
        name: String,
        /// staff, supervisor, auditor or admin.
        #[arg(long)]
        role: String,
        /// A group that the user belongs to; may be given several times.
        #[arg(long = "group")]
        groups: Vec<String>,
        /// The user may hold tokens, but cannot sign in.
        #[arg(long)]
        no_password: bool,
    },
}

/// Runs the command that was asked for.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let serves = matches!(arguments.command, None | Some(Command::Serve { .. }));
    let default = if serves { "warn,hms_act=info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let in_colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(in_colour)
        .with_writer(std::io::stderr)
        .init();
    match carry_out(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hms-act: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    match arguments.command {
        None => done(commands::serve(&load(arguments.flags)?)),
        Some(Command::Serve { flags }) => done(commands::serve(&load(flags)?)),
        Some(Command::Migrate) => done(commands::migrate(&load(arguments.flags)?)),
        Some(Command::User(UserCommand::Add { name, role, groups, no_password })) => {
            done(commands::add_user(&load(arguments.flags)?, &name, &role, &groups, no_password))
        }
        Some(Command::Token { user, scope, ttl }) => {
            done(commands::token(&load(arguments.flags)?, &user, &scope, ttl))
        }
        Some(Command::Verify { run, bundle, file, archive, key }) => {
            verify::verify(&load(arguments.flags)?, &What { run, bundle, file, archive, key })
        }
        Some(Command::Doctor) => doctor::examine(&load(arguments.flags)?),
        Some(Command::Backup { to, aside }) => done(backup::make(&load(arguments.flags)?, to, aside)),
        Some(Command::Restore { from, aside, key, at, accept_loss }) => {
            let asked = backup::Asked { from, aside, key, at, accept_loss };
            backup::restore(&load(arguments.flags)?, asked)
        }
        Some(Command::Archive { before, to, aside, dry_run }) => {
            archive::archive(&load(arguments.flags)?, &archive::Asked { before, to, aside, dry_run })
        }
        Some(Command::RotateLogKey) => done(commands::rotate_log_key(&load(arguments.flags)?)),
        Some(Command::Openapi) => {
            println!("{}", crate::web::api::openapi::json());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Bench { parts, runs, present, streams, in_flight, given, json: as_json }) => {
            let given = given.then(|| Given::of(&load(arguments.flags)?)).transpose()?;
            done(crate::bench::run(&Plan { runs, present, streams, in_flight, parts, given, as_json }))
        }
    }
}

/// Flags over environment over `hms-act.toml` over defaults.
fn load(flags: Flags) -> anyhow::Result<Config> {
    let file = match std::fs::read_to_string("hms-act.toml") {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => anyhow::bail!("hms-act.toml: {error}"),
    };
    Ok(Config::load(flags, &|name| std::env::var(name).ok(), file.as_deref())?)
}
