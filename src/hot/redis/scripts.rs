//! The scripts: each operation's own file behind the parts that it needs, built once.

use std::sync::LazyLock;

use super::layout;

/// A script as the server knows it.
#[derive(Debug)]
pub(super) struct Script {
    /// For a server that does not know it yet.
    pub text: String,
    /// What the server calls it once it does: its SHA-1.
    pub hash: String,
}

impl Script {
    fn new(text: String) -> Self {
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Script { text, hash }
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: [$($part:literal),+];)+) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                let parts = [$(include_str!(concat!("lua/", $part, ".lua"))),+];
                Script::new(layout::with_numbers(&parts.concat()))
            });
        )+

        #[cfg(test)]
        const ALL: &[(&str, &LazyLock<Script>)] = &[$((stringify!($name), &$name)),+];
    };
}

scripts! {
    RESERVE: ["gate", "common", "reserve"];
    EXTEND: ["gate", "common", "extend"];
    COMMIT: ["gate", "common", "grants", "settle", "commit"];
    RELEASE: ["gate", "common", "release"];
    CHARGE: ["gate", "common", "settle", "charge"];
    BALANCE: ["gate", "common", "balance"];
    RESERVATION: ["gate", "reservation"];
    APPLY: ["gate", "common", "grants", "apply"];
    REPAIR: ["gate", "common", "repair"];
    RENEW: ["gate", "common", "grants", "renew"];
    LOADING: ["gate", "loading"];
    LOAD: ["gate", "load"];
    UNLOAD: ["gate", "common", "unload"];
    EXPIRE: ["gate", "common", "expire"];
    DUE: ["gate", "due"];
    FORGET: ["gate", "forget"];
    OUTBOX: ["gate", "outbox"];
    TRIM: ["gate", "trim"];
    STATS: ["gate", "stats"];
    INSPECT: ["gate", "inspect"];
    LOOK: ["gate", "look"];
    DISTRUST: ["gate", "distrust"];
    RESET: ["gate", "claim", "reset"];
    DROP: ["gate", "claim", "drop"];
    PEEK: ["gate", "claim", "peek"];
    REBUILD: ["gate", "claim", "rebuild"];
    OPEN: ["gate", "claim", "open"];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever stands in capitals outside of texts is a name of the layout, and has become a
    /// number; what Redis itself calls so stays.
    #[test]
    fn no_name_is_left_without_its_number() {
        for (name, script) in ALL {
            let mut quoted = false;
            let code: String = script
                .text
                .chars()
                .map(|c| {
                    quoted ^= c == '\'';
                    if quoted { ' ' } else { c }
                })
                .collect();
            let left: Vec<&str> = code
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .filter(|word| word.len() > 1 && word.starts_with(|c: char| c.is_ascii_uppercase()))
                .filter(|word| !matches!(*word, "KEYS" | "ARGV"))
                .collect();
            assert!(left.is_empty(), "{name}: {left:?}");
        }
    }
}
