//! Bearer tokens: 32 random bytes, of which only the SHA-256 is ever kept. A token is random all
//! over, so a fast hash protects it as well as a slow one would.

use std::fmt;

use rand::TryRngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every token starts with, so that scanners for leaked secrets know it.
pub const TOKEN_PREFIX: &str = "tollgate_";
/// What every line of the access file starts with.
const HASH_PREFIX: &str = "sha256:";
/// How many random bytes a token has.
const TOKEN_BYTES: usize = 32;

/// What a token hashes to.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> TokenHash {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<TokenHash> {
        let digits = text.strip_prefix(HASH_PREFIX)?;
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return None;
        }
        let pairs = digits.as_bytes().chunks_exact(2);
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let [high, low] = pair else { return None };
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(TokenHash(hash))
    }

    /// Whether both are the same, in the same time whatever they are.
    pub fn equals(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit)
        .ok()
        .filter(|_| !byte.is_ascii_uppercase())
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:…")
    }
}

/// A new token, from the operating system's randomness.
pub fn make() -> Result<String, rand::rand_core::OsError> {
    let mut bytes = [0; TOKEN_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes)?;
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    Ok(format!("{TOKEN_PREFIX}{}", digits.collect::<String>()))
}
