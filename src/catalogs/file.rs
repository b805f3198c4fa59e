//! The catalogue file's form: which keys there are, and where each value stands. What the values
//! mean is checked by `sections`.
//!
//! Numbers are read as the text that the file has, so nothing is rounded on the way.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_saphyr::{Error, Options, Spanned};

/// A scalar, as written.
pub(super) type Text = Spanned<String>;

/// A section that may be left out; written with nothing in it, it is present and empty.
pub(super) type Optional<T> = Option<Spanned<Section<T>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub version: Option<Text>,
    #[serde(default, deserialize_with = "present")]
    pub plans: Optional<PlanFields>,
    #[serde(default, deserialize_with = "present")]
    pub packs: Optional<PackFields>,
    #[serde(default, deserialize_with = "present")]
    pub rates: Optional<RateFields>,
    #[serde(default, deserialize_with = "present")]
    pub tiers: Optional<TierFields>,
    #[serde(default, deserialize_with = "present")]
    pub modes: Optional<ModeFields>,
    #[serde(default, deserialize_with = "present")]
    pub outcomes: Optional<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFields {
    pub allowance: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackFields {
    pub credits: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateFields {
    pub credits: Option<Text>,
    pub per: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierFields {
    pub models: Option<Vec<Text>>,
    #[serde(default, deserialize_with = "present")]
    pub rates: Optional<RateFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModeFields {
    pub multiplier: Option<Text>,
    pub minimum: Option<Text>,
}

/// Entries by name, in the order of the file.
pub(super) struct Section<T> {
    pub entries: Vec<(Text, T)>,
}

/// Reads the form. Aliases and nesting are bounded by the parser's own budget.
pub(super) fn read(yaml: &str) -> Result<File, Error> {
    serde_saphyr::from_str_with_options(yaml, Options::default())
}

fn present<'de, D, T>(deserializer: D) -> Result<Optional<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Spanned::deserialize(deserializer).map(Some)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries by name")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Section {
            entries: Vec::new(),
        })
    }

    /// Bounded by the file's size.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Section { entries })
    }
}
