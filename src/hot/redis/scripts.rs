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
    RESERVE: ["common", "reserve"];
    EXTEND: ["common", "extend"];
    COMMIT: ["common", "grants", "settle", "commit"];
    RELEASE: ["common", "release"];
    CHARGE: ["common", "settle", "charge"];
    BALANCE: ["common", "balance"];
    RESERVATION: ["reservation"];
    APPLY: ["common", "grants", "apply"];
    RENEW: ["common", "grants", "renew"];
    LOAD: ["load"];
    UNLOAD: ["common", "unload"];
    EXPIRE: ["common", "expire"];
    DUE: ["due"];
    FORGET: ["forget"];
    OUTBOX: ["outbox"];
    TRIM: ["trim"];
    STATS: ["stats"];
    INSPECT: ["inspect"];
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
