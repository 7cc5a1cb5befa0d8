//! Programs that nobody here wrote, to check what we claim.

use super::postgres::ScratchDir;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian's packages put Go's libraries.
const DEBIAN: &str = "/usr/share/gocode";

/// The checker of `tests/outside/check.go`, which stands on golang.org/x/mod.
pub struct Checker {
    binary: PathBuf,
}

impl Checker {
    pub fn build(scratch: &ScratchDir) -> Checker {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside");
        let binary = scratch.path().join("check");
        let mut go = Command::new("go");
        go.arg("build").arg("-o").arg(&binary).arg("check.go").current_dir(source);
        go.env("GOCACHE", scratch.path().join("go")).stdin(Stdio::null());
        if Path::new(DEBIAN).join("src/golang.org/x/mod").exists() {
            go.env("GO111MODULE", "off").env("GOPATH", DEBIAN);
        }
        let output = go.output().expect("go runs; make setup-test installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Checker { binary }
    }

    /// Checks a directory: whether it passed, and what was said.
    pub fn check(&self, dir: &Path) -> (bool, String) {
        let output = Command::new(&self.binary).arg(dir).stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    }
}
