//! One fuzzer for everything that parses; `TOLLGATE_FUZZ_TARGET` names what it feeds.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TOLLGATE_FUZZ_TARGET").unwrap_or_default();
    let mut targets = tollgate::fuzz::TARGETS.iter();
    match targets.find(|(known, _)| *known == name) {
        Some((_, target)) => *target,
        None => {
            let known: Vec<&str> = tollgate::fuzz::TARGETS
                .iter()
                .map(|(known, _)| *known)
                .collect();
            eprintln!("TOLLGATE_FUZZ_TARGET must be one of {}", known.join(", "));
            std::process::exit(64);
        }
    }
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
