//! Whether a run was well: the ledger adds up, and the load was done. What the check found is judged
//! here, and put into words.

use super::{
    check::Checked,
    plan::{Mix, Operation},
    record::Records,
};

/// Where nothing but holds differs, and the server was started by somebody else.
const KILLED: &str = "a server that was killed meanwhile has lost the holds of its last \
    settle.flush_interval_ms, and holds again what was released in it; what was settled is all there";

/// What is known of the calls, beside what the ledger has of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Those whose answer got lost.
    pub(super) lost: u64,
    /// Of those, the ones that got none again.
    pub(super) unresolved: u64,
    /// Those that were refused.
    pub(super) refused: u64,
    /// The first of those, in words.
    pub(super) first_refusal: Option<String>,
    /// Those that were granted, settled or released.
    pub(super) granted: u64,
    /// Those that were denied.
    pub(super) denied: u64,
    /// Whether the mix has any that settles.
    pub(super) settles: bool,
    /// Whether the server is somebody else's, who may have killed it meanwhile.
    pub(super) is_anothers: bool,
}

impl Calls {
    /// Of the load, and of the calls that were made alone.
    pub(super) fn new<'a>(mix: &Mix, runs: impl Iterator<Item = &'a Records>) -> Self {
        let weights = [Operation::Commit, Operation::Charge].map(|one| mix.weight(one));
        let mut calls = Calls {
            settles: weights.iter().any(|weight| *weight > 0),
            ..Calls::default()
        };
        for records in runs {
            let (granted, denied) = records.granted_and_denied();
            calls.granted += granted;
            calls.denied += denied;
            calls.refused += records.refused;
            let first = || records.first_refusal.clone();
            calls.first_refusal = calls.first_refusal.or_else(first);
        }
        calls
    }
}

impl Checked {
    /// Says whether all is well, once the ledger was looked at.
    pub(super) fn judge(&mut self, calls: &Calls) {
        self.lost_answers = calls.lost;
        self.unresolved = calls.unresolved;
        self.refused = calls.refused;
        if calls.refused > 0 {
            let first = calls.first_refusal.as_deref().unwrap_or("unknown");
            let refused = calls.refused;
            self.faults
                .push(format!("{refused} calls were refused, the first: {first}"));
        }
        let denied = calls.denied;
        if calls.settles && self.receipts_in_all == 0 {
            self.faults.push(match denied {
                0 => "nothing was settled".to_owned(),
                denied => format!("nothing was settled; {denied} calls were denied"),
            });
        } else if denied > 0 && calls.granted == 0 {
            self.faults.push(format!("all {denied} calls were denied"));
        }
        self.adds_up = self.problems == 0 && self.unresolved == 0 && self.accounts_checked > 0;
        self.ok = self.adds_up && self.faults.is_empty();
        if calls.is_anothers && self.only_holds_differ() {
            self.note = Some(KILLED.to_owned());
        }
    }

    /// Whether the ledger is right and nothing but what is held is not.
    pub(super) fn only_holds_differ(&self) -> bool {
        self.problems > 0 && self.problems == self.held_problems && self.unresolved == 0
    }

    fn verdict(&self) -> &'static str {
        if self.ok {
            "the ledger adds up"
        } else if self.adds_up {
            "THE LOAD FAILED, though the ledger adds up"
        } else if self.only_holds_differ() {
            "WHAT IS HELD DIFFERS, though the ledger adds up"
        } else {
            "THE LEDGER DOES NOT ADD UP"
        }
    }

    /// What was found, for people to read.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "check: {}: {} receipts over {} credits were answered, the ledger has {} credits in {} \
             entries, for {} of {} accounts",
            self.verdict(),
            self.receipts_answered,
            self.credits_answered,
            self.credits_in_ledger,
            self.entries,
            self.accounts_checked,
            self.accounts,
        );
        if self.lost_answers > 0 {
            text.push_str(&format!(
                "\n  {} answers got lost and were asked for again, {} got none",
                self.lost_answers, self.unresolved
            ));
        }
        for fault in &self.faults {
            text.push_str(&format!("\n  {fault}"));
        }
        for problem in &self.first_problems {
            text.push_str(&format!("\n  {problem}"));
        }
        let named = self.first_problems.len() as u64;
        if self.problems > named {
            text.push_str(&format!("\n  and {} problems more", self.problems - named));
        }
        if let Some(note) = &self.note {
            text.push_str(&format!("\n  {note}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(checked: Checked, calls: &Calls) -> Checked {
        let mut checked = Checked {
            accounts_checked: 1,
            receipts_in_all: 2,
            ..checked
        };
        checked.judge(calls);
        checked
    }

    #[test]
    fn a_load_that_was_not_done_is_not_well_though_the_ledger_adds_up() {
        let calls = Calls {
            settles: true,
            granted: 4,
            denied: 1,
            ..Calls::default()
        };
        let well = judged(Checked::default(), &calls);
        assert!(well.ok && well.adds_up && well.faults.is_empty());

        let refused = Calls {
            refused: 9,
            first_refusal: Some("reserve: InvalidArgument: no such model".to_owned()),
            ..calls.clone()
        };
        let refused = judged(Checked::default(), &refused);
        assert!(!refused.ok && refused.adds_up);
        let expected = "9 calls were refused, the first: reserve: InvalidArgument: no such model";
        assert_eq!(refused.faults, [expected]);

        let mut unsettled = Checked {
            accounts_checked: 1,
            ..Checked::default()
        };
        unsettled.judge(&calls);
        assert!(!unsettled.ok && unsettled.adds_up);
        assert_eq!(
            unsettled.faults,
            ["nothing was settled; 1 calls were denied"]
        );

        let denied = Calls {
            settles: false,
            granted: 0,
            ..calls
        };
        let denied = judged(Checked::default(), &denied);
        assert!(!denied.ok);
        assert_eq!(denied.faults, ["all 1 calls were denied"]);
    }

    #[test]
    fn what_a_killed_server_forgets_is_said_where_somebody_else_may_kill_it() {
        let wrong = |problems, held_problems| Checked {
            problems,
            held_problems,
            ..Checked::default()
        };
        let calls = Calls {
            is_anothers: true,
            granted: 1,
            ..Calls::default()
        };
        assert_eq!(judged(wrong(2, 2), &calls).note.as_deref(), Some(KILLED));
        assert_eq!(judged(wrong(3, 2), &calls).note, None);
        assert_eq!(judged(wrong(0, 0), &calls).note, None);
        assert_eq!(judged(wrong(2, 2), &Calls::default()).note, None);
    }

    #[test]
    fn the_ledger_is_blamed_only_where_it_is_wrong() {
        let said = |ok, adds_up, problems, held_problems| {
            let checked = Checked {
                ok,
                adds_up,
                problems,
                held_problems,
                ..Checked::default()
            };
            checked.verdict()
        };
        assert!(said(true, true, 0, 0).starts_with("the ledger adds up"));
        assert!(said(false, true, 0, 0).starts_with("THE LOAD FAILED"));
        assert!(said(false, false, 2, 2).starts_with("WHAT IS HELD DIFFERS"));
        assert!(said(false, false, 2, 1).starts_with("THE LEDGER DOES NOT"));
        // An answer that is in doubt.
        assert!(said(false, false, 0, 0).starts_with("THE LEDGER DOES NOT"));
    }
}
