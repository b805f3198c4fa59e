//! Layers of configuration, as the fuzzer makes them.

use super::{
    Config, Flags,
    layers::{Layers, Source},
    reader::Reader,
};

/// A text is a file; its lines are `--set` flags and variables too.
pub(crate) fn layers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let set = text.lines().map(str::to_owned).collect();
    let flags = Flags {
        set,
        ..Flags::default()
    };
    let variables: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("TOLLGATE_{name}"), value.to_owned()))
        .collect();
    let loaded = Config::load(&flags, variables.into_iter());
    if let Err(error) = loaded {
        assert!(!error.to_string().is_empty());
    }
    let Ok(mut layers) = Layers::collect(&Flags::default(), std::iter::empty()) else {
        return;
    };
    if layers
        .put_toml(text, &Source::File("fuzz.toml".into()))
        .is_ok()
    {
        let mut reader = Reader::new(&layers);
        let config = Config::read(&mut reader);
        assert!(config.is_some() || !reader.problems.is_empty());
    }
}
