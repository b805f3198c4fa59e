//! Which tier a model belongs to: patterns with `*`, of which the most specific match wins.
//!
//! The most specific pattern is the one with the most characters besides `*`; of two with as
//! many, the one with fewer `*`. Two patterns that tie and share a model are refused when the
//! card is made, so the order in which they were written never decides.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 128;
/// The most patterns of one rate card.
pub const PATTERNS_MAX: usize = 500;
/// How many models are remembered with the tier that their pattern led to.
const MATCHED_MAX: usize = 1024;

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty or too long.
    #[error("is {0} bytes long: 1 to 128 printable characters, with * for any run of them")]
    Length(usize),
    /// The text has a character that is not printable ASCII.
    #[error("has {0:?}: 1 to 128 printable ASCII characters, with * for any run of them")]
    Alphabet(char),
    /// The text would match every model, known or not.
    #[error("would price every model alike: name at least one character besides *")]
    Everything,
}

/// A pattern of model names, as `claude-haiku*` or `gemini-*flash*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Arc<str>,
    /// The runs between the stars: just one where there is no star.
    runs: Box<[Box<str>]>,
}

impl Pattern {
    /// Checks length and alphabet. Several `*` in a row are one.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::Length(text.len()));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(PatternError::Alphabet(c));
        }
        let mut plain = String::with_capacity(text.len());
        for c in text.chars() {
            if c != '*' || !plain.ends_with('*') {
                plain.push(c);
            }
        }
        if plain == "*" {
            return Err(PatternError::Everything);
        }
        Ok(Pattern {
            runs: plain.split('*').map(Box::from).collect(),
            text: Arc::from(plain),
        })
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches the whole name.
    pub fn matches(&self, model: &str) -> bool {
        let [first, middle @ .., last] = &*self.runs else {
            return *self.text == *model;
        };
        let rest = model.strip_prefix(&**first);
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(&**last)) else {
            return false;
        };
        // The leftmost place for each run leaves the most for the runs after it.
        for run in middle {
            let Some(at) = rest.find(&**run) else {
                return false;
            };
            rest = &rest[at + run.len()..];
        }
        true
    }

    /// Greater is more specific.
    fn specificity(&self) -> (usize, Reverse<usize>) {
        let stars = self.runs.len().saturating_sub(1);
        (self.text.len() - stars, Reverse(stars))
    }

    /// A name that both match, if there is one.
    fn shared(&self, other: &Pattern) -> Option<String> {
        // Most pairs differ at an end already, which spares the search.
        let (head, other_head) = (self.runs.first()?, other.runs.first()?);
        let (tail, other_tail) = (self.runs.last()?, other.runs.last()?);
        let heads = head.starts_with(&**other_head) || other_head.starts_with(&**head);
        let tails = tail.ends_with(&**other_tail) || other_tail.ends_with(&**tail);
        if !heads || !tails {
            return None;
        }
        common(self.text.as_bytes(), other.text.as_bytes())
    }
}

/// Two patterns that match a model equally well, by their places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The earlier pattern.
    pub first: usize,
    /// The later pattern.
    pub second: usize,
    /// A model that both match.
    pub model: String,
}

/// Every two patterns of the list that tie on some model.
pub fn ties(patterns: &[&Pattern]) -> Vec<Tie> {
    let mut ties = Vec::new();
    for (second, later) in patterns.iter().enumerate() {
        for (first, earlier) in patterns[..second].iter().enumerate() {
            if earlier.specificity() != later.specificity() {
                continue;
            }
            if let Some(model) = earlier.shared(later) {
                ties.push(Tie {
                    first,
                    second,
                    model,
                });
            }
        }
    }
    ties
}

/// The patterns of a card, ready for lookups: whole names by hash, the others from the most
/// specific down, so that the first match is the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Models {
    whole: Tiers,
    globs: Vec<(Pattern, usize)>,
    /// Models that matched a glob before: few models make up all the traffic.
    matched: Arc<ArcSwap<Tiers>>,
}

/// The places of tiers, by a model's whole name.
type Tiers = HashMap<Arc<str>, usize, RandomState>;

impl Models {
    /// From patterns without a tie, each with its tier's place.
    pub(super) fn new(patterns: impl Iterator<Item = (Pattern, usize)>) -> Models {
        let mut models = Models::default();
        for (pattern, tier) in patterns {
            if pattern.runs.len() == 1 {
                models.whole.insert(pattern.text, tier);
            } else {
                models.globs.push((pattern, tier));
            }
        }
        models
            .globs
            .sort_by_key(|(pattern, _)| Reverse(pattern.specificity()));
        models
    }

    /// The patterns of one tier, sorted.
    pub(super) fn of_tier(&self, place: usize) -> Vec<&str> {
        let whole = self.whole.iter().map(|(text, tier)| (&**text, *tier));
        let globs = self.globs.iter().map(|(glob, tier)| (glob.as_str(), *tier));
        let mut patterns: Vec<&str> = whole
            .chain(globs)
            .filter(|(_, tier)| *tier == place)
            .map(|(text, _)| text)
            .collect();
        patterns.sort_unstable();
        patterns
    }

    /// The place of the model's tier. A whole name has every character of the model, and no
    /// glob has more.
    pub(super) fn tier(&self, model: &str) -> Option<usize> {
        if let Some(tier) = self.whole.get(model) {
            return Some(*tier);
        }
        if let Some(tier) = self.matched.load().get(model) {
            return Some(*tier);
        }
        let (_, tier) = self.globs.iter().find(|(glob, _)| glob.matches(model))?;
        self.remember(model, *tier);
        Some(*tier)
    }

    /// Two that do this at once may lose one of their models; it is remembered another time.
    fn remember(&self, model: &str, tier: usize) {
        let known = self.matched.load();
        if known.len() < MATCHED_MAX && model.len() <= PATTERN_BYTES_MAX {
            let mut known = Tiers::clone(&known);
            known.insert(Arc::from(model), tier);
            self.matched.store(Arc::new(known));
        }
    }
}

/// A text that both patterns match. `meets[i][j]` says whether what follows `i` in one pattern
/// and `j` in the other has one; the text is then read off along the way from the front.
fn common(a: &[u8], b: &[u8]) -> Option<String> {
    let mut meets = vec![vec![false; b.len() + 1]; a.len() + 1];
    meets[a.len()][b.len()] = true;
    for i in (0..=a.len()).rev() {
        for j in (0..=b.len()).rev() {
            let (x, y) = (a.get(i), b.get(j));
            let skip_a = x == Some(&b'*') && meets[i + 1][j];
            let skip_b = y == Some(&b'*') && meets[i][j + 1];
            let into_a = x == Some(&b'*') && y.is_some() && meets[i][j + 1];
            let into_b = y == Some(&b'*') && x.is_some() && meets[i + 1][j];
            let both = x.is_some() && x == y && meets[i + 1][j + 1];
            meets[i][j] |= skip_a || skip_b || into_a || into_b || both;
        }
    }
    if !meets[0][0] {
        return None;
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        let (x, y) = (a.get(i).copied(), b.get(j).copied());
        if x == Some(b'*') && meets[i + 1][j] {
            i += 1;
        } else if y == Some(b'*') && meets[i][j + 1] {
            j += 1;
        } else if x == Some(b'*') {
            text.extend(y.map(char::from));
            j += 1;
        } else if y == Some(b'*') {
            text.extend(x.map(char::from));
            i += 1;
        } else {
            text.extend(x.map(char::from));
            (i, j) = (i + 1, j + 1);
        }
    }
    Some(text)
}
