use super::{AllowedHost, Config, ConfigError, DEFAULT_MAX_BODY_BYTES, Flags, Secret};
use std::path::PathBuf;

fn load(env: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    load_with(Flags::default(), env, file)
}

fn load_with(flags: Flags, env: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Config::load(flags, &lookup, Some(file))
}

fn error_line(env: &[(&str, &str)]) -> String {
    load(env, "").expect_err("the value is wrong").to_string()
}

#[test]
fn nothing_set_gives_the_defaults() {
    let config = Config::load(Flags::default(), &|_| None, None).expect("defaults are right");
    assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.max_body_bytes, DEFAULT_MAX_BODY_BYTES);
    assert_eq!(config.base_url(), "http://127.0.0.1:8080");
    assert!(!config.demo && config.database_url.is_none() && config.allow_hosts.is_empty());
}

#[test]
fn flag_beats_environment_beats_file() {
    let file = "bind = \"127.0.0.1:1\"\ndata_dir = \"/from/file\"\nlog_origin = \"from.file\"";
    let env = [("HMS_ACT_BIND", "127.0.0.1:2"), ("HMS_ACT_DATA_DIR", "/from/env")];
    let flags = Flags { bind: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
    let config = load_with(flags, &env, file).expect("all right");
    assert_eq!(config.bind.port(), 3);
    assert_eq!(config.data_dir, PathBuf::from("/from/env"));
    assert_eq!(config.log_origin.as_deref(), Some("from.file"));
}

#[test]
fn environment_can_switch_off_the_files_demo() {
    assert!(load(&[], "demo = true").expect("right").demo);
    assert!(!load(&[("HMS_ACT_DEMO", "0")], "demo = true").expect("right").demo);
    assert!(load(&[("HMS_ACT_DEMO", "1")], "").expect("right").demo);
}

#[test]
fn empty_variable_counts_as_unset() {
    let config = load(&[("HMS_ACT_BIND", ""), ("DATABASE_URL", "")], "").expect("right");
    assert_eq!(config.bind.port(), 8080);
    assert!(config.database_url.is_none());
}

#[test]
fn unknown_key_in_the_file_is_refused_with_its_line() {
    let error = load(&[], "demo = true\nbindd = \"x\"").expect_err("unknown key").to_string();
    assert!(error.starts_with("hms-act.toml: line 2: unknown field `bindd`"), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn every_wrong_value_is_one_line_that_names_its_variable() {
    let wrong = [
        ("DATABASE_URL", "mysql://hms"),
        ("HMS_ACT_OWNER_DATABASE_URL", "nonsense"),
        ("HMS_ACT_POOLED_DATABASE_URL", "nonsense"),
        // Without a direct way to the same database.
        ("HMS_ACT_POOLED_DATABASE_URL", "postgres://u@pooler/d"),
        ("HMS_ACT_READ_DATABASE_URL", "postgres://u@replica/d"),
        ("HMS_ACT_BIND", "8080"),
        ("HMS_ACT_PUBLIC_URL", "act.example.gov"),
        ("HMS_ACT_PUBLIC_URL", "https://act.example.gov/sub"),
        ("HMS_ACT_ALLOW_HOSTS", "localhost"),
        ("HMS_ACT_ALLOW_HOSTS", "localhost:0"),
        ("HMS_ACT_ALLOW_COMMANDS", "fees"),
        ("HMS_ACT_ALLOW_COMMANDS", "/bin/cat,/opt/../bin/sh"),
        ("HMS_ACT_DEMO", "perhaps"),
        ("HMS_ACT_LOG_ORIGIN", "two words"),
        ("HMS_ACT_MAX_BODY_BYTES", "1 MiB"),
        ("HMS_ACT_OVERRIDE_REVIEW_HOURS", "0"),
        ("HMS_ACT_OVERRIDE_REVIEW_HOURS", "3 days"),
    ];
    for (variable, value) in wrong {
        let line = error_line(&[(variable, value)]);
        assert!(line.starts_with(&format!("{variable}: ")), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn secrets_are_neither_in_errors_nor_in_debug() {
    assert!(!error_line(&[("DATABASE_URL", "mysql://u:hunter2@h/d")]).contains("hunter2"));
    let config = load(&[("DATABASE_URL", "postgres://u:hunter2@h/d")], "").expect("right");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.database_url, Some(Secret::new("postgres://u:hunter2@h/d")));
}

#[test]
fn secret_comes_from_a_file_without_its_line_end() {
    let path = std::env::temp_dir().join(format!("hms-act-secret-{}", std::process::id()));
    std::fs::write(&path, "postgres://u:p@h/d\n").expect("temp dir is writable");
    let name = path.to_str().expect("temp path is text");
    let config = load(&[("DATABASE_URL_FILE", name)], "").expect("right");
    std::fs::remove_file(&path).expect("it was written");
    assert_eq!(config.database_url, Some(Secret::new("postgres://u:p@h/d")));
}

#[test]
fn further_ways_to_the_database_come_from_any_source() {
    let file = "database_url = \"postgres://h/d\"\nread_database_url = \"postgres://replica/d\"";
    let config = load(&[("HMS_ACT_POOLED_DATABASE_URL", "postgres://pooler/d")], file).expect("right");
    assert_eq!(config.pooled_database_url, Some(Secret::new("postgres://pooler/d")));
    assert_eq!(config.read_database_url, Some(Secret::new("postgres://replica/d")));
}

#[test]
fn secret_and_its_file_at_once_are_refused() {
    let line = error_line(&[("DATABASE_URL", "postgres://h/d"), ("DATABASE_URL_FILE", "/x")]);
    assert_eq!(line, "DATABASE_URL: set either this or DATABASE_URL_FILE, not both");
}

#[test]
fn missing_secret_file_is_named() {
    let line = error_line(&[("HMS_ACT_DEMO_PASSWORD_FILE", "/nowhere/at-all")]);
    assert!(line.starts_with("HMS_ACT_DEMO_PASSWORD_FILE: /nowhere/at-all cannot be read"), "{line}");
}

#[test]
fn allowed_hosts_are_names_and_addresses_with_ports() {
    let config = load(&[("HMS_ACT_ALLOW_HOSTS", "LocalHost:9, 10.0.0.7:8443,[::1]:80")], "").expect("right");
    let expected = [("localhost", 9), ("10.0.0.7", 8443), ("::1", 80)]
        .map(|(host, port)| AllowedHost { host: host.to_owned(), port });
    assert_eq!(config.allow_hosts, expected);
}

#[test]
fn allowed_commands_are_absolute_paths() {
    let config = load(&[("HMS_ACT_ALLOW_COMMANDS", "/bin/cat, /opt/fees,")], "").expect("right");
    assert_eq!(config.allow_commands, [PathBuf::from("/bin/cat"), PathBuf::from("/opt/fees")]);
    assert!(load(&[], "allow_commands = \"/bin/cat\"").expect("right").allow_commands.len() == 1);
    assert!(load(&[], "").expect("right").allow_commands.is_empty());
}

#[test]
fn public_url_loses_its_trailing_slash() {
    let config = load(&[("HMS_ACT_PUBLIC_URL", "https://act.example.gov/")], "").expect("right");
    assert_eq!(config.base_url(), "https://act.example.gov");
}
