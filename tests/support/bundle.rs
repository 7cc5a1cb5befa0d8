//! A run's bundle, unpacked and looked at with the program's own checker and with the one that comes along.

use super::client::Caller;
use super::process::Setup;
use reqwest::Method;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// The bundle as it is downloaded.
pub async fn download(who: &Caller, run: i64) -> Vec<u8> {
    let request = who.request(Method::GET, &format!("/acts/runs/{run}/bundle"));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("a body").to_vec()
}

/// A folder with a bundle's files.
pub struct Unpacked(PathBuf);

impl Unpacked {
    pub fn new(bundle: &[u8], dir: PathBuf) -> Unpacked {
        fs::create_dir_all(&dir).expect("made");
        ZipArchive::new(Cursor::new(bundle)).expect("a zip file").extract(&dir).expect("unpacked");
        Unpacked(dir)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// All that is in it, as one text.
    pub fn text(&self) -> String {
        self.names().iter().map(|name| self.read(name)).collect()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("written");
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Runs the checker that came along: whether it passed, and what it said.
    pub fn check(&self, key: Option<&str>) -> (bool, String) {
        let mut python = Command::new("python3");
        python.arg("check.py").current_dir(&self.0).args(key.iter().flat_map(|key| ["--key", key]));
        let output = python.output().expect("python3 runs; make setup-test installs it");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    }

    /// Packs the files again as they are now, and has `hms-act verify` look at them.
    pub fn verify(&self, arguments: &[&str]) -> (bool, String) {
        let packed = self.0.with_extension("zip");
        let mut zip = ZipWriter::new(File::create(&packed).expect("made"));
        for name in self.names() {
            zip.start_file(name.as_str(), SimpleFileOptions::default()).expect("a file");
            zip.write_all(self.read(&name).as_bytes()).expect("written");
        }
        zip.finish().expect("whole");
        verify(&packed, arguments)
    }
}

/// What `hms-act verify` says of a bundle, without a database.
pub fn verify(bundle: &Path, arguments: &[&str]) -> (bool, String) {
    let data_dir = bundle.parent().expect("a folder").to_owned();
    let setup = Setup { data_dir, demo: false, database: None, allow_hosts: String::new() };
    let file = bundle.to_str().expect("UTF-8");
    let output = setup.run(&[&["verify", "--bundle", file], arguments].concat());
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}
