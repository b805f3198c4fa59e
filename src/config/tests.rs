use std::{collections::BTreeSet, io::Write, path::Path};

use super::*;

mod checks;
mod sources;

fn set(pairs: &[&str]) -> Flags {
    Flags {
        set: pairs.iter().map(|pair| (*pair).to_owned()).collect(),
        ..Flags::default()
    }
}

fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    pairs.into_iter()
}

fn file(text: &str) -> (tempfile::NamedTempFile, Flags) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let flags = Flags {
        config: Some(file.path().to_owned()),
        ..Flags::default()
    };
    (file, flags)
}

fn refused(flags: &Flags, environment: &[(&str, &str)]) -> String {
    match Config::load(flags, variables(environment)) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}
