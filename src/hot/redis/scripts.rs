//! The scripts: each operation's own file behind the moves that it needs, built once.

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

    /// The script's call, by its name or with its whole text, on a server of some name.
    pub fn call(
        &self,
        keys: &[String],
        arguments: &[Vec<u8>],
        server: &str,
        is_whole: bool,
    ) -> redis::Cmd {
        let mut command = redis::cmd(if is_whole { "EVAL" } else { "EVALSHA" });
        command.arg(if is_whole { &self.text } else { &self.hash });
        command.arg(keys.len());
        keys.iter().for_each(|key| {
            command.arg(key);
        });
        arguments.iter().for_each(|argument| {
            command.arg(argument.as_slice());
        });
        command.arg(server);
        command
    }
}

/// What every script begins with.
const GATE: &str = include_str!("lua/gate.lua");

/// What follows in those that must not be answered by a server that another one has replaced.
const KNOWN: &str = include_str!("lua/known.lua");

/// The moves of an account besides `common`, which every step begins with.
const MOVES: &[(&str, &str)] = &[
    ("draws", include_str!("lua/draws.lua")),
    ("spend", include_str!("lua/spend.lua")),
    ("holds", include_str!("lua/holds.lua")),
    ("entries", include_str!("lua/entries.lua")),
    ("settle", include_str!("lua/settle.lua")),
    ("final", include_str!("lua/final.lua")),
    ("grants", include_str!("lua/grants.lua")),
    ("correct", include_str!("lua/correct.lua")),
    ("expiry", include_str!("lua/expiry.lua")),
    ("fold", include_str!("lua/fold.lua")),
    ("seldom", include_str!("lua/seldom.lua")),
];

/// A step on an account: every move there is, those that it needs each time made at once, the
/// others when the first of them is asked for.
fn step(always: &[&str], own: &str) -> Script {
    let moves = |is_wanted: &dyn Fn(&&str) -> bool| -> String {
        let wanted = MOVES.iter().filter(|(name, _)| is_wanted(name));
        wanted.map(|(_, text)| *text).collect()
    };
    let common = include_str!("lua/common.lua");
    let seldom = moves(&|name| !always.contains(name));
    let often = moves(&|name| always.contains(name));
    Script::new(layout::with_numbers(&format!(
        "{GATE}\n{KNOWN}\n{common}\nfunction book.seldom()\n{seldom}\nend\n{often}\n{own}"
    )))
}

/// Any other script, behind the parts that it needs.
fn plain(parts: &[&str], own: &str) -> Script {
    let parts = parts.join("\n");
    Script::new(layout::with_numbers(&format!("{GATE}\n{parts}\n{own}")))
}

macro_rules! scripts {
    ($($name:ident: $file:literal
        $(with [$($often:literal),*])? $(after [$($part:literal),*])?;)+) => {
        $(
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                let own = include_str!(concat!("lua/", $file, ".lua"));
                scripts!(@make own $(, with [$($often),*])? $(, after [$($part),*])?)
            });
        )+

        #[cfg(test)]
        const ALL: &[(&str, &LazyLock<Script>)] = &[$((stringify!($name), &$name)),+];
    };
    (@make $own:ident, with [$($often:literal),*]) => { step(&[$($often),*], $own) };
    (@make $own:ident, after [$($part:literal),*]) => {
        plain(&[$(include_str!(concat!("lua/", $part, ".lua"))),*], $own)
    };
}

// Those with moves are steps on an account: the list names the moves that they need each time. The
// others come after the parts that they need.
scripts! {
    RESERVE: "reserve" with ["spend"];
    EXTEND: "extend" with ["draws", "spend", "holds"];
    COMMIT: "commit" with ["draws", "holds", "entries", "settle", "final"];
    RELEASE: "release" with ["draws", "holds", "final"];
    CHARGE: "charge" with ["draws", "spend", "holds", "entries", "settle", "final"];
    BALANCE: "balance" with [];
    APPLY: "apply" with [];
    REPAIR: "repair" with [];
    RENEW: "renew" with [];
    UNLOAD: "unload" with [];
    EXPIRE: "expire" with [];
    RESERVATION: "reservation" after ["known"];
    LOADING: "loading" after [];
    LOAD: "load" after [];
    DUE: "due" after [];
    FORGET: "forget" after [];
    OUTBOX: "outbox" after [];
    TRIM: "trim" after [];
    STATS: "stats" after [];
    INSPECT: "inspect" after [];
    BEGIN: "begin" after ["live"];
    LOOK: "look" after ["live"];
    DISTRUST: "distrust" after ["live"];
    RESET: "reset" after ["live", "claim"];
    DROP: "drop" after ["live", "claim"];
    PEEK: "peek" after ["live", "claim"];
    REBUILD: "rebuild" after ["live", "claim"];
    GIVE_UP: "give_up" after ["live", "claim"];
    CLOSE: "close" after ["live", "claim"];
    OPEN: "open" after ["live", "claim"];
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
