//! How single values become bytes: numbers in as few as they need, seven bits to a byte; texts
//! and lists after their length.

use std::sync::Arc;

use super::Unreadable;

/// Becomes bytes, and is read back from them.
pub(super) trait Bytes: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the value that `put` appended.
    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable>;
}

/// Bytes that are still to be read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable("it is cut off"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// A text after its length.
    pub(super) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let length = usize::try_from(u64::read(self)?).unwrap_or(usize::MAX);
        let split = self.0.split_at_checked(length);
        let (text, rest) = split.ok_or(Unreadable("it is cut off"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Unreadable("a text is not UTF-8"))
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), Unreadable> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Unreadable("it is too long"))
        }
    }
}

pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    (text.len() as u64).put(out);
    out.extend_from_slice(text.as_bytes());
}

impl Bytes for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = *self;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut number = 0;
        for shift in (0..Self::BITS).step_by(7) {
            let byte = from.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable("a number is too large"))
    }
}

impl Bytes for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        u32::try_from(u64::read(from)?).map_err(|_| Unreadable("a number is too large"))
    }
}

/// Small numbers of either sign take few bytes.
impl Bytes for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        (((self << 1) ^ (self >> 63)) as u64).put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let folded = u64::read(from)?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }
}

impl Bytes for i32 {
    fn put(&self, out: &mut Vec<u8>) {
        i64::from(*self).put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        i32::try_from(i64::read(from)?).map_err(|_| Unreadable("a number is too large"))
    }
}

impl Bytes for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable("neither yes nor no")),
        }
    }
}

impl Bytes for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(from.text()?.to_owned())
    }
}

impl Bytes for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Arc::from(from.text()?))
    }
}

impl<T: Bytes> Bytes for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_ref().put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        T::read(from).map(Arc::new)
    }
}

impl<T: Bytes> Bytes for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_ref().put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        T::read(from).map(Box::new)
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(match bool::read(from)? {
            true => Some(T::read(from)?),
            false => None,
        })
    }
}

impl<T: Bytes> Bytes for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for value in self {
            value.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut values = Vec::new();
        // Every value takes a byte at least, so a wrong length soon ends at the end of the bytes.
        for _ in 0..u64::read(from)? {
            values.push(T::read(from)?);
        }
        Ok(values)
    }
}
