//! Answers as JSON: the contract's own field names in its order, 64-bit numbers as numbers,
//! instants in RFC 3339, enums by their short lower-case names. What is absent in the answer is
//! absent here; numbers and texts are there even where they are zero or empty.
//!
//! It goes by the descriptors that the contract was compiled from, so no field can be missed.

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value,
};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq},
};

use super::{
    client::Key,
    exit::Exit,
    output::{Failure, Output},
};
use crate::pb;

/// The full name of a timestamp, the one message that is written as a text.
const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// A message of the contract that is some command's result.
pub(crate) trait Answer: Message {
    /// Its name within the contract's package.
    const NAME: &'static str;
}

macro_rules! answers {
    ($($name:ident),* $(,)?) => {$(
        impl Answer for pb::$name {
            const NAME: &'static str = stringify!($name);
        }
    )*};
}

answers!(
    QuoteResponse,
    ReserveResponse,
    ExtendResponse,
    CommitResponse,
    ReleaseResponse,
    ChargeResponse,
    GetBalanceResponse,
    GetReservationResponse,
    CreateAccountResponse,
    GetAccountResponse,
    ListAccountsResponse,
    SetAccountStatusResponse,
    ChangePlanResponse,
    GrantCreditsResponse,
    VoidGrantResponse,
    RefundResponse,
    ListEntriesResponse,
    GetConversationResponse,
    GetCatalogResponse,
    ListAuditResponse,
);

/// Writes an answer: as a document where JSON was asked for, else as what `text` makes of it.
pub(crate) fn write<A: Answer>(
    output: Output,
    answer: &A,
    text: impl FnOnce(&A) -> String,
) -> Result<(), Failure> {
    match output.is_json() {
        true => output.result(&Document::new(answer)?, |_| String::new()),
        false => output.result(&(), |()| text(answer)),
    }
}

/// As [`write`], of an answer that does not have the id of what was done: with that under `field`, and
/// in the text where the id was made here.
pub(crate) fn write_keyed<A: Answer>(
    output: Output,
    answer: &A,
    (key, field): (&Key, &'static str),
    text: impl FnOnce(&A) -> String,
) -> Result<(), Failure> {
    if !output.is_json() {
        let what = field.trim_end_matches("_id");
        return output.result(&(), |()| key.note(text(answer), what));
    }
    let keyed = Keyed {
        document: Document::new(answer)?,
        field,
        id: key.id(),
    };
    output.result(&keyed, |_| String::new())
}

/// A document with one more field.
struct Keyed<'a> {
    document: Document,
    field: &'static str,
    id: &'a str,
}

impl Serialize for Keyed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields(&self.document.0, &mut map)?;
        map.serialize_entry(self.field, self.id)?;
        map.end()
    }
}

/// A server's answer lacks what it must have.
pub(crate) fn incomplete(what: &str) -> Failure {
    Failure::new(Exit::Internal, format!("the server's answer has no {what}"))
        .hint("is the server of another version than this command?")
}

/// A message, ready to be written as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Document(DynamicMessage);

impl Document {
    /// The document that an answer is.
    pub(crate) fn new<A: Answer>(answer: &A) -> Result<Document, Failure> {
        Self::read(&format!("tollgate.v1.{}", A::NAME), &answer.encode_to_vec())
            .map_err(|why| Failure::new(Exit::Internal, format!("writing JSON: {why}")))
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Document, String> {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).map_err(|error| error.to_string())?;
        let message = pool.get_message_by_name(name);
        let message = message.ok_or_else(|| format!("the contract has no {name}"))?;
        let message = DynamicMessage::decode(message, bytes).map_err(|error| error.to_string())?;
        Ok(Document(message))
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        message(&self.0, serializer)
    }
}

fn message<S: Serializer>(shown: &DynamicMessage, serializer: S) -> Result<S::Ok, S::Error> {
    if shown.descriptor().full_name() == TIMESTAMP {
        return serializer.serialize_str(&instant(shown)?);
    }
    let mut map = serializer.serialize_map(None)?;
    fields(shown, &mut map)?;
    map.end()
}

fn fields<M: SerializeMap>(shown: &DynamicMessage, map: &mut M) -> Result<(), M::Error> {
    for field in shown.descriptor().fields() {
        if field.supports_presence() && !shown.has_field(&field) {
            continue;
        }
        let value = shown.get_field(&field);
        map.serialize_entry(field.name(), &Shown(&value, &field))?;
    }
    Ok(())
}

fn instant<E: Error>(shown: &DynamicMessage) -> Result<String, E> {
    let at: prost_types::Timestamp = shown.transcode_to().map_err(E::custom)?;
    let at = jiff::Timestamp::new(at.seconds, at.nanos).map_err(E::custom)?;
    Ok(at.to_string())
}

/// A value, with the field that says what it means.
struct Shown<'a>(&'a Value, &'a FieldDescriptor);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Shown(value, field) = self;
        match value {
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::I32(number) => serializer.serialize_i32(*number),
            Value::I64(number) => serializer.serialize_i64(*number),
            Value::U32(number) => serializer.serialize_u32(*number),
            Value::U64(number) => serializer.serialize_u64(*number),
            Value::F32(number) => serializer.serialize_f32(*number),
            Value::F64(number) => serializer.serialize_f64(*number),
            Value::String(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::EnumNumber(number) => serializer.serialize_str(&choice(field, *number)),
            Value::Message(inner) => message(inner, serializer),
            Value::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Shown(value, field))?;
                }
                list.end()
            }
            Value::Map(pairs) => {
                let mut pairs: Vec<(&MapKey, &Value)> = pairs.iter().collect();
                pairs.sort_by_key(|(key, _)| *key);
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(&key_text(key), &Shown(value, field))?;
                }
                map.end()
            }
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(yes) => yes.to_string(),
        MapKey::I32(number) => number.to_string(),
        MapKey::I64(number) => number.to_string(),
        MapKey::U32(number) => number.to_string(),
        MapKey::U64(number) => number.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

/// The short name of an enum's value: `ACCOUNT_STATUS_ACTIVE` of `AccountStatus` is `active`.
fn choice(field: &FieldDescriptor, number: i32) -> String {
    let kind = field.kind();
    let named = kind.as_enum().and_then(|choices| {
        let value = choices.get_value(number)?;
        Some(short_name(choices.name(), value.name()))
    });
    named.unwrap_or_else(|| number.to_string())
}

fn short_name(choices: &str, value: &str) -> String {
    let mut prefix = String::new();
    for letter in choices.chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix.push('_');
    value
        .strip_prefix(&prefix)
        .unwrap_or(value)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<A: Answer>(answer: &A) -> String {
        serde_json::to_string(&Document::new(answer).unwrap()).unwrap()
    }

    #[test]
    fn every_answer_is_in_the_contract() {
        let names = [
            pb::QuoteResponse::NAME,
            pb::ReserveResponse::NAME,
            pb::ExtendResponse::NAME,
            pb::CommitResponse::NAME,
            pb::ReleaseResponse::NAME,
            pb::ChargeResponse::NAME,
            pb::GetBalanceResponse::NAME,
            pb::GetReservationResponse::NAME,
            pb::CreateAccountResponse::NAME,
            pb::GetAccountResponse::NAME,
            pb::ListAccountsResponse::NAME,
            pb::SetAccountStatusResponse::NAME,
            pb::ChangePlanResponse::NAME,
            pb::GrantCreditsResponse::NAME,
            pb::VoidGrantResponse::NAME,
            pb::RefundResponse::NAME,
            pb::ListEntriesResponse::NAME,
            pb::GetConversationResponse::NAME,
            pb::GetCatalogResponse::NAME,
            pb::ListAuditResponse::NAME,
        ];
        for name in names {
            assert!(
                Document::read(&format!("tollgate.v1.{name}"), &[]).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn zeros_are_there_and_what_is_absent_is_not() {
        let response = pb::ReleaseResponse {
            reservation: Some(pb::Reservation {
                reservation_id: "r1".to_owned(),
                account_id: "acme".to_owned(),
                state: pb::ReservationState::Released.into(),
                action: Some(pb::Action {
                    mode: "agent".to_owned(),
                    labels: [("b", "2"), ("a", "1")]
                        .map(|(k, v)| (k.into(), v.into()))
                        .into(),
                    ..Default::default()
                }),
                charged: 9_007_199_254_740_991,
                expires_at: Some(prost_types::Timestamp {
                    seconds: 60,
                    nanos: 5_000_000,
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            json(&response),
            r#"{"reservation":{"reservation_id":"r1","account_id":"acme","state":"released","#
                .to_owned()
                + r#""action":{"mode":"agent","model":"","conversation_id":"","#
                + r#""labels":{"a":"1","b":"2"}},"held":0,"charged":9007199254740991,"#
                + r#""expires_at":"1970-01-01T00:01:00.005Z","rate_card_version":""},"#
                + r#""returned":0,"replayed":false}"#
        );
    }

    #[test]
    fn enums_in_lists_and_signed_numbers_are_written_too() {
        let response = pb::ListEntriesResponse {
            entries: vec![pb::Entry {
                kind: pb::EntryKind::PlanChange.into(),
                credits: -18,
                ..Default::default()
            }],
            ..Default::default()
        };
        let text = json(&response);
        assert!(
            text.contains(r#""kind":"plan_change","credits":-18,"#),
            "{text}"
        );
        assert!(text.contains(r#""outcome":"unspecified""#), "{text}");
        assert!(!text.contains("occurred_at"), "{text}");
    }
}
