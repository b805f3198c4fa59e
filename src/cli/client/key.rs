//! Idempotency keys: the caller's own, or one that is made here, so that a command whose answer
//! got lost can be sent again and counts once.

use tonic::{Response, Status};

use super::refusal;
use crate::cli::{exit::Exit, output::Failure};

/// The idempotency key of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The option that takes it.
    flag: &'static str,
    id: String,
    /// Whether it was made here, and is not known to the caller yet.
    is_new: bool,
}

impl Key {
    /// The id that was given, or a random one that starts with `prefix`.
    pub(crate) fn given_or_new(given: Option<String>, flag: &'static str, prefix: &str) -> Self {
        match given {
            Some(id) => Key {
                flag,
                id,
                is_new: false,
            },
            None => Key {
                flag,
                id: format!("{prefix}-{:032x}", rand::random::<u128>()),
                is_new: true,
            },
        }
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The answer to the call that carried the key. Where it is not known what became of the
    /// call, the failure says how to send it again.
    pub(crate) fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Failure> {
        let failure = match answer {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => refusal::failure(&status),
        };
        match failure.exit {
            Exit::Unavailable | Exit::Internal => Err(failure.hint(self.again())),
            Exit::Ok
            | Exit::Failed
            | Exit::Denied
            | Exit::NotFound
            | Exit::Conflict
            | Exit::Usage
            | Exit::BadRequest
            | Exit::CantCreate
            | Exit::NotAllowed => Err(failure),
        }
    }

    /// The text of an answer; where the id was made here and the answer does not have it, with
    /// a line that says it.
    pub(crate) fn note(&self, text: String, what: &str) -> String {
        match self.is_new {
            true => format!("{text}\n{what} {}", self.id),
            false => text,
        }
    }

    fn again(&self) -> String {
        let Key { flag, id, is_new } = self;
        match is_new {
            true => format!("send it again with {flag} {id}: however often, it counts once"),
            false => format!("send it again with the same {flag}: however often, it counts once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ReservationId;

    #[test]
    fn new_ids_are_valid_and_differ() {
        let one = Key::given_or_new(None, "--id", "rsv");
        let other = Key::given_or_new(None, "--id", "rsv");
        assert!(ReservationId::new(one.id()).is_ok(), "{}", one.id());
        assert_ne!(one, other);
        assert_eq!(
            Key::given_or_new(Some("r1".to_owned()), "--id", "rsv").id(),
            "r1"
        );
    }

    #[test]
    fn a_lost_answer_names_the_id_to_send_again() {
        let key = Key::given_or_new(None, "--id", "rsv");
        let lost: Result<Response<()>, Status> = Err(Status::deadline_exceeded("slow"));
        let failure = key.answer(lost).unwrap_err();
        let wanted = format!(
            "send it again with --id {}: however often, it counts once",
            key.id()
        );
        assert!(failure.hints.contains(&wanted), "{:?}", failure.hints);

        let refused: Result<Response<()>, Status> = Err(Status::invalid_argument("no"));
        assert_eq!(key.answer(refused).unwrap_err().hints, Vec::<String>::new());
    }
}
