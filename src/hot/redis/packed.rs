//! Values as Redis keeps them: MessagePack, which the server's Lua reads and writes natively, of
//! which only integers, texts, booleans and arrays are used. An absent value is `false`.

use std::sync::Arc;

/// What was read is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is not what this version writes: {0}")]
pub(super) struct Broken(pub &'static str);

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Writer(Vec::with_capacity(96))
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// The head of an array; its values follow.
    pub fn array(&mut self, length: usize) -> &mut Self {
        match u16::try_from(length) {
            Ok(short) if short < 16 => self.0.push(0x90 | short as u8),
            Ok(short) => self.head(0xdc, &short.to_be_bytes()),
            Err(_) => self.head(0xdd, &(length as u32).to_be_bytes()),
        }
        self
    }

    pub fn int(&mut self, number: i64) -> &mut Self {
        match u64::try_from(number) {
            Ok(number) => self.uint(number),
            Err(_) if number >= -32 => {
                self.0.push(number as u8);
                self
            }
            Err(_) => {
                self.head(0xd3, &number.to_be_bytes());
                self
            }
        }
    }

    pub fn uint(&mut self, number: u64) -> &mut Self {
        if number < 128 {
            self.0.push(number as u8);
        } else if let Ok(number) = u8::try_from(number) {
            self.head(0xcc, &[number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.head(0xcd, &number.to_be_bytes());
        } else if let Ok(number) = u32::try_from(number) {
            self.head(0xce, &number.to_be_bytes());
        } else {
            self.head(0xcf, &number.to_be_bytes());
        }
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(if value { 0xc3 } else { 0xc2 });
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        let length = text.len();
        if length < 32 {
            self.0.push(0xa0 | length as u8);
        } else if let Ok(length) = u8::try_from(length) {
            self.head(0xd9, &[length]);
        } else if let Ok(length) = u16::try_from(length) {
            self.head(0xda, &length.to_be_bytes());
        } else {
            self.head(0xdb, &(length as u32).to_be_bytes());
        }
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub fn maybe_uint(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.uint(number),
            None => self.bool(false),
        }
    }

    pub fn maybe_int(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.int(number),
            None => self.bool(false),
        }
    }

    fn head(&mut self, kind: u8, bytes: &[u8]) {
        self.0.push(kind);
        self.0.extend_from_slice(bytes);
    }
}

/// Reads values one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// Refuses whatever is left over.
    pub fn finish(self) -> Result<(), Broken> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Broken("more than expected"))
        }
    }

    /// What was not read.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn array(&mut self) -> Result<usize, Broken> {
        match self.byte()? {
            kind @ 0x90..=0x9f => Ok(usize::from(kind & 0x0f)),
            0xdc => Ok(usize::from(u16::from_be_bytes(self.bytes()?))),
            0xdd => Ok(u32::from_be_bytes(self.bytes()?) as usize),
            _ => Err(Broken("no array")),
        }
    }

    /// An array of a known length.
    pub fn array_of(&mut self, length: usize) -> Result<(), Broken> {
        if self.array()? == length {
            Ok(())
        } else {
            Err(Broken("an array of another length"))
        }
    }

    pub fn int(&mut self) -> Result<i64, Broken> {
        let number = match self.byte()? {
            kind @ 0x00..=0x7f => i64::from(kind),
            kind @ 0xe0..=0xff => i64::from(kind as i8),
            0xcc => i64::from(u8::from_be_bytes(self.bytes()?)),
            0xcd => i64::from(u16::from_be_bytes(self.bytes()?)),
            0xce => i64::from(u32::from_be_bytes(self.bytes()?)),
            0xcf => {
                let number = u64::from_be_bytes(self.bytes()?);
                i64::try_from(number).map_err(|_| Broken("a number out of range"))?
            }
            0xd0 => i64::from(i8::from_be_bytes(self.bytes()?)),
            0xd1 => i64::from(i16::from_be_bytes(self.bytes()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.bytes()?)),
            0xd3 => i64::from_be_bytes(self.bytes()?),
            _ => return Err(Broken("no whole number")),
        };
        Ok(number)
    }

    pub fn uint(&mut self) -> Result<u64, Broken> {
        // A quantity of an opaque request may be beyond what an `i64` holds.
        if let [0xcf, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from_be_bytes(self.bytes()?));
        }
        u64::try_from(self.int()?).map_err(|_| Broken("a negative number"))
    }

    pub fn u32(&mut self) -> Result<u32, Broken> {
        u32::try_from(self.uint()?).map_err(|_| Broken("a number out of range"))
    }

    pub fn bool(&mut self) -> Result<bool, Broken> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(Broken("no boolean")),
        }
    }

    pub fn blob(&mut self) -> Result<&'a [u8], Broken> {
        let length = match self.byte()? {
            kind @ 0xa0..=0xbf => usize::from(kind & 0x1f),
            0xd9 => usize::from(u8::from_be_bytes(self.bytes()?)),
            0xda => usize::from(u16::from_be_bytes(self.bytes()?)),
            0xdb => u32::from_be_bytes(self.bytes()?) as usize,
            _ => return Err(Broken("no text")),
        };
        let (blob, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Broken("it is cut off"))?;
        self.0 = rest;
        Ok(blob)
    }

    pub fn text(&mut self) -> Result<&'a str, Broken> {
        std::str::from_utf8(self.blob()?).map_err(|_| Broken("a text that is not UTF-8"))
    }

    pub fn shared(&mut self) -> Result<Arc<str>, Broken> {
        self.text().map(Arc::from)
    }

    /// A value, or `None` where `false` stands.
    pub fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Broken>,
    ) -> Result<Option<T>, Broken> {
        if let [0xc2, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Whether the next value is a text.
    pub fn is_text(&self) -> bool {
        matches!(self.0.first(), Some(0xa0..=0xbf | 0xd9..=0xdb))
    }

    /// Whether the next value is an array.
    pub fn is_array(&self) -> bool {
        matches!(self.0.first(), Some(0x90..=0x9f | 0xdc | 0xdd))
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        let (first, rest) = self.0.split_first().ok_or(Broken("it is cut off"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (bytes, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Broken("it is cut off"))?;
        self.0 = rest;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let numbers = [
            0,
            1,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            u64::from(u32::MAX),
            1 << 32,
            (1 << 53) - 1,
            u64::MAX,
        ];
        let signed = [
            -1,
            -32,
            -33,
            -128,
            -129,
            i64::from(i32::MIN),
            i64::MIN,
            i64::MAX,
        ];
        let texts = [0, 1, 31, 32, 255, 256, 65_535, 65_536].map(|length| "x".repeat(length));
        let mut written = Writer::new();
        written.array(2).array(16).array(70_000);
        numbers.iter().for_each(|number| {
            written.uint(*number);
        });
        signed.iter().for_each(|number| {
            written.int(*number);
        });
        texts.iter().for_each(|text| {
            written.text(text);
        });
        written.bool(true).maybe_uint(None).maybe_int(Some(-5));
        let bytes = written.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.array(), Ok(2));
        assert_eq!(reader.array(), Ok(16));
        assert_eq!(reader.array(), Ok(70_000));
        for number in numbers {
            assert_eq!(reader.uint(), Ok(number));
        }
        for number in signed {
            assert_eq!(reader.int(), Ok(number));
        }
        for text in &texts {
            assert_eq!(reader.text(), Ok(text.as_str()));
        }
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.maybe(Reader::uint), Ok(None));
        assert_eq!(reader.maybe(Reader::int), Ok(Some(-5)));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn nothing_that_is_cut_off_is_read() {
        for bytes in [
            &[][..],
            &[0xcd, 1],
            &[0xa3, b'a'],
            &[0xdb, 0, 0, 0, 9],
            &[0xc1],
        ] {
            let mut reader = Reader::new(bytes);
            assert!(reader.int().is_err());
            assert!(Reader::new(bytes).text().is_err());
        }
    }
}
