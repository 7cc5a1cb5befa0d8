//! What the program was told: flags over environment over `hms-act.toml` over defaults.
//!
//! Owns the names, the defaults and the checks of every setting. Never opens a socket or a database, and never
//! shows a secret: a wrong value stops the start with one line that names the variable.

mod backup;

pub use backup::Backup;

use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use url::Url;

/// The largest request body accepted unless `HMS_ACT_MAX_BODY_BYTES` says otherwise.
pub const DEFAULT_MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long an override is under review unless `HMS_ACT_OVERRIDE_REVIEW_HOURS` says otherwise.
pub const DEFAULT_OVERRIDE_REVIEW_HOURS: u32 = 72;

const DEFAULT_BIND: &str = "127.0.0.1:8080";
const DEFAULT_DATA_DIR: &str = "./data";

/// Everything that `hms-act serve` can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The app's login. None: start a private Postgres from the machine's own binaries.
    pub database_url: Option<Secret>,
    /// The owner's login, which migrates. None: pending migrations stop the start.
    pub owner_database_url: Option<Secret>,
    /// The same database through a pooler that lends a server connection for one transaction only. None: directly.
    pub pooled_database_url: Option<Secret>,
    /// A streaming replica of the same database, for what reads much. None: all is read where it is written.
    pub read_database_url: Option<Secret>,
    pub bind: SocketAddr,
    pub data_dir: PathBuf,
    /// Where browsers and services reach this instance, without a trailing slash. None: nobody said.
    pub public_url: Option<Url>,
    /// Private addresses that actions and webhooks may reach.
    pub allow_hosts: Vec<AllowedHost>,
    /// Local programs that `command` actions may run, by their absolute paths.
    pub allow_commands: Vec<PathBuf>,
    pub demo: bool,
    /// The demo users' password. None: one is generated and printed once.
    pub demo_password: Option<Secret>,
    /// A real Consolidated Screening List (CSV) for the demo. None: the made-up sample.
    pub demo_screening_list: Option<PathBuf>,
    /// The log's name inside its entries and checkpoints. None: the default of a new log.
    pub log_origin: Option<String>,
    pub max_body_bytes: usize,
    /// How long an override is under review. Nothing happens by itself when that is over.
    pub override_review_hours: u32,
    pub backup: Backup,
}

/// A value that must not appear in logs: `Debug` hides it, [`Secret::expose`] is the only way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A `host:port` that may be called although its address is private.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AllowedHost {
    /// Lower case; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
}

/// The command line's settings. Text, as typed: [`Config::load`] checks all sources in one way.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Address and port to listen on [HMS_ACT_BIND, default 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub bind: Option<String>,
    /// Where keys and the private Postgres live [HMS_ACT_DATA_DIR, default ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where browsers and services reach this instance [HMS_ACT_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Private addresses that actions may reach [HMS_ACT_ALLOW_HOSTS]
    #[arg(long, value_name = "HOST:PORT,…")]
    pub allow_hosts: Option<String>,
    /// Local programs that actions may run [HMS_ACT_ALLOW_COMMANDS]
    #[arg(long, value_name = "/PATH,…")]
    pub allow_commands: Option<String>,
    /// Start with demo users, a demo protocol and a demo agency [HMS_ACT_DEMO]
    #[arg(long)]
    pub demo: bool,
    /// A real screening list (CSV) for the demo [HMS_ACT_DEMO_SCREENING_LIST]
    #[arg(long, value_name = "FILE")]
    pub demo_screening_list: Option<String>,
    /// The log's name [HMS_ACT_LOG_ORIGIN]
    #[arg(long, value_name = "NAME")]
    pub log_origin: Option<String>,
    /// The largest request body [HMS_ACT_MAX_BODY_BYTES, default 1048576]
    #[arg(long, value_name = "BYTES")]
    pub max_body_bytes: Option<String>,
    /// How long an override is under review [HMS_ACT_OVERRIDE_REVIEW_HOURS, default 72]
    #[arg(long, value_name = "HOURS")]
    pub override_review_hours: Option<String>,
    /// Where the log is backed up while it serves: a directory, or s3://bucket/prefix [HMS_ACT_BACKUP]
    #[arg(long, value_name = "PLACE")]
    pub backup: Option<String>,
    /// Where the backup keeps what an erasure must reach [HMS_ACT_BACKUP_ASIDE]
    #[arg(long, value_name = "PLACE")]
    pub backup_aside: Option<String>,
}

/// A wrong value. Displays as one line that begins with the variable's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {message}")]
pub struct ConfigError {
    pub variable: String,
    pub message: String,
}

fn wrong(variable: &str, message: impl Into<String>) -> ConfigError {
    ConfigError { variable: variable.to_owned(), message: message.into() }
}

impl Config {
    /// Puts the sources together. `env` looks a variable up (an empty value counts as unset); `file` is the text
    /// of `hms-act.toml`, if there is one.
    ///
    /// # Errors
    /// The first wrong value, as one line that names its variable.
    pub fn load(
        flags: Flags,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let sources = Sources { env, file: FileValues::parse(file.unwrap_or(""))? };
        let from_flag = |flag: Option<String>, variable: &str, in_file: &Option<String>| {
            flag.or_else(|| sources.plain(variable, in_file))
        };
        let file = &sources.file;

        let bind = from_flag(flags.bind, "HMS_ACT_BIND", &file.bind);
        let data_dir = from_flag(flags.data_dir, "HMS_ACT_DATA_DIR", &file.data_dir);
        let public_url = from_flag(flags.public_url, "HMS_ACT_PUBLIC_URL", &file.public_url);
        let allow_hosts = from_flag(flags.allow_hosts, "HMS_ACT_ALLOW_HOSTS", &file.allow_hosts);
        let allow_commands = from_flag(flags.allow_commands, "HMS_ACT_ALLOW_COMMANDS", &file.allow_commands);
        let demo = from_flag(flags.demo.then(|| "1".to_owned()), "HMS_ACT_DEMO", &file.demo_text());
        let list =
            from_flag(flags.demo_screening_list, "HMS_ACT_DEMO_SCREENING_LIST", &file.demo_screening_list);
        let log_origin = from_flag(flags.log_origin, "HMS_ACT_LOG_ORIGIN", &file.log_origin);
        let max_body = from_flag(flags.max_body_bytes, "HMS_ACT_MAX_BODY_BYTES", &file.max_body_bytes_text());
        let review = from_flag(
            flags.override_review_hours,
            "HMS_ACT_OVERRIDE_REVIEW_HOURS",
            &file.override_review_hours.map(|hours| hours.to_string()),
        );
        let backup_to = from_flag(flags.backup, "HMS_ACT_BACKUP", &file.backup);
        let backup_aside = from_flag(flags.backup_aside, "HMS_ACT_BACKUP_ASIDE", &file.backup_aside);

        Ok(Config {
            database_url: sources.database_url(
                "DATABASE_URL",
                &file.database_url,
                &file.database_url_file,
            )?,
            owner_database_url: sources.database_url(
                "HMS_ACT_OWNER_DATABASE_URL",
                &file.owner_database_url,
                &file.owner_database_url_file,
            )?,
            pooled_database_url: sources.further_database_url(
                "HMS_ACT_POOLED_DATABASE_URL",
                &file.pooled_database_url,
                &file.pooled_database_url_file,
            )?,
            read_database_url: sources.further_database_url(
                "HMS_ACT_READ_DATABASE_URL",
                &file.read_database_url,
                &file.read_database_url_file,
            )?,
            bind: parse_bind(bind.as_deref().unwrap_or(DEFAULT_BIND))?,
            data_dir: PathBuf::from(data_dir.as_deref().unwrap_or(DEFAULT_DATA_DIR)),
            public_url: public_url.as_deref().map(parse_public_url).transpose()?,
            allow_hosts: parse_allow_hosts(allow_hosts.as_deref().unwrap_or(""))?,
            allow_commands: parse_allow_commands(allow_commands.as_deref().unwrap_or(""))?,
            demo: parse_switch("HMS_ACT_DEMO", demo.as_deref().unwrap_or("0"))?,
            demo_password: sources.demo_password()?,
            demo_screening_list: list.map(PathBuf::from),
            log_origin: log_origin.map(|name| check_origin(&name).map(|()| name)).transpose()?,
            max_body_bytes: max_body.as_deref().map_or(Ok(DEFAULT_MAX_BODY_BYTES), parse_max_body)?,
            override_review_hours: review
                .as_deref()
                .map_or(Ok(DEFAULT_OVERRIDE_REVIEW_HOURS), parse_review)?,
            backup: sources.backup(backup_to, backup_aside)?,
        })
    }

    /// Where this instance is reached, without a trailing slash: the public URL, else the address it listens on.
    pub fn base_url(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.bind),
        }
    }
}

/// `hms-act.toml`: the variables' names without prefix, in lower case.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileValues {
    database_url: Option<String>,
    database_url_file: Option<String>,
    owner_database_url: Option<String>,
    owner_database_url_file: Option<String>,
    pooled_database_url: Option<String>,
    pooled_database_url_file: Option<String>,
    read_database_url: Option<String>,
    read_database_url_file: Option<String>,
    bind: Option<String>,
    data_dir: Option<String>,
    public_url: Option<String>,
    allow_hosts: Option<String>,
    allow_commands: Option<String>,
    demo: Option<bool>,
    demo_password: Option<String>,
    demo_password_file: Option<String>,
    demo_screening_list: Option<String>,
    log_origin: Option<String>,
    max_body_bytes: Option<i64>,
    override_review_hours: Option<i64>,
    backup: Option<String>,
    backup_aside: Option<String>,
    backup_s3_endpoint: Option<String>,
    aws_region: Option<String>,
    aws_access_key_id: Option<String>,
    aws_secret_access_key: Option<String>,
    aws_secret_access_key_file: Option<String>,
    aws_session_token: Option<String>,
    aws_session_token_file: Option<String>,
}

impl FileValues {
    fn parse(text: &str) -> Result<FileValues, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().replace('\n', " ");
            wrong("hms-act.toml", format!("line {line}: {message}"))
        })
    }

    fn demo_text(&self) -> Option<String> {
        self.demo.map(|demo| u8::from(demo).to_string())
    }

    fn max_body_bytes_text(&self) -> Option<String> {
        self.max_body_bytes.map(|bytes| bytes.to_string())
    }
}

struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    file: FileValues,
}

impl Sources<'_> {
    /// Environment, then file. An empty variable is what container tools pass for "not set".
    fn plain(&self, variable: &str, in_file: &Option<String>) -> Option<String> {
        (self.env)(variable).filter(|value| !value.is_empty()).or_else(|| in_file.clone())
    }

    /// A secret itself or, as `<variable>_FILE`, the file that holds it; within one source not both.
    fn secret(
        &self,
        variable: &str,
        in_file: &Option<String>,
        path_in_file: &Option<String>,
    ) -> Result<Option<Secret>, ConfigError> {
        let file_variable = format!("{variable}_FILE");
        let levels = [
            (self.plain(variable, &None), self.plain(&file_variable, &None)),
            (in_file.clone(), path_in_file.clone()),
        ];
        for (value, path) in levels {
            match (value, path) {
                (Some(_), Some(_)) => {
                    return Err(wrong(variable, format!("set either this or {file_variable}, not both")));
                }
                (Some(value), None) => return Ok(Some(Secret(value))),
                (None, Some(path)) => return read_secret(&file_variable, Path::new(&path)).map(Some),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    fn database_url(
        &self,
        variable: &str,
        in_file: &Option<String>,
        path_in_file: &Option<String>,
    ) -> Result<Option<Secret>, ConfigError> {
        let secret = self.secret(variable, in_file, path_in_file)?;
        match &secret {
            Some(url) if !is_postgres_url(url.expose()) => Err(wrong(
                variable,
                "is not a Postgres address such as postgres://user:password@host/database",
            )),
            Some(_) | None => Ok(secret),
        }
    }

    /// Another way to the database that `DATABASE_URL` names.
    fn further_database_url(
        &self,
        variable: &str,
        in_file: &Option<String>,
        path_in_file: &Option<String>,
    ) -> Result<Option<Secret>, ConfigError> {
        let url = self.database_url(variable, in_file, path_in_file)?;
        let file = &self.file;
        let direct = self.secret("DATABASE_URL", &file.database_url, &file.database_url_file)?;
        match url {
            Some(_) if direct.is_none() => {
                Err(wrong(variable, "needs DATABASE_URL: the direct way to the same database"))
            }
            url => Ok(url),
        }
    }

    fn demo_password(&self) -> Result<Option<Secret>, ConfigError> {
        self.secret("HMS_ACT_DEMO_PASSWORD", &self.file.demo_password, &self.file.demo_password_file)
    }
}

fn read_secret(variable: &str, path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(variable, format!("{} cannot be read: {error}", path.display())))?;
    let value = text.trim_end_matches(['\n', '\r']);
    if value.is_empty() {
        return Err(wrong(variable, format!("{} is empty", path.display())));
    }
    Ok(Secret(value.to_owned()))
}

/// Only the scheme: libpq accepts more (several hosts, socket directories) than a URL parser does.
fn is_postgres_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn parse_bind(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        wrong("HMS_ACT_BIND", format!("{text:?} is not an address and port such as 127.0.0.1:8080"))
    })
}

fn parse_public_url(text: &str) -> Result<Url, ConfigError> {
    let explain = |why: &str| {
        wrong("HMS_ACT_PUBLIC_URL", format!("{text:?} {why}; write it like https://act.example.gov"))
    };
    let url = Url::parse(text).map_err(|_| explain("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(explain("is not an http or https URL"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(explain("has a path, and the pages live at the root"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(explain("holds a user name"));
    }
    Ok(url)
}

fn parse_allow_hosts(text: &str) -> Result<Vec<AllowedHost>, ConfigError> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_allowed_host).collect()
}

fn parse_allowed_host(text: &str) -> Result<AllowedHost, ConfigError> {
    let explain =
        || wrong("HMS_ACT_ALLOW_HOSTS", format!("{text:?} is not host:port, such as 10.0.0.7:8443"));
    let (host, port) = text.rsplit_once(':').ok_or_else(explain)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(explain)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().map_err(|_| explain())?.to_string(),
        None => match url::Host::parse(host).map_err(|_| explain())? {
            url::Host::Domain(name) => name,
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        },
    };
    Ok(AllowedHost { host, port })
}

fn parse_allow_commands(text: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let programs = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    programs
        .map(|program| {
            let plain =
                program.starts_with('/') && !program.split('/').any(|part| matches!(part, "." | ".."));
            plain.then(|| PathBuf::from(program)).ok_or_else(|| {
                let message = format!("{program:?} is not an absolute path such as /usr/local/bin/fees");
                wrong("HMS_ACT_ALLOW_COMMANDS", message)
            })
        })
        .collect()
}

fn parse_switch(variable: &str, text: &str) -> Result<bool, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(wrong(variable, format!("{text:?} is neither 1 nor 0"))),
    }
}

/// A C2SP key name: not empty, no spaces, no `+` (c2sp.org/signed-note).
fn check_origin(name: &str) -> Result<(), ConfigError> {
    let fits = !name.is_empty()
        && name.len() <= 200
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
    if fits {
        return Ok(());
    }
    Err(wrong(
        "HMS_ACT_LOG_ORIGIN",
        format!("{name:?} is not a log name such as act.example.gov/log (no spaces, no +)"),
    ))
}

fn parse_max_body(text: &str) -> Result<usize, ConfigError> {
    const RANGE: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;
    text.parse().ok().filter(|bytes| RANGE.contains(bytes)).ok_or_else(|| {
        wrong(
            "HMS_ACT_MAX_BODY_BYTES",
            format!("{text:?} is not a number of bytes from {} to {}", RANGE.start(), RANGE.end()),
        )
    })
}

fn parse_review(text: &str) -> Result<u32, ConfigError> {
    const RANGE: std::ops::RangeInclusive<u32> = 1..=8_784;
    text.parse().ok().filter(|hours| RANGE.contains(hours)).ok_or_else(|| {
        let range = format!("from {} to {}", RANGE.start(), RANGE.end());
        wrong("HMS_ACT_OVERRIDE_REVIEW_HOURS", format!("{text:?} is not a number of hours {range}"))
    })
}

#[cfg(test)]
mod tests;
