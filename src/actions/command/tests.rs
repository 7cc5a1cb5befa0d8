use super::super::testing::call;
use super::*;
use serde_json::json;
use std::os::unix::fs::symlink;

/// Runs a program that is allowed.
async fn run(config: Value) -> Result<Outcome, Fault> {
    run_with(config, json!({"license_id": 123})).await
}

async fn run_with(config: Value, input: Value) -> Result<Outcome, Fault> {
    let program = config["program"].as_str().expect("a program").into();
    let executor = CommandExecutor::new(AllowedPrograms::new(vec![program]));
    executor.execute(&Call { input, ..call("command", config) }).await
}

/// A shell that an operator allowed: good for tests, and for nothing else.
fn script(text: &str) -> Value {
    json!({"program": "/bin/sh", "args": ["-c", text]})
}

fn fault(outcome: Result<Outcome, Fault>) -> Fault {
    outcome.expect_err("it fails")
}

#[tokio::test]
async fn json_goes_in_and_json_comes_out() {
    let input = json!({"license_id": 123, "big": 9_007_199_254_740_993_u64});
    let outcome = run_with(json!({"program": "/bin/cat"}), input.clone()).await;
    assert_eq!(outcome, Ok(Outcome::Done(input)));
    let large = json!({"text": "x".repeat(500_000)});
    assert_eq!(run_with(json!({"program": "/bin/cat"}), large.clone()).await, Ok(Outcome::Done(large)));
}

#[tokio::test]
async fn a_program_that_reads_nothing_is_not_waited_for() {
    let large = json!({"text": "x".repeat(500_000)});
    let outcome = run_with(script("echo '{\"ok\": true}'"), large).await;
    assert_eq!(outcome, Ok(Outcome::Done(json!({"ok": true}))));
}

#[tokio::test]
async fn an_argument_is_one_argument_whatever_is_in_it() {
    let nasty = "a b; echo $HOME `id` \"x\" 'y' * \\ \n${payload.x}";
    let show = "printf '[%s,\"%s\"]' $# \"$3\"";
    let config = json!({"program": "/bin/sh", "args": ["-c", show, "sh", "x", "--of=${input.y}", "z"]});
    let outcome = run_with(config.clone(), json!({"y": 7})).await;
    assert_eq!(outcome, Ok(Outcome::Done(json!([3, "z"]))));
    let echo = json!({"program": "/usr/bin/env", "args": ["printf", "%s", "${input.y}"]});
    let quoted = serde_json::to_string(nasty).expect("text");
    assert_eq!(run_with(echo, json!({"y": quoted})).await, Ok(Outcome::Done(json!(nasty))));
}

#[tokio::test]
async fn a_value_that_looks_like_an_option_needs_a_double_dash_before_it() {
    let config = |args: Value| json!({"program": "/bin/echo", "args": args});
    let refused = fault(run_with(config(json!(["${input.y}"])), json!({"y": "-rf"})).await);
    assert!(refused.message.contains("taken for an option") && !refused.retryable, "{refused}");
    assert_eq!(
        run_with(config(json!(["-n", "${input.y}"])), json!({"y": -5})).await,
        Ok(Outcome::Done(json!(-5)))
    );
    let script =
        json!({"program": "/bin/sh", "args": ["-c", "printf '\"%s\"' \"$2\"", "sh", "--", "${input.y}"]});
    assert_eq!(run_with(script, json!({"y": "-rf"})).await, Ok(Outcome::Done(json!("-rf"))));
    for y in [json!(null), json!([1]), json!("a\u{0}")] {
        let refused = fault(run_with(config(json!(["${input.y}"])), json!({"y": y})).await);
        assert!(refused.message.contains("Argument 1 of the action fetch_data"), "{refused}");
    }
}

#[tokio::test]
async fn environment_and_directory_are_clean() {
    let text = r#"printf '{"files": %s, "env": "%s"}' "$(ls -A | wc -l)" "$(env | sort | tr '\n' ' ')""#;
    let mut config = script(text);
    config["environment"] = json!({"FEES": "2026"});
    let Ok(Outcome::Done(told)) = run(config).await else { panic!("it fails") };
    assert_eq!(told["files"], 0);
    let names: Vec<&str> = told["env"]
        .as_str()
        .expect("text")
        .split(' ')
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    // The shell itself adds its directory.
    let names: Vec<&str> =
        names.into_iter().filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert_eq!(names, ["ACT_RUN", "ACT_STEP", "FEES", "IDEMPOTENCY_KEY", "LANG", "PATH"]);
    let env = told["env"].as_str().expect("text");
    assert!(
        env.contains("ACT_RUN=9001 ")
            && env.contains("ACT_STEP=checks/legal ")
            && env.contains("IDEMPOTENCY_KEY=key-1 "),
        "{env}"
    );
}

#[tokio::test]
async fn exit_codes_and_complaints_are_told() {
    let failed = fault(run(script("echo no such licence >&2; exit 3")).await);
    assert_eq!(failed.message, "The program /bin/sh ended with exit code 3: no such licence");
    assert!(!failed.retryable);
    let later = fault(run(script("exit 75")).await);
    assert_eq!(
        (later.message.as_str(), later.retryable),
        ("The program /bin/sh ended with exit code 75.", true)
    );
    let killed = fault(run(script("kill -9 $$")).await);
    assert_eq!(killed.message, "The program /bin/sh was ended by a signal.");
    let long =
        fault(run(script("yes complaint | head -c 100000 >&2; printf 'the\\033[31m end' >&2; exit 1")).await);
    assert!(long.message.ends_with("the[31m end") && long.message.chars().count() < 700, "{long}");
}

#[tokio::test]
async fn garbage_and_too_much_are_failures() {
    for (text, said) in [
        ("echo hello", "is not valid JSON"),
        ("true", "is not valid JSON"),
        ("echo '{} {}'", "is not valid JSON"),
        ("printf '\\377\\376'", "is not valid JSON"),
        ("echo 123456789012345678901234567890", "does not fit 64 bits"),
    ] {
        let failed = fault(run(script(text)).await);
        assert!(failed.message.contains(said) && !failed.retryable, "{text}: {failed}");
    }
    let mut config = script("yes");
    config["max_output_bytes"] = 10_000.into();
    let failed = fault(run(config).await);
    assert!(failed.message.contains("wrote more than 10000 bytes"), "{failed}");
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_with_its_children() {
    let directory = std::env::temp_dir().join(format!("hms-act-command-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let pids = directory.join("pids");
    let text = format!("trap '' TERM; sleep 1000 & echo $$ $! > {}; wait; wait", pids.display());
    let mut config = script(&text);
    config["timeout_seconds"] = 1.into();
    let failed = fault(run(config).await);
    assert!(failed.message.contains("did not end within 1 seconds") && failed.retryable, "{failed}");
    let written = std::fs::read_to_string(&pids).expect("it began");
    for pid in written.split_whitespace() {
        let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a process");
        // Killed, it takes a moment to be gone, or a corpse that init has not buried yet.
        let gone = async {
            let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
            while let Ok(state) = std::fs::read_to_string(&stat)
                && !state.contains(") Z ")
                && !state.contains(") X ")
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("it was killed");
    }
    std::fs::remove_dir_all(&directory).expect("ours");
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_it_up() {
    let outcome = run(script("sleep 1000 & echo '{}'")).await;
    assert_eq!(outcome, Ok(Outcome::Done(json!({}))));
}

#[tokio::test]
async fn only_allowed_programs_run_and_links_do_not_help() {
    let directory = std::env::temp_dir().join(format!("hms-act-links-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let link = directory.join("link");
    let _ = std::fs::remove_file(&link);
    symlink("/bin/sh", &link).expect("a link");
    let name = link.to_str().expect("text").to_owned();
    let (none, cat) = (AllowedPrograms::default(), AllowedPrograms::new(vec!["/bin/cat".into()]));
    for (program, allowed) in [("/bin/cat", &none), ("/bin/sh", &cat), (name.as_str(), &cat)] {
        let executor = CommandExecutor::new(allowed.clone());
        let refused = fault(executor.execute(&call("command", json!({"program": program}))).await);
        assert!(refused.message.contains("HMS_ACT_ALLOW_COMMANDS") && !refused.retryable, "{refused}");
    }
    let gone = CommandExecutor::new(AllowedPrograms::new(vec!["/no/such/program".into()]));
    let refused = fault(gone.execute(&call("command", json!({"program": "/no/such/program"}))).await);
    assert!(refused.message.contains("cannot be found on this machine"), "{refused}");
    // A link that the operator named leads where it leads.
    let linked = CommandExecutor::new(AllowedPrograms::new(vec![link]));
    let config = json!({"program": name, "args": ["-c", "echo 1"]});
    assert_eq!(linked.execute(&call("command", config)).await, Ok(Outcome::Done(json!(1))));
    std::fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn the_door_names_the_variable_and_the_program() {
    let allowed = AllowedPrograms::new(vec!["/bin/cat".into()]);
    assert_eq!(check_program(&json!({"program": "/bin/cat"}), &allowed), None);
    let problem = check_program(&json!({"program": "/bin/sh"}), &allowed).expect("refused");
    assert_eq!(problem.path, "$.config.program");
    assert!(problem.message.ends_with("with HMS_ACT_ALLOW_COMMANDS=/bin/sh."), "{}", problem.message);
}

#[tokio::test]
async fn a_secret_of_the_environment_is_in_no_message() {
    let mut config = script("echo my key is $API_KEY >&2; exit 1");
    config["environment"] = json!({"API_KEY": "hunter2-hunter2"});
    let failed = fault(run(config).await);
    assert!(failed.message.ends_with("my key is [hidden]"), "{failed}");
}
