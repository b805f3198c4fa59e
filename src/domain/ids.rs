//! Identifiers: 1 to 128 of `[A-Za-z0-9._:-]`, cheap to clone.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

/// The longest identifier, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Prefix of the grants that the billing cycle makes. Callers may not use it.
pub const PLAN_GRANT_PREFIX: &str = "plan:";
/// Prefix of the adjustment grants that refunds make. Callers may not use it.
pub const REFUND_GRANT_PREFIX: &str = "refund:";
/// Prefix of the adjustment grants that corrections make. Callers may not use it.
pub const CORRECTION_GRANT_PREFIX: &str = "correction:";

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty: 1 to 128 of [A-Za-z0-9._:-]")]
    Empty,
    /// The text is longer than [`ID_BYTES_MAX`].
    #[error("is {0} bytes long: 1 to 128 of [A-Za-z0-9._:-]")]
    TooLong(usize),
    /// The text has a character outside the alphabet.
    #[error("has {0:?}: 1 to 128 of [A-Za-z0-9._:-]")]
    Alphabet(char),
}

/// Which bytes an identifier may have: a table, since every call checks a hundred of them.
const ALPHABET: [bool; 256] = {
    let mut alphabet = [false; 256];
    let mut byte = 0;
    while byte < alphabet.len() {
        alphabet[byte] =
            (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'.' | b'_' | b':' | b'-');
        byte += 1;
    }
    alphabet
};

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(text.len()));
    }
    match text.bytes().position(|byte| !ALPHABET[usize::from(byte)]) {
        // What comes before it is ASCII, so a character starts there.
        Some(at) => Err(IdError::Alphabet(
            text[at..].chars().next().unwrap_or_default(),
        )),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and alphabet, once, at the edge.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok($name(Arc::from(text)))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                $name::new(&text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An account.
    AccountId
);
id!(
    /// A reservation or a charge; both share one name space within an account.
    ReservationId
);
id!(
    /// An extension of a reservation, unique within it.
    ExtensionId
);
id!(
    /// A grant, unique within its account.
    GrantId
);
id!(
    /// A plan change or a refund, unique within its account and kind.
    ChangeId
);
id!(
    /// A plan of the catalogue.
    PlanId
);
id!(
    /// A pack of the catalogue.
    PackId
);

impl GrantId {
    /// The grant that the billing cycle number `index` makes.
    pub fn plan(index: u32) -> Self {
        GrantId(Arc::from(format!("{PLAN_GRANT_PREFIX}{index}")))
    }

    /// The adjustment grant that takes what a refund can't give back to its own grants. The
    /// number of the change makes it unique and keeps it short, whatever the refund is called.
    pub fn refund(change: u64) -> Self {
        GrantId(Arc::from(format!("{REFUND_GRANT_PREFIX}{change}")))
    }

    /// The adjustment grant that takes what a correction can't give back to its own grants, named
    /// by the sequence of the entry that makes it.
    pub fn correction(sequence: u64) -> Self {
        GrantId(Arc::from(format!("{CORRECTION_GRANT_PREFIX}{sequence}")))
    }

    /// Whether it is the grant that the billing cycle number `index` makes.
    pub fn is_plan_of(&self, index: u32) -> bool {
        let number = self.0.strip_prefix(PLAN_GRANT_PREFIX);
        number.is_some_and(|number| number.parse() == Ok(index))
    }

    /// Whether the billing cycle made it.
    pub fn is_plan(&self) -> bool {
        self.0.starts_with(PLAN_GRANT_PREFIX)
    }

    /// Whether only the system may make a grant of this name.
    pub fn is_system(&self) -> bool {
        self.is_plan()
            || self.0.starts_with(REFUND_GRANT_PREFIX)
            || self.0.starts_with(CORRECTION_GRANT_PREFIX)
    }
}
