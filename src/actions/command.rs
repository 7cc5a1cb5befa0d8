//! `command` actions: a step is one run of a local program that the operator allowed.
//!
//! Owns the configuration of a `command` action, the list of allowed programs and the bounds on a program (in
//! `process`). There is no shell: a value of a payload is always the text of one argument, or on the standard input.

mod process;

use super::fields::{ConfigProblem, Fields};
use super::http::{CALL_NAMES, check_template, misconfigured, read_timeout};
use super::secrets::Secrets;
use super::template::{self, Names};
use super::{Call, Executor, Fault, Outcome, json};
use async_trait::async_trait;
use process::{Ended, Program};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const FIELDS: [&str; 5] = ["program", "args", "timeout_seconds", "max_output_bytes", "environment"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_OUTPUT: usize = 1024 * 1024;
/// The exit code that asks for another try (sysexits.h).
const EX_TEMPFAIL: i32 = 75;
/// Ours, or such that they change which code a program loads.
const RESERVED_NAMES: [&str; 17] = [
    "PATH",
    "LANG",
    "ACT_RUN",
    "ACT_STEP",
    "IDEMPOTENCY_KEY",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "JAVA_TOOL_OPTIONS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYOPT",
];
const RESERVED_BEGINNINGS: [&str; 4] = ["LD_", "DYLD_", "PYTHON", "BASH_FUNC_"];

/// The programs that the operator allows, by their absolute paths. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct AllowedPrograms(Arc<[PathBuf]>);

impl AllowedPrograms {
    pub fn new(programs: Vec<PathBuf>) -> AllowedPrograms {
        AllowedPrograms(programs.into())
    }

    fn names(&self, program: &str) -> bool {
        self.0.iter().any(|allowed| allowed == Path::new(program))
    }

    /// Where the program really is: an allowed one by the same path, which leads to where the operator's leads.
    fn resolve(&self, program: &str) -> Result<PathBuf, String> {
        let real = std::fs::canonicalize(program)
            .map_err(|error| format!("the program {program} cannot be found on this machine ({error})"))?;
        let is_allowed = |allowed: &PathBuf| std::fs::canonicalize(allowed).is_ok_and(|path| path == real);
        if self.0.iter().any(is_allowed) { Ok(real) } else { Err(not_allowed(program)) }
    }
}

fn not_allowed(program: &str) -> String {
    format!(
        "{program} is not allowed to run; the operator of HMS-ACT allows programs with HMS_ACT_ALLOW_COMMANDS"
    )
}

/// What is wrong with the program of a `command` action, if it may not run.
pub fn check_program(config: &Value, allowed: &AllowedPrograms) -> Option<ConfigProblem> {
    let program = config.get("program")?.as_str()?;
    let problem = || ConfigProblem {
        path: "$.config.program".to_owned(),
        message: format!("{}={program}.", not_allowed(program)),
    };
    (program.starts_with('/') && !allowed.names(program)).then(problem)
}

/// Runs local programs.
pub struct CommandExecutor {
    allowed: AllowedPrograms,
}

impl CommandExecutor {
    pub fn new(allowed: AllowedPrograms) -> CommandExecutor {
        CommandExecutor { allowed }
    }
}

#[async_trait]
impl Executor for CommandExecutor {
    async fn execute(&self, call: &Call) -> Result<Outcome, Fault> {
        let config =
            CommandConfig::read(&call.target.config).map_err(|problems| misconfigured(call, &problems))?;
        let path = self.allowed.resolve(&config.program).map_err(|why| {
            Fault::lasting(format!("The action {} cannot be done: {why}.", call.target.name))
        })?;
        let program = Program {
            path,
            name: config.program.clone(),
            arguments: config.arguments(call)?,
            environment: config.environment(call),
            input: call.input.to_string(),
            max_output: config.max_output,
        };
        let limit = config.timeout.min(call.time_limit);
        let ended = program.run(limit).await;
        let secrets = Secrets::new(config.environment.values().map(String::as_str));
        config.outcome(ended, limit).map_err(|fault| secrets.hide_in(fault))
    }
}

/// The configuration of a `command` action, read.
#[derive(Debug)]
pub(super) struct CommandConfig {
    program: String,
    args: Vec<String>,
    timeout: Duration,
    max_output: usize,
    environment: BTreeMap<String, String>,
}

impl CommandConfig {
    /// Reads a configuration, or says everything that is wrong with it.
    pub fn read(config: &Value) -> Result<CommandConfig, Vec<ConfigProblem>> {
        let mut fields = Fields::open(config, &FIELDS);
        let program = read_program(&mut fields);
        let args = read_args(&mut fields);
        let timeout = read_timeout(&mut fields, DEFAULT_TIMEOUT);
        let max_output = fields.number("max_output_bytes", 0.0, MAX_OUTPUT as f64);
        let max_output = max_output.map_or(MAX_OUTPUT, |bytes| bytes as usize);
        let environment = read_environment(&mut fields);
        match program {
            Some(program) if fields.problems.is_empty() => {
                Ok(CommandConfig { program, args, timeout, max_output, environment })
            }
            _ => Err(fields.problems),
        }
    }

    /// Each template is the text of one argument, whatever is in it.
    fn arguments(&self, call: &Call) -> Result<Vec<String>, Fault> {
        let names: &Names<'_> = &[("input", (&call.input).into()), ("payload", (&call.payload).into())];
        let mut options_ended = false;
        let mut filled = Vec::with_capacity(self.args.len());
        for (index, arg) in self.args.iter().enumerate() {
            let text = template::fill_text(arg, names).and_then(|text| match text {
                text if text.contains('\0') => Err("it holds the character U+0000".to_owned()),
                text if text.starts_with('-') && !arg.starts_with('-') && !options_ended && !is_number(&text) => {
                    Err("its value begins with `-` and would be taken for an option; put \"--\" before it in \
                         `args`"
                        .to_owned())
                }
                text => Ok(text),
            });
            let text = text.map_err(|why| {
                let name = &call.target.name;
                Fault::lasting(format!(
                    "Argument {} of the action {name} cannot be filled in: {why}.",
                    index + 1
                ))
            })?;
            options_ended |= arg == "--";
            filled.push(text);
        }
        Ok(filled)
    }

    fn environment(&self, call: &Call) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        for (name, value) in [
            ("PATH", "/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("ACT_RUN", &call.run_id.to_string()),
            ("ACT_STEP", &call.step),
            ("IDEMPOTENCY_KEY", &call.idempotency_key),
        ] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        environment
    }

    fn outcome(&self, ended: Ended, limit: Duration) -> Result<Outcome, Fault> {
        let program = &self.program;
        let said = |said: &str| if said.is_empty() { ".".to_owned() } else { format!(": {said}") };
        match ended {
            Ended::NotStarted(why) => {
                Err(Fault::lasting(format!("The program {program} could not be started: {why}.")))
            }
            Ended::TooLate => Err(Fault::passing(format!(
                "The program {program} did not end within {} seconds and was stopped. Give it more time \
                 (timeout_seconds, max_minutes).",
                limit.as_secs_f64()
            ))),
            Ended::TooMuch => Err(Fault::lasting(format!(
                "The program {program} wrote more than {} bytes and was stopped (max_output_bytes).",
                self.max_output
            ))),
            Ended::Exit { code: Some(0), output, .. } => {
                json::parse(&output).map(Outcome::Done).map_err(|why| {
                    Fault::lasting(format!("What the program {program} wrote to its standard output {why}."))
                })
            }
            Ended::Exit { code: Some(code), complaint, .. } => {
                let message =
                    format!("The program {program} ended with exit code {code}{}", said(&complaint));
                Err(if code == EX_TEMPFAIL { Fault::passing(message) } else { Fault::lasting(message) })
            }
            Ended::Exit { code: None, complaint, .. } => Err(Fault::lasting(format!(
                "The program {program} was ended by a signal{}",
                said(&complaint)
            ))),
        }
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

fn read_program(fields: &mut Fields<'_>) -> Option<String> {
    let program = fields.required_text("program")?;
    let is_plain = program.starts_with('/')
        && !program.split('/').any(|part| part == ".." || part == ".")
        && !program.contains(['\0', '\n']);
    if !is_plain {
        fields.problem("program", "Must be an absolute path, such as /usr/local/bin/fees, without `..`.");
        return None;
    }
    Some(program.to_owned())
}

fn read_args(fields: &mut Fields<'_>) -> Vec<String> {
    let args = match fields.value("args") {
        None => return Vec::new(),
        Some(Value::Array(args)) => args,
        Some(_) => {
            fields.problem("args", "Must be a list of texts, one for each argument.");
            return Vec::new();
        }
    };
    let mut read = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        let place = format!("args[{index}]");
        match arg.as_str() {
            Some(text) if text.contains('\0') => fields.problem(&place, "Must not hold U+0000."),
            Some(text) => {
                check_template(fields, &place, arg, &CALL_NAMES);
                read.push(text.to_owned());
            }
            None => fields.problem(&place, "Must be a text."),
        }
    }
    read
}

fn read_environment(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let variables = match fields.value("environment") {
        None => return BTreeMap::new(),
        Some(Value::Object(variables)) => variables,
        Some(_) => {
            fields.problem("environment", "Must be an object of texts.");
            return BTreeMap::new();
        }
    };
    let mut read = BTreeMap::new();
    for (name, value) in variables {
        let message = match value.as_str() {
            _ if !is_variable(name) => "Is not a variable's name: letters, digits and `_`.",
            _ if is_reserved(name) => {
                "Is set by HMS-ACT or changes what code is loaded; it cannot be configured."
            }
            Some(text) if !text.contains('\0') => {
                read.insert(name.clone(), text.to_owned());
                continue;
            }
            Some(_) => "Must not hold U+0000.",
            None => "Must be a text.",
        };
        fields.problem(&format!("environment.{name}"), message);
    }
    read
}

fn is_variable(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name) || RESERVED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests;
