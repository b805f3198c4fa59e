//! Decimals as text. Every receipt shows a dozen of them, and the decimal library takes longer
//! for each than pricing it does.

use rust_decimal::Decimal;
use serde::{Deserializer, Serializer};

/// The longest text: a sign, a point, and a digit more than the largest integer of 96 bits has.
const BYTES_MAX: usize = 32;

/// A decimal as text.
pub struct DecimalText {
    bytes: [u8; BYTES_MAX],
    /// The text goes from here to the end.
    start: usize,
}

impl DecimalText {
    /// With all of its decimals, as the library writes it.
    pub fn new(number: Decimal) -> Self {
        let digits = number.mantissa().unsigned_abs();
        Self::of(digits, number.scale(), number.is_sign_negative())
    }

    /// Without needless zeros, so that equal numbers look equal.
    pub fn shortest(number: Decimal) -> Self {
        let mut digits = number.mantissa().unsigned_abs();
        let mut scale = number.scale();
        // Nearly every number has 64 bits: a fraction of the time that 128 take.
        if let Ok(mut left) = u64::try_from(digits) {
            while scale > 0 && left.is_multiple_of(10) {
                (left, scale) = (left / 10, scale - 1);
            }
            digits = left.into();
        } else {
            while scale > 0 && digits.is_multiple_of(10) {
                (digits, scale) = (digits / 10, scale - 1);
            }
        }
        Self::of(digits, scale, digits != 0 && number.is_sign_negative())
    }

    fn of(digits: u128, scale: u32, is_negative: bool) -> Self {
        let mut text = DecimalText {
            bytes: [0; BYTES_MAX],
            start: BYTES_MAX,
        };
        match u64::try_from(digits) {
            Ok(mut left) => text.put(scale, || {
                let digit = left % 10;
                left /= 10;
                (digit as u8, left == 0)
            }),
            Err(_) => {
                let mut left = digits;
                text.put(scale, || {
                    let digit = left % 10;
                    left /= 10;
                    (digit as u8, left == 0)
                });
            }
        }
        if is_negative {
            text.push(b'-');
        }
        text
    }

    /// Puts all digits, from the last one on, with the point before the decimals.
    fn put(&mut self, scale: u32, mut next: impl FnMut() -> (u8, bool)) {
        let mut place = 0;
        loop {
            if place == scale && scale > 0 {
                self.push(b'.');
            }
            let (digit, is_first) = next();
            self.push(b'0' + digit);
            place += 1;
            if is_first && place > scale {
                return;
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Digits, a point and a sign.
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}

/// For `#[serde(with)]`: a decimal as a text with all of its decimals.
pub(super) fn serialize<S: Serializer>(number: &Decimal, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(DecimalText::new(*number).as_str())
}

/// For `#[serde(with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
    rust_decimal::serde::str::deserialize(from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_is_the_library_s(
            digits in prop_oneof![0..200u128, Just(10u128.pow(20)), 0..=(1u128 << 96) - 1],
            scale in 0..=28u32,
            negative: bool,
        ) {
            let part = |shift: u32| (digits >> shift) as u32;
            let number = Decimal::from_parts(part(0), part(32), part(64), negative, scale);
            let (whole, shortest) = (DecimalText::new(number), DecimalText::shortest(number));
            prop_assert_eq!(whole.as_str(), number.to_string());
            prop_assert_eq!(shortest.as_str(), number.normalize().to_string());
        }
    }
}
