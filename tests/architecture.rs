//! The order of the modules, as `src/lib.rs` documents it, holds in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// (module, its row); a row may use only rows above it. `config` stands before them all: settings are for whoever
/// composes, in the last row.
fn rows() -> BTreeMap<String, usize> {
    let lib = include_str!("../src/lib.rs");
    let mut rows = BTreeMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let Some((number, said)) = line.split_once(". ") else { continue };
        let Ok(row) = number.parse::<usize>() else { continue };
        // `web`: …  `a` and `b`: … : the names before a colon.
        for part in said.split(": ").filter(|part| part.ends_with('`')) {
            let sentence = part.rsplit(". ").next().expect("one at least");
            rows.extend(sentence.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), row)));
        }
    }
    rows
}

struct Source {
    /// The module of the crate that it belongs to: `web`.
    module: String,
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("src is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).expect("below src");
                let first = inside.iter().next().expect("a name").to_string_lossy();
                let module = first.trim_end_matches(".rs").to_owned();
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                found.push(Source { module, path, text });
            }
        }
    }
    found.retain(|source| source.module != "lib" && source.module != "main");
    found
}

/// Every line of code with its number: comments name what they like.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| {
        let line = line.trim_start();
        !line.starts_with("//")
    })
}

/// The modules that a line uses: `crate::store::runs`, `crate::{audit, engine::json}`.
fn used(line: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        text.trim().chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
    };
    let mut used = BTreeSet::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(used.insert(name(rest))),
            // Only the outermost names of the list.
            Some(list) => {
                let mut depth = 0;
                let flat: String = list
                    .chars()
                    .filter(|letter| {
                        depth += i32::from(*letter == '{');
                        let outermost = depth == 0;
                        depth -= i32::from(*letter == '}');
                        outermost
                    })
                    .collect();
                used.extend(flat.split(',').map(name).filter(|name| !name.is_empty()));
            }
        }
    }
    used
}

fn place(source: &Source, line: usize) -> String {
    let path = source.path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("in this package");
    format!("{}:{line}", path.display())
}

#[test]
fn every_module_has_its_row() {
    let rows = rows();
    let expected = [
        "actions",
        "app",
        "audit",
        "auth",
        "bench",
        "cli",
        "demo",
        "engine",
        "export",
        "scheduler",
        "store",
        "web",
    ];
    assert_eq!(rows.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    for source in sources() {
        assert!(
            rows.contains_key(&source.module) || source.module == "config",
            "{} is in no row",
            source.module
        );
    }
}

#[test]
fn imports_are_read_whatever_their_form() {
    let names = |line: &str| used(line).into_iter().collect::<Vec<_>>();
    assert_eq!(names("use crate::store::runs;"), ["store"]);
    assert_eq!(names("use crate::{audit, engine::{json, state}, store as s};"), ["audit", "engine", "store"]);
    assert_eq!(names("let a = crate::web::x(crate::auth::y);"), ["auth", "web"]);
    assert!(names("use super::state;").is_empty());
}

#[test]
fn module_uses_only_what_stands_above_it() {
    let rows = rows();
    let last = *rows.values().max().expect("rows");
    let (mut wrong, mut beside) = (Vec::new(), BTreeMap::new());
    for source in sources() {
        for (number, line) in code(&source) {
            for name in used(line).into_iter().filter(|name| *name != source.module) {
                let at = place(&source, number);
                match (rows.get(&source.module), rows.get(&name)) {
                    (Some(user), Some(row)) if row > user => wrong.push(format!("{at} uses {name}")),
                    (Some(user), Some(row)) if row == user => {
                        beside.insert((source.module.clone(), name), at);
                    }
                    (Some(_), Some(_)) => {}
                    (Some(user), None) if name == "config" && *user == last => {}
                    (_, _) => wrong.push(format!("{at} uses {name}")),
                }
            }
        }
    }
    // In one row one may use the other, never each the other.
    for ((user, used), at) in &beside {
        if beside.contains_key(&(used.clone(), user.clone())) {
            wrong.push(format!("{at} uses {used}, which uses {user}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn engine_and_audit_are_pure() {
    const IMPURE: [&str; 17] = [
        "diesel",
        "tokio",
        "actix",
        "reqwest",
        "genai",
        "rand::",
        "tracing::",
        "futures_util",
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::thread",
        "std::process",
        "SystemTime",
        "Instant",
        "async ",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| matches!(source.module.as_str(), "engine" | "audit")) {
        for (number, line) in code(source) {
            let impure = IMPURE.into_iter().chain(["Utc::now", "Local::now", ".await", "println!"]);
            wrong.extend(
                impure
                    .filter(|word| line.contains(word))
                    .map(|word| format!("{}: {word}", place(source, number))),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_store_uses_the_database() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.module != "store") {
        for (number, line) in code(source) {
            if line.contains("diesel") || line.contains("store::schema") {
                wrong.push(format!("{}: {}", place(source, number), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
