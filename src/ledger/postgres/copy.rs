//! Rows in Postgres' binary copy format, which the server takes without parsing any text.
//! <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4>

use std::ops::Deref;

use sqlx::PgConnection;

/// What every copy starts with: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What every copy ends with.
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
/// The length of NULL.
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// Carries out a COPY of rows that come in some parts.
pub(super) async fn copy(
    connection: &mut PgConnection,
    statement: &str,
    parts: impl IntoIterator<Item = impl Deref<Target = [u8]>>,
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    for part in parts {
        copy.send(part).await?;
    }
    copy.finish().await?;
    Ok(())
}

/// Rows of so many columns, which may be sent in parts.
pub(super) struct CopyRows {
    columns: [u8; 2],
    bytes: Vec<u8>,
}

impl CopyRows {
    /// No rows yet.
    pub(super) fn new(columns: i16) -> Self {
        CopyRows {
            columns: columns.to_be_bytes(),
            bytes: HEADER.to_vec(),
        }
    }

    /// Begins a row, whose columns must follow.
    pub(super) fn row(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&self.columns);
        self
    }

    /// A column of type TEXT. Texts are far shorter than the 2 GiB that its length can say.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.value(text.as_bytes())
    }

    /// A column of type TEXT that may be NULL.
    pub(super) fn maybe_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// A column of type BIGINT.
    pub(super) fn int(&mut self, number: i64) -> &mut Self {
        self.value(&number.to_be_bytes())
    }

    /// A column of type BIGINT that may be NULL.
    pub(super) fn maybe_int(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.int(number),
            None => self.null(),
        }
    }

    /// A column of type SMALLINT that is 0 or 1, or NULL.
    pub(super) fn maybe_flag(&mut self, flag: Option<bool>) -> &mut Self {
        match flag {
            Some(flag) => self.value(&i16::from(flag).to_be_bytes()),
            None => self.null(),
        }
    }

    /// A column of type BOOLEAN that is true, or NULL.
    pub(super) fn maybe_true(&mut self, is_true: bool) -> &mut Self {
        match is_true {
            true => self.value(&[1]),
            false => self.null(),
        }
    }

    /// What is to be sent by now, and is not in the next part.
    pub(super) fn part(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The rest of what is to be sent.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&TRAILER);
        self.bytes
    }

    fn value(&mut self, value: &[u8]) -> &mut Self {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&NULL);
        self
    }
}
