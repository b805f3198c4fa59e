//! Answers as text: every number that is not zero, in a fixed order, so that a row of a table
//! says all of an answer.

use tollgate::domain::{
    change::Applied,
    decision::{Balance, Charged, Committed, Denial, Refusal, Released, ReservationView, Reserved},
    entry::Receipt,
};

/// Something that a row can expect.
pub trait Render {
    /// As a row writes it.
    fn render(&self) -> String;
}

impl Render for Reserved {
    fn render(&self) -> String {
        match &self.result {
            Ok(view) => {
                let available = self.balance.available;
                let text = format!("{} available={available}", view.render());
                flagged(text, "replayed", self.replayed)
            }
            Err(denial) => self::denial(denial),
        }
    }
}

impl Render for Committed {
    fn render(&self) -> String {
        let view = self.reservation.render();
        let text = format!(
            "{} | {view} {}",
            receipt(&self.receipt),
            short(&self.balance)
        );
        let text = flagged(text, "replayed", self.replayed);
        match &self.next_hold_denial {
            Some(next) => format!("{text} next {}", denial(next)),
            None => text,
        }
    }
}

impl Render for Released {
    fn render(&self) -> String {
        let view = self.reservation.render();
        let text = format!(
            "returned={} | {view} {}",
            self.returned,
            short(&self.balance)
        );
        flagged(text, "replayed", self.replayed)
    }
}

impl Render for Charged {
    fn render(&self) -> String {
        match &self.result {
            Ok(settled) => {
                let text = format!("{} | {}", receipt(settled), short(&self.balance));
                flagged(text, "replayed", self.replayed)
            }
            Err(denial) => self::denial(denial),
        }
    }
}

impl Render for Applied {
    fn render(&self) -> String {
        short(&self.balance)
    }
}

impl Render for Balance {
    fn render(&self) -> String {
        let mut text = short(self);
        for (name, credits) in [
            ("held", self.held),
            ("plan_used", self.plan_used),
            ("plan", self.plan_remaining),
            ("packs", self.pack_remaining),
        ] {
            if credits > 0 {
                text += &format!(" {name}={credits}");
            }
        }
        text
    }
}

impl Render for Option<ReservationView> {
    fn render(&self) -> String {
        self.as_ref().map_or("unknown".to_owned(), Render::render)
    }
}

impl Render for ReservationView {
    fn render(&self) -> String {
        let state = self.state.map_or("dry", |state| state.name());
        let text = format!("{state} held={}", self.held);
        if self.charged > 0 {
            format!("{text} charged={}", self.charged)
        } else {
            text
        }
    }
}

/// A refusal.
pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Conflict { field } => format!("refused: conflict {field}"),
        Refusal::NotOpen { state } => format!("refused: {}", state.name()),
        Refusal::ReservationNotFound => "refused: unknown".to_owned(),
        Refusal::OutOfRange { field } => format!("refused: range {field}"),
        Refusal::NotLoaded
        | Refusal::Absent
        | Refusal::CycleEnded(_)
        | Refusal::Reprice
        | Refusal::TooMany { .. }
        | Refusal::Unreadable
        | Refusal::ChangeGap { .. } => format!("refused: {refusal}"),
    }
}

fn denial(denial: &Denial) -> String {
    let Denial {
        reason,
        required,
        available,
    } = denial;
    format!(
        "denied {} required={required} available={available}",
        reason.name()
    )
}

fn receipt(receipt: &Receipt) -> String {
    let mut text = format!("+{}", receipt.credits);
    for (name, credits) in [
        ("corrected", receipt.corrected),
        ("returned", receipt.returned),
        ("overage", receipt.overage),
        ("debt", receipt.debt_added),
        ("written_off", receipt.written_off),
    ] {
        if credits > 0 {
            text += &format!(" {name}={credits}");
        }
    }
    for draw in &receipt.draws {
        text += &format!(" {}:{}", draw.grant_id, draw.credits);
    }
    flagged(text, "late", receipt.late)
}

fn short(balance: &Balance) -> String {
    let text = format!("available={}", balance.available);
    if balance.debt > 0 {
        format!("{text} debt={}", balance.debt)
    } else {
        text
    }
}

fn flagged(text: String, flag: &str, is_set: bool) -> String {
    if is_set {
        format!("{text} {flag}")
    } else {
        text
    }
}
