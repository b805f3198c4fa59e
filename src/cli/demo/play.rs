//! What was done, what came back, and whether it was what the rules say. It calls nobody and
//! prints nothing.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::words;
use crate::{domain::timestamp::Timestamp, pb};

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Play {
    act: String,
    at: String,
    steps: Vec<Step>,
}

/// One thing that a caller did.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Which part of the story it belongs to.
    pub(super) act: String,
    /// The clock, to the minute, in UTC.
    pub(super) at: String,
    /// What the caller did.
    pub(super) call: String,
    /// What came back, one line or more.
    pub(super) answer: Vec<String>,
    /// What the account had after it.
    pub(super) balance: Option<Left>,
    /// What was compared.
    pub(super) checks: Vec<Check>,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// Of what.
    pub(super) what: String,
    /// What the rules say.
    pub(super) expected: Value,
    /// What the sidecar says.
    pub(super) got: Value,
    /// Whether they are the same.
    pub(super) held: bool,
}

/// What an account has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Left {
    /// Spendable.
    pub(super) available: u64,
    /// Set aside by open holds.
    pub(super) held: u64,
    /// Owed.
    pub(super) debt: u64,
}

/// A call that was not answered as it had to be, so that nothing after it makes sense.
#[derive(Debug)]
pub(super) struct Stopped {
    call: String,
    expected: &'static str,
    got: String,
}

impl Stopped {
    /// `call` was to be answered with `expected`.
    pub(super) fn new(call: impl Into<String>, expected: &'static str, got: impl Display) -> Self {
        Stopped {
            call: call.into(),
            expected,
            got: got.to_string(),
        }
    }
}

impl Left {
    /// So much to spend, nothing held, nothing owed.
    pub(super) const fn free(available: u64) -> Left {
        Left {
            available,
            held: 0,
            debt: 0,
        }
    }

    /// And so much held.
    pub(super) const fn held(self, held: u64) -> Left {
        Left { held, ..self }
    }

    /// And so much owed.
    pub(super) const fn debt(self, debt: u64) -> Left {
        Left { debt, ..self }
    }
}

impl Play {
    /// The next part of the story.
    pub(super) fn act(&mut self, title: &str, at: Timestamp) {
        self.act = title.to_owned();
        self.at = words::minute(at);
    }

    /// The next step of this part.
    pub(super) fn step(&mut self, call: impl Into<String>) -> &mut Step {
        let place = self.steps.len();
        self.steps.push(Step {
            act: self.act.clone(),
            at: self.at.clone(),
            call: call.into(),
            answer: Vec::new(),
            balance: None,
            checks: Vec::new(),
        });
        &mut self.steps[place]
    }

    /// Keeps why the play could not go on, as a difference.
    pub(super) fn stopped(&mut self, stopped: Stopped) {
        let Stopped {
            call,
            expected,
            got,
        } = stopped;
        self.step(call)
            .answer("the play stops here")
            .expect("answer", expected, got);
    }

    /// How many comparisons there were.
    pub(super) fn checks(&self) -> usize {
        self.steps.iter().map(|step| step.checks.len()).sum()
    }

    /// How many of them did not hold.
    pub(super) fn differences(&self) -> usize {
        self.steps
            .iter()
            .flat_map(|step| &step.checks)
            .filter(|check| !check.held)
            .count()
    }

    /// Everything that was done.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

impl Step {
    /// One line of what came back.
    pub(super) fn answer(&mut self, line: impl Into<String>) -> &mut Step {
        self.answer.push(line.into());
        self
    }

    /// Compares one thing.
    pub(super) fn expect(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<Value>,
        got: impl Into<Value>,
    ) -> &mut Step {
        let (expected, got) = (expected.into(), got.into());
        let held = expected == got;
        self.checks.push(Check {
            what: what.into(),
            expected,
            got,
            held,
        });
        self
    }

    /// Shows what the account had after it, and compares that.
    pub(super) fn balance(&mut self, expected: Left, got: Option<&pb::Balance>) -> &mut Step {
        let got = got.map_or_else(Left::default, |balance| Left {
            available: balance.available,
            held: balance.held,
            debt: balance.debt,
        });
        self.balance = Some(got);
        self.expect("available", expected.available, got.available)
            .expect("held", expected.held, got.held)
            .expect("debt", expected.debt, got.debt)
    }
}
