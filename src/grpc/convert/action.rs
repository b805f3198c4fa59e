//! Actions, quantities and outcomes, in both directions.

use std::collections::{BTreeMap, HashMap};

use super::fields::{Problems, wrong_text};
use crate::{
    domain::{
        credits::MAX_CREDITS,
        ids::ID_BYTES_MAX,
        rate_card::RateCard,
        usage::{Action, CUSTOM_METERS_MAX, LABEL_BYTES_MAX, LABELS_MAX, METERS, Outcome, Usage},
    },
    pb,
};

/// What the metrics call a mode or a tier that the catalogue has none for.
const NONE: &str = "none";

/// Mode and tier of an action, as the catalogue writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels<'c> {
    /// The mode.
    pub mode: &'c str,
    /// The tier; `none` for an action without a model.
    pub tier: &'c str,
}

impl<'c> Labels<'c> {
    /// Of an action that is not known.
    pub const NONE: Labels<'static> = Labels {
        mode: NONE,
        tier: NONE,
    };

    /// Of an action that may have been priced by another catalogue.
    pub fn of(action: &Action, card: &'c RateCard) -> Labels<'c> {
        Labels {
            mode: card
                .modes()
                .find(|mode| *mode == action.mode)
                .unwrap_or(NONE),
            tier: tier(card.tier_of(&action.model).unwrap_or_default()),
        }
    }
}

fn tier(tier: &str) -> &str {
    if tier.is_empty() { NONE } else { tier }
}

/// An action that is to be priced by this rate card now. Where its mode or its model is not known to
/// it, that is noted as a price that is missing.
pub fn priced<'c>(
    action: Option<pb::Action>,
    card: &'c RateCard,
    problems: &mut Problems,
) -> Option<(Action, Labels<'c>)> {
    let Some(action) = action else {
        let modes: Vec<&str> = card.modes().collect();
        let modes = modes.join(", ");
        problems.add(
            "action",
            format!("is missing: give at least its mode, one of {modes}"),
        );
        return None;
    };
    let action = described(action, problems)?;
    let mode = card.modes().find(|mode| *mode == action.mode);
    let model = card.tier_of(&action.model);
    if mode.is_none()
        && let Err(error) = card.check_action(&action)
    {
        problems.unpriced(error.field(), error.to_string());
    }
    let found = match model {
        Ok(found) => tier(found),
        Err(error) => {
            problems.unpriced(error.field(), error.to_string());
            NONE
        }
    };
    let mode = mode.unwrap_or(NONE);
    Some((action, Labels { mode, tier: found }))
}

/// An action within the bounds of its texts, whatever the rate card says of it.
pub fn described(action: pb::Action, problems: &mut Problems) -> Option<Action> {
    let mode = problems.text("action.mode", action.mode);
    let model = problems.text("action.model", action.model);
    let conversation_id = problems.text("action.conversation_id", action.conversation_id);
    let labels = labels(action.labels, problems);
    Some(Action {
        mode: mode?,
        model: model?,
        conversation_id: conversation_id?,
        labels: labels?,
    })
}

fn labels(
    labels: HashMap<String, String>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, String>> {
    const FIELD: &str = "action.labels";
    if labels.is_empty() {
        return Some(BTreeMap::new());
    }
    if labels.len() > LABELS_MAX {
        problems.add(
            FIELD,
            format!("has {} pairs: at most {LABELS_MAX}", labels.len()),
        );
        return None;
    }
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    let mut right = true;
    for (key, value) in &labels {
        let why = if key.is_empty() {
            Some("is an empty key: give every label a name".to_owned())
        } else {
            wrong_text(key, LABEL_BYTES_MAX).map(|why| format!("is a key that {why}"))
        };
        if let Some(why) = why {
            problems.add(FIELD, why);
            right = false;
        } else if let Some(why) = wrong_text(value, LABEL_BYTES_MAX) {
            problems.add(format!("{FIELD}[{key}]"), why);
            right = false;
        }
    }
    right.then_some(labels)
}

/// Quantities; `field` is where the message stands in the request.
pub fn usage(usage: &pb::Usage, field: &str, problems: &mut Problems) -> Option<Usage> {
    let quantities = [
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.tool_calls,
        usage.file_operations,
        usage.build_seconds,
    ];
    let mut read = Usage::of(quantities);
    let mut right = true;
    for (meter, quantity) in METERS.into_iter().zip(quantities) {
        if quantity > MAX_CREDITS {
            problems.add(format!("{field}.{meter}"), out_of_range(quantity));
            right = false;
        }
    }
    if usage.custom.len() > CUSTOM_METERS_MAX {
        let meters = usage.custom.len();
        problems.add(
            format!("{field}.custom"),
            format!("has {meters} meters: at most {CUSTOM_METERS_MAX}"),
        );
        return None;
    }
    for (meter, quantity) in &usage.custom {
        match wrong_meter(meter, *quantity) {
            Some(Wrong::Name(why)) => problems.add(format!("{field}.custom"), why),
            Some(Wrong::Use(why)) => problems.add(format!("{field}.custom[{meter}]"), why),
            None => {
                read.set(meter, *quantity);
                continue;
            }
        }
        right = false;
    }
    right.then_some(read)
}

/// What is wrong with a custom meter.
enum Wrong {
    /// Its name, which therefore is no path.
    Name(String),
    /// The rest.
    Use(String),
}

fn wrong_meter(meter: &str, quantity: u64) -> Option<Wrong> {
    if meter.is_empty() || meter.len() > ID_BYTES_MAX || !meter.bytes().all(is_name_byte) {
        let why = "has a meter whose name is not 1 to 128 of [A-Za-z0-9._:-]";
        return Some(Wrong::Name(why.to_owned()));
    }
    if METERS.contains(&meter) {
        return Some(Wrong::Use(
            "has a field of its own: report it there".to_owned(),
        ));
    }
    (quantity > MAX_CREDITS).then(|| Wrong::Use(out_of_range(quantity)))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

fn out_of_range(quantity: u64) -> String {
    format!("{quantity} is out of range: 0 to {MAX_CREDITS}")
}

/// How an action ended.
pub fn outcome(number: i32, problems: &mut Problems) -> Option<Outcome> {
    let choices = [
        (pb::Outcome::Unspecified, Outcome::Succeeded),
        (pb::Outcome::Succeeded, Outcome::Succeeded),
        (pb::Outcome::Failed, Outcome::Failed),
        (pb::Outcome::Cancelled, Outcome::Cancelled),
    ];
    problems.choice("outcome", number, pb::Outcome::as_str_name, &choices)
}

/// An action, written out.
pub fn action_message(action: &Action) -> pb::Action {
    pb::Action {
        mode: action.mode.clone(),
        model: action.model.clone(),
        conversation_id: action.conversation_id.clone(),
        labels: action
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

/// Quantities, written out.
pub fn usage_message(usage: &Usage) -> pb::Usage {
    let mut message = pb::Usage::default();
    for (meter, quantity) in usage.iter() {
        match meter {
            "input_tokens" => message.input_tokens = quantity,
            "cached_input_tokens" => message.cached_input_tokens = quantity,
            "output_tokens" => message.output_tokens = quantity,
            "tool_calls" => message.tool_calls = quantity,
            "file_operations" => message.file_operations = quantity,
            "build_seconds" => message.build_seconds = quantity,
            custom => {
                message.custom.insert(custom.to_owned(), quantity);
            }
        }
    }
    message
}

/// An outcome, written out.
pub fn outcome_message(outcome: Outcome) -> pb::Outcome {
    match outcome {
        Outcome::Succeeded => pb::Outcome::Succeeded,
        Outcome::Failed => pb::Outcome::Failed,
        Outcome::Cancelled => pb::Outcome::Cancelled,
    }
}
