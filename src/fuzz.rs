//! Everything that parses, as functions of bytes: what the fuzzer calls, and what the test below
//! replays the corpus with. Each must return on any input; where it parsed something, what it
//! parsed is written and parsed once more, and must be the same.
//!
//! Compiled for the fuzzer and for tests only. `tests/fuzz` is the fuzzer, and its corpus.

use crate::{access, catalogs, config, domain, grpc, hot, ledger};

/// A parser, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("access", access_file),
    ("catalog", catalog),
    ("config", config::fuzz::layers),
    ("packed", domain::fuzz::packed),
    ("pages", grpc::fuzz::pages),
    ("redo", ledger::redo::fuzz::record),
    ("replies", hot::redis::fuzz::replies),
    ("requests", grpc::fuzz::requests),
    ("rows", ledger::fuzz::rows),
];

fn access_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(access) = access::Access::parse(text) {
        assert!(access.by_token("").is_none());
        assert!(
            access
                .by_connection(&access::Credentials::default())
                .is_none()
        );
    }
}

fn catalog(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match catalogs::parse(text) {
        Ok(catalog) => assert_eq!(&*catalog.yaml, text),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// What CI runs is all that there is to run, and it does run it.
    #[test]
    fn the_fuzzer_knows_every_target() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let run = fs::read_to_string(root.join("tests/fuzz/run")).unwrap();
        let listed = run.lines().find_map(|line| line.strip_prefix("all=("));
        let listed: Vec<&str> = listed.unwrap().trim_end_matches(')').split(' ').collect();
        assert_eq!(listed, TARGETS.map(|(name, _)| name));
        let stages = fs::read_to_string(root.join(".ci/run")).unwrap();
        assert!(
            stages
                .lines()
                .any(|line| line.starts_with("stage \"fuzz\" tests/fuzz/run "))
        );
    }

    /// Every input that the fuzzer has found worth keeping, with those that broke something once.
    #[test]
    fn the_corpus_breaks_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let folder = corpus.join(name);
            let mut count = 0;
            for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"))
            {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                let ran = std::panic::catch_unwind(|| target(&bytes));
                assert!(ran.is_ok(), "{} breaks {name}", path.display());
                count += 1;
            }
            assert!(count > 2, "{name} has hardly any corpus");
        }
    }
}
