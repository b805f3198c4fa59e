//! The words of one request: a verb, words by place, flags, and `key=value`. Each is taken once;
//! what is left over is a mistake.

use std::str::FromStr;

use tollgate::domain::{
    credits::Credits,
    timestamp::Timestamp,
    usage::{Action, Amount, Usage},
};

/// The short names of the contract's meters.
const METERS: [(&str, &str); 6] = [
    ("input", "input_tokens"),
    ("cached", "cached_input_tokens"),
    ("output", "output_tokens"),
    ("tools", "tool_calls"),
    ("files", "file_operations"),
    ("build", "build_seconds"),
];
/// What the name of any other meter starts with.
const METER_PREFIX: &str = "meter.";
/// The mode of a line that names none.
const MODE: &str = "discuss";

/// The words of one request that are not taken yet.
#[derive(Clone, Debug)]
pub struct Words {
    /// What is to be done.
    pub verb: String,
    rest: Vec<String>,
}

impl Words {
    /// Cuts a request into words.
    pub fn new(request: &str) -> Self {
        let mut words = request.split_whitespace().map(str::to_owned);
        Words {
            verb: words.next().unwrap_or_default(),
            rest: words.collect(),
        }
    }

    /// Whether the answer comes from the ledger, which must have everything before it is asked.
    pub fn looks_at_the_ledger(&self) -> bool {
        let shows_grant = self.verb == "show" && self.rest.first().is_some_and(|it| it == "grant");
        shows_grant || matches!(self.verb.as_str(), "entries" | "conversation")
    }

    /// Everything that is left, as it was written.
    pub fn rest(self) -> String {
        self.rest.join(" ")
    }

    /// Takes a flag, if it is there.
    pub fn flag(&mut self, flag: &str) -> bool {
        let place = self.rest.iter().position(|word| word == flag);
        place.map(|place| self.rest.remove(place)).is_some()
    }

    /// Takes the next word by place, if there is one.
    pub fn place(&mut self) -> Option<String> {
        let place = self.rest.iter().position(|word| !word.contains('='))?;
        Some(self.rest.remove(place))
    }

    /// Takes the next word by place.
    pub fn next(&mut self, what: &str) -> Result<String, String> {
        self.place()
            .ok_or_else(|| format!("{} needs {what}", self.verb))
    }

    /// Takes the next word by place as an identifier.
    pub fn id<T, E: ToString>(
        &mut self,
        what: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, String> {
        let word = self.next(what)?;
        parse(&word).map_err(|error| format!("{what} {word}: {}", error.to_string()))
    }

    /// Takes the next word by place, if it is a number.
    pub fn number(&mut self) -> Option<u64> {
        let place = self.rest.iter().position(|word| !word.contains('='))?;
        let number = self.rest[place].parse().ok()?;
        self.rest.remove(place);
        Some(number)
    }

    /// Takes the value of an option, if it is there.
    pub fn option(&mut self, key: &str) -> Option<String> {
        let value = |word: &String| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        let place = self.rest.iter().position(|word| value(word).is_some())?;
        value(&self.rest.remove(place))
    }

    /// Takes the value of an option and reads it.
    pub fn parsed<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, String> {
        let Some(value) = self.option(key) else {
            return Ok(None);
        };
        let read = value
            .parse()
            .map_err(|_| format!("{key}={value} can't be read"))?;
        Ok(Some(read))
    }

    /// Takes an option in credits.
    pub fn credits(&mut self, key: &str) -> Result<Option<Credits>, String> {
        self.parsed::<u64>(key)?.map(credits).transpose()
    }

    /// Takes an option that is an instant.
    pub fn instant(&mut self, key: &str) -> Result<Option<Timestamp>, String> {
        self.option(key).map(|text| instant(&text)).transpose()
    }

    /// Takes an option that is a duration, in milliseconds.
    pub fn duration(&mut self, key: &str) -> Result<Option<u64>, String> {
        self.option(key).map(|text| millis(&text)).transpose()
    }

    /// Takes the words that describe an action; `None` where there are none.
    pub fn action_if_any(&mut self) -> Option<Action> {
        let (mode, model) = (self.option("mode"), self.option("model"));
        let conversation = self.option("conversation");
        if mode.is_none() && model.is_none() && conversation.is_none() {
            return None;
        }
        Some(Action {
            mode: mode.unwrap_or_else(|| MODE.to_owned()),
            model: model.unwrap_or_default(),
            conversation_id: conversation.unwrap_or_default(),
            ..Action::default()
        })
    }

    /// Takes the words that describe an action.
    pub fn action(&mut self) -> Action {
        let plain = Action {
            mode: MODE.to_owned(),
            ..Action::default()
        };
        self.action_if_any().unwrap_or(plain)
    }

    /// Takes an amount: a number of credits, or quantities.
    pub fn amount(&mut self) -> Result<Amount, String> {
        if let Some(number) = self.number() {
            return Ok(Amount::Credits(credits(number)?));
        }
        self.usage()?
            .map(Amount::Usage)
            .ok_or_else(|| format!("{} needs credits or quantities", self.verb))
    }

    fn usage(&mut self) -> Result<Option<Usage>, String> {
        let mut usage = Usage::default();
        let mut any = false;
        for (short, meter) in METERS {
            if let Some(quantity) = self.parsed(short)? {
                usage.set(meter, quantity);
                any = true;
            }
        }
        while let Some(word) = self.rest.iter().find(|word| word.starts_with(METER_PREFIX)) {
            let key = word.split('=').next().unwrap_or_default().to_owned();
            let quantity = self
                .parsed(&key)?
                .ok_or_else(|| format!("{key} needs a quantity"))?;
            usage.set(&key[METER_PREFIX.len()..], quantity);
            any = true;
        }
        Ok(any.then_some(usage))
    }

    /// Says what nobody has taken.
    pub fn finish(self) -> Result<(), String> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(format!("unknown word: {word}")),
        }
    }
}

/// Credits in range.
pub fn credits(number: u64) -> Result<Credits, String> {
    Credits::new(number).map_err(|error| error.to_string())
}

/// An instant: `2026-01-31T10:00Z`.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    let instant: Result<jiff::Timestamp, _> = text.parse();
    let instant = instant.map_err(|error| format!("{text} is no instant: {error}"))?;
    Ok(Timestamp::from_millis(instant.as_millisecond()))
}

/// A duration: `500ms`, `60s`, `5m`, `24h`, `30d`.
pub fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no duration: 500ms, 60s, 5m, 24h, 30d");
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    Ok(number * unit)
}
