//! What no compiler wall holds in one crate: the direction of imports, what stands at the root,
//! and that files and functions stay short enough to be read at one go.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The most lines of a source file, tests apart.
const FILE_LINES_MAX: usize = 450;
/// The most lines of a function.
const FUNCTION_LINES_MAX: usize = 75;

/// Which modules of the crate each module may name (DESIGN.md, section 2). What is not listed
/// may not be imported.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("clock", &["domain"]),
    ("gathered", &[]),
    ("catalogs", &["catalogs", "domain"]),
    ("config", &["config"]),
    ("access", &["access"]),
    ("tls", &["tls", "access", "config"]),
    ("telemetry", &["telemetry", "config", "clock"]),
    ("http", &["http", "telemetry"]),
    ("hot", &["hot", "domain", "clock", "gathered"]),
    ("ledger", &["ledger", "domain", "hot"]),
    (
        "enforcer",
        &[
            "enforcer",
            "hot",
            "ledger",
            "catalogs",
            "domain",
            "clock",
            "telemetry",
        ],
    ),
    (
        "workers",
        &[
            "workers",
            "enforcer",
            "hot",
            "ledger",
            "catalogs",
            "domain",
            "clock",
            "telemetry",
            "access",
            "tls",
        ],
    ),
    (
        "grpc",
        &[
            "grpc",
            "enforcer",
            "ledger",
            "hot",
            "domain",
            "catalogs",
            "clock",
            "gathered",
            "config",
            "telemetry",
            "access",
            "tls",
            "pb",
        ],
    ),
    (
        "observed",
        &["observed", "hot", "ledger", "domain", "clock", "telemetry"],
    ),
    (
        "app",
        &[
            "app",
            "access",
            "tls",
            "observed",
            "grpc",
            "http",
            "enforcer",
            "workers",
            "hot",
            "ledger",
            "catalogs",
            "config",
            "clock",
            "telemetry",
            "domain",
        ],
    ),
    (
        "cli",
        &[
            "cli",
            "access",
            "app",
            "config",
            "catalogs",
            "clock",
            "domain",
            "ledger",
            "hot",
            "grpc",
            "pb",
            "telemetry",
            "workers",
        ],
    ),
    (
        "fuzz",
        &[
            "access", "catalogs", "config", "domain", "grpc", "hot", "ledger",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Crates that only some modules may name: the words, and where they may stand.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sqlx::", &["src/ledger/"]),
    ("redis::cmd(", &["src/hot/redis"]),
    ("redis::Client", &["src/hot/redis"]),
    ("tonic::Status", &["src/grpc"]),
    ("serde_saphyr", &["src/catalogs"]),
    ("Instant::now", &["src/clock.rs"]),
    ("SystemTime::now", &["src/clock.rs"]),
    ("set_var(", &[]),
];

/// What may stand at the root (DESIGN.md, section 2), dotfiles apart.
const ROOT: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "build.rs",
    "helm",
    "proto",
    "src",
    "tests",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(
        found.len() > 3,
        "{folder} has hardly any source: is this the right folder?"
    );
    found
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/") || name.contains("/tests") || name.ends_with("tests.rs")
}

/// The code above a file's own test module, comments left out.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    own.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The top-level modules that a text names after `crate::`, alone or in a braced list.
fn imported(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        if let Some(list) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in list.chars() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => modules.extend(first_word(&std::mem::take(&mut word))),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            modules.extend(first_word(&word));
        } else {
            modules.extend(first_word(after));
        }
    }
    modules
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

fn module_of(name: &str) -> String {
    let inside = name.strip_prefix("src/").unwrap();
    inside.split(['/', '.']).next().unwrap().to_owned()
}

#[test]
fn modules_import_in_one_direction() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        if is_test(&name) {
            continue;
        }
        let module = module_of(&name);
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(known, _)| *known == module)
            .unwrap_or_else(|| panic!("{name}: say in tidy.rs what module {module} may import"));
        for import in imported(&code(&text)) {
            if !allowed.contains(&import.as_str()) {
                wrong.push(format!("{name} imports crate::{import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn special_crates_stay_in_their_place() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        if is_test(&name) {
            continue;
        }
        let text = code(&text);
        for (words, places) in ONLY_IN {
            let allowed = places.iter().any(|place| name.starts_with(place));
            if !allowed && text.contains(words) {
                wrong.push(format!("{name} names {words}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        if is_test(&name) {
            continue;
        }
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = own.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{name} has {lines} lines"));
        }
        for (function, lines) in functions(own) {
            if lines > FUNCTION_LINES_MAX {
                wrong.push(format!("{name}: {function} has {lines} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every function of a formatted file with its number of lines: it ends where a closing brace
/// stands under its first column.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let is_function = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "pub(super) fn ",
        ]
        .iter()
        .any(|head| words.starts_with(head));
        if !is_function || words.ends_with(';') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| **line == close) {
            found.push((words.to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn the_root_holds_what_the_design_lists() {
    let listed = std::process::Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files failed");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: BTreeSet<&str> = listed
        .lines()
        .map(|line| Path::new(line).iter().next().unwrap().to_str().unwrap())
        .collect();
    let stray: Vec<&&str> = names
        .iter()
        .filter(|name| !name.starts_with('.') && !ROOT.contains(name))
        .collect();
    assert!(stray.is_empty(), "{stray:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    for folder in ["src", "tests/it"] {
        for (name, text) in sources(folder) {
            for mark in marks {
                assert!(!text.contains(mark), "{name} has {mark}");
            }
        }
    }
}

#[test]
fn the_readme_names_every_configuration_key() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for key in tollgate::config::Config::keys() {
        assert!(
            readme.contains(&format!("| `{key}` |")),
            "README.md lacks {key}"
        );
    }
}

#[test]
fn the_readme_has_the_table_of_roles() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (method, allowed) in tollgate::access::table::TABLE {
        let short = method.strip_prefix("tollgate.v1.").unwrap();
        let cells = tollgate::access::table::Role::ALL.map(|role| match allowed.contains(&role) {
            true => "yes",
            false => "no",
        });
        let line = format!("| `{short}` | {} |", cells.join(" | "));
        assert!(readme.contains(&line), "README.md lacks {line}");
    }
}
