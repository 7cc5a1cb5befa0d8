//! One program, run within bounds: a clean environment, an empty directory, a process group that ends with it.
//!
//! Whatever happens to the attempt, nothing of the program is left behind: its group gets SIGTERM, two seconds, and
//! SIGKILL; what it leaves running when it ends by itself is killed at once.

use super::super::exchange::readable;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Between SIGTERM and SIGKILL.
const MERCY: Duration = Duration::from_secs(2);
/// How much of the end of the standard error is kept, and shown.
const COMPLAINT_BYTES: usize = 4 * 1024;
const COMPLAINT_CHARS: usize = 500;

/// What to run.
pub struct Program {
    /// Where it really is.
    pub path: PathBuf,
    /// What it is called: `argv[0]`.
    pub name: String,
    pub arguments: Vec<String>,
    /// All of it: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    pub input: String,
    /// Bytes of the standard output.
    pub max_output: usize,
}

/// How it ended.
pub enum Ended {
    NotStarted(String),
    TooLate,
    TooMuch,
    /// `code` is none when a signal ended it; `complaint` is the end of its standard error, fit to be shown.
    Exit {
        code: Option<i32>,
        output: Vec<u8>,
        complaint: String,
    },
}

impl Program {
    pub async fn run(&self, limit: Duration) -> Ended {
        let not_started = |error: io::Error| Ended::NotStarted(error.to_string());
        let directory = match Directory::make() {
            Ok(directory) => directory,
            Err(error) => return not_started(error),
        };
        let child = match self.command(directory.path()).spawn() {
            Ok(child) => child,
            Err(error) => return not_started(error),
        };
        let mut running = Running { child: Some(child), directory: Some(directory) };
        match tokio::time::timeout(limit, self.attend(&mut running)).await {
            Ok(Ok(Some(ended))) => ended,
            Ok(Ok(None)) => {
                running.stop().await;
                Ended::TooMuch
            }
            Ok(Err(error)) => {
                running.stop().await;
                not_started(error)
            }
            Err(_) => {
                running.stop().await;
                Ended::TooLate
            }
        }
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        command.env_clear().envs(&self.environment).current_dir(directory).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Feeds it and listens until it has ended. None: it wrote too much.
    async fn attend(&self, running: &mut Running) -> io::Result<Option<Ended>> {
        let Some(child) = running.child.as_mut() else { return Ok(None) };
        let group = child.id();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input may be right.
                let _ = stdin.write_all(self.input.as_bytes()).await;
            }
        };
        let end = async {
            let status = child.wait().await;
            // What it left behind would hold its output open.
            kill(group, Signal::KILL);
            status
        };
        let output = async {
            match stdout {
                Some(stdout) => whole(stdout, self.max_output).await,
                None => Ok(Some(Vec::new())),
            }
        };
        let complaint = async {
            match stderr {
                Some(stderr) => tail(stderr).await,
                None => Vec::new(),
            }
        };
        // Too much output ends it all at once: the program may never end by itself.
        let output = async { output.await.transpose().ok_or(None::<io::Error>)?.map_err(Some) };
        let rest = async { Ok::<_, Option<io::Error>>(tokio::join!(feed, end, complaint)) };
        match tokio::try_join!(output, rest) {
            Ok((output, ((), status, complaint))) => {
                let code = status?.code();
                Ok(Some(Ended::Exit { code, output, complaint: last_words(&complaint) }))
            }
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }
}

/// All of it. None: it is more than `limit` bytes.
async fn whole(mut from: impl AsyncRead + Unpin, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    loop {
        if from.read_buf(&mut all).await? == 0 {
            return Ok(Some(all));
        }
        if all.len() > limit {
            return Ok(None);
        }
    }
}

/// The end of it. Reads on whatever comes, so that the program never waits for a reader.
async fn tail(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    while from.read_buf(&mut kept).await.is_ok_and(|read| read > 0) {
        let surplus = kept.len().saturating_sub(COMPLAINT_BYTES);
        kept.drain(..surplus);
    }
    kept
}

/// The last characters of what a program said, on one line.
fn last_words(bytes: &[u8]) -> String {
    let text = readable(&String::from_utf8_lossy(bytes), usize::MAX);
    match text.char_indices().rev().nth(COMPLAINT_CHARS - 1) {
        Some((start, _)) if start > 0 => format!("…{}", &text[start..]),
        _ => text,
    }
}

/// A program that runs, in its directory. Dropped, which an attempt is that is stopped, it is ended all the same.
struct Running {
    child: Option<Child>,
    directory: Option<Directory>,
}

impl Running {
    async fn stop(mut self) {
        if let Some(child) = self.child.take() {
            end(child).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without a number it has ended, and was waited for.
        let Some(child) = self.child.take().filter(|child| child.id().is_some()) else { return };
        let directory = self.directory.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    end(child).await;
                    drop(directory);
                });
            }
            // The app is stopping: nobody is left to wait.
            Err(_) => kill(child.id(), Signal::KILL),
        }
    }
}

async fn end(mut child: Child) {
    let group = child.id();
    kill(group, Signal::TERM);
    let _ = tokio::time::timeout(MERCY, child.wait()).await;
    kill(group, Signal::KILL);
    let _ = child.wait().await;
}

fn kill(group: Option<u32>, signal: Signal) {
    let pid = group.and_then(|id| Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        // Nobody left in the group is what was wanted.
        let _ = kill_process_group(pid, signal);
    }
}

/// A directory of the program's own, gone with this value.
struct Directory(PathBuf);

impl Directory {
    fn make() -> io::Result<Directory> {
        let number: u128 = rand::random();
        let path = std::env::temp_dir().join(format!("hms-act-command-{number:032x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Directory(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A few files of a program that has ended; what cannot be removed stays in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
