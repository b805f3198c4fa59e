//! The options that say what an action is and how much it used, shared by the commands that
//! price, hold or charge. What a mode, a model or a meter may be called, the server knows.

use std::collections::HashMap;

use super::{exit::Exit, output::Failure, values};
use crate::{domain::usage::METERS, pb};

/// What the action is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ActionArgs {
    /// The mode, e.g. discuss, edit, agent or build
    #[arg(long)]
    mode: Option<String>,

    /// The model that serves the action; none for an action that calls no model
    #[arg(long)]
    model: Option<String>,

    /// The conversation that support will look the action up by
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,

    /// Kept in the ledger; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    labels: Vec<(String, String)>,
}

/// How much of what it used, or will use.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "quantities", multiple = true)]
pub(crate) struct QuantityArgs {
    /// Input tokens, without the cached ones
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    input_tokens: Option<u64>,

    /// Input tokens that came from the cache
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    cached_input_tokens: Option<u64>,

    /// Output tokens, reasoning included
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    output_tokens: Option<u64>,

    /// Tools that were run
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    tool_calls: Option<u64>,

    /// Files that were read or written
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    file_operations: Option<u64>,

    /// Seconds of builds and deploys
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    build_seconds: Option<u64>,

    /// A meter that the catalogue adds; may be repeated
    #[arg(long = "meter", value_name = "NAME=N", value_parser = values::quantity)]
    meters: Vec<(String, u64)>,
}

/// Quantities, or credits as they are.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct AmountArgs {
    #[command(flatten)]
    quantities: QuantityArgs,

    /// A number of credits, instead of quantities
    #[arg(
        long,
        value_name = "N",
        value_parser = values::whole,
        allow_negative_numbers = true,
        conflicts_with = "quantities"
    )]
    credits: Option<u64>,
}

/// An amount as the contract has it, in whichever request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Amount {
    /// Quantities, to be priced by the server.
    Usage(pb::Usage),
    /// Credits as they are.
    Credits(u64),
}

impl ActionArgs {
    /// The action; `None` where nothing of it was given.
    pub(crate) fn action(&self) -> Result<Option<pb::Action>, Failure> {
        let given = self.mode.is_some()
            || self.model.is_some()
            || self.conversation.is_some()
            || !self.labels.is_empty();
        if !given {
            return Ok(None);
        }
        Ok(Some(pb::Action {
            mode: self.mode.clone().unwrap_or_default(),
            model: self.model.clone().unwrap_or_default(),
            conversation_id: self.conversation.clone().unwrap_or_default(),
            labels: unique(&self.labels, "--label")?,
        }))
    }

    /// The action, of which at least the mode must be given.
    pub(crate) fn required(&self) -> Result<pb::Action, Failure> {
        match (&self.mode, self.action()?) {
            (Some(_), Some(action)) => Ok(action),
            (_, _) => Err(Failure::new(Exit::Usage, "--mode is needed")
                .hint("the modes are those of the catalogue, e.g. --mode discuss")),
        }
    }
}

impl QuantityArgs {
    /// The usage; `None` where no quantity was given, not even zero.
    pub(crate) fn usage(&self) -> Result<Option<pb::Usage>, Failure> {
        let fields = [
            self.input_tokens,
            self.cached_input_tokens,
            self.output_tokens,
            self.tool_calls,
            self.file_operations,
            self.build_seconds,
        ];
        if fields.iter().all(Option::is_none) && self.meters.is_empty() {
            return Ok(None);
        }
        if let Some((name, _)) = self
            .meters
            .iter()
            .find(|(name, _)| METERS.contains(&name.as_str()))
        {
            let message = format!("--meter {name}: use --{}", name.replace('_', "-"));
            return Err(Failure::new(Exit::Usage, message));
        }
        let [input, cached, output, tools, files, build] = fields.map(Option::unwrap_or_default);
        Ok(Some(pb::Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            output_tokens: output,
            tool_calls: tools,
            file_operations: files,
            build_seconds: build,
            custom: unique(&self.meters, "--meter")?,
        }))
    }
}

impl AmountArgs {
    /// The amount; `None` where none was given.
    pub(crate) fn amount(&self) -> Result<Option<Amount>, Failure> {
        match self.credits {
            Some(credits) => Ok(Some(Amount::Credits(credits))),
            None => Ok(self.quantities.usage()?.map(Amount::Usage)),
        }
    }

    /// The amount, which must be given: what is left out by mistake is not taken for zero.
    pub(crate) fn required(&self) -> Result<Amount, Failure> {
        self.amount()?.ok_or_else(|| {
            Failure::new(Exit::Usage, "no amount: give quantities, or --credits")
                .hint("e.g. --input-tokens 1200 --output-tokens 300, or --credits 5")
        })
    }
}

fn unique<V: Clone>(pairs: &[(String, V)], flag: &str) -> Result<HashMap<String, V>, Failure> {
    let mut map = HashMap::with_capacity(pairs.len());
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone()).is_some() {
            let message = format!("{flag} {key} is given twice");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        action: ActionArgs,
        #[command(flatten)]
        amount: AmountArgs,
    }

    fn parse(words: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()))
    }

    #[test]
    fn quantities_become_the_contracts_usage() {
        let words = "--input-tokens 12400 --cached-input-tokens 30000 --output-tokens 1850 \
            --tool-calls 7 --file-operations 9 --build-seconds 4 --meter gpu_seconds=2";
        let line = parse(words).unwrap();
        let usage = pb::Usage {
            input_tokens: 12_400,
            cached_input_tokens: 30_000,
            output_tokens: 1_850,
            tool_calls: 7,
            file_operations: 9,
            build_seconds: 4,
            custom: [("gpu_seconds".to_owned(), 2)].into(),
        };
        assert_eq!(line.amount.required().unwrap(), Amount::Usage(usage));
        assert_eq!(line.action.action().unwrap(), None);
    }

    #[test]
    fn zero_is_an_amount_and_nothing_is_none() {
        let zero = parse("--output-tokens 0").unwrap().amount;
        assert_eq!(
            zero.required().unwrap(),
            Amount::Usage(pb::Usage::default())
        );
        let none = parse("").unwrap().amount;
        assert_eq!(none.required().unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn credits_and_quantities_exclude_each_other() {
        let line = parse("--credits 5").unwrap();
        assert_eq!(line.amount.required().unwrap(), Amount::Credits(5));
        assert!(parse("--credits 5 --tool-calls 1").is_err());
        assert!(parse("--credits 5 --meter x=1").is_err());
    }

    #[test]
    fn what_is_no_number_is_told_the_range() {
        for words in ["--credits -1", "--credits 1.5", "--tool-calls -1"] {
            let error = parse(words).unwrap_err().to_string();
            let range = "a whole number from 0 to 9007199254740991";
            assert!(error.contains(range), "{words}: {error}");
        }
    }

    #[test]
    fn what_is_given_twice_or_by_another_name_is_refused() {
        for (words, message) in [
            ("--meter a=1 --meter a=2", "--meter a is given twice"),
            (
                "--meter input_tokens=1",
                "--meter input_tokens: use --input-tokens",
            ),
        ] {
            assert_eq!(
                parse(words).unwrap().amount.amount().unwrap_err().message,
                message
            );
        }
        let line = parse("--mode edit --label a=1 --label a=1").unwrap();
        assert_eq!(
            line.action.required().unwrap_err().message,
            "--label a is given twice"
        );
        let line = parse("--model gpt-4o").unwrap();
        assert_eq!(
            line.action.required().unwrap_err().message,
            "--mode is needed"
        );
    }
}
