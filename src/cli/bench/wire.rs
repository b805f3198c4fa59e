//! The load generator's own view of the contract: each message with only the fields that it sets
//! or looks at, what many calls share being encoded once. It shares its cores with the server
//! that it measures, so what it does not need it does not build.
//!
//! The numbers of the fields are those of `proto/`; tests hold them to it.

use std::time::Duration;

use prost::{Message, bytes::Bytes};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::cli::{
    client::{Bearer, Remote},
    output::Failure,
};

/// The longest that one call, or connecting, may take before it counts as failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// `ReserveRequest`, and `ChargeRequest`, which is the same without `ttl`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HoldCall {
    #[prost(string, tag = "1")]
    pub(super) account_id: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    /// An `Action`.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) action: Bytes,
    /// A `Usage`.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(super) usage: Option<Bytes>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) credits: Option<u64>,
    /// A `Duration`.
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub(super) ttl: Option<Bytes>,
}

/// `CommitRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CommitCall {
    #[prost(string, tag = "1")]
    pub(super) account_id: String,
    #[prost(string, tag = "2")]
    pub(super) reservation_id: String,
    /// A `Usage`.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) usage: Option<Bytes>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) credits: Option<u64>,
}

/// `ReleaseRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReleaseCall {
    #[prost(string, tag = "1")]
    pub(super) account_id: String,
    #[prost(string, tag = "2")]
    pub(super) reservation_id: String,
}

/// `GetBalanceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BalanceCall {
    #[prost(string, tag = "1")]
    pub(super) account_id: String,
}

/// `ReserveResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HoldAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) reservation: Option<HeldPart>,
}

/// `Reservation`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeldPart {
    #[prost(uint64, tag = "5")]
    pub(super) held: u64,
}

/// `CommitResponse` and `ChargeResponse`. Without a receipt it is a denial.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SettleAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) receipt: Option<ReceiptPart>,
}

/// `Receipt`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReceiptPart {
    #[prost(uint64, tag = "2")]
    pub(super) credits: u64,
    #[prost(uint64, tag = "10")]
    pub(super) sequence: u64,
}

/// An answer that is not looked into.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyAnswer {}

/// Why a call was not answered.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The status.
    pub(super) code: Code,
    /// What the server, or the connection, said.
    pub(super) message: String,
}

impl Fault {
    /// Whether the step that was asked for may have happened all the same.
    pub(super) fn is_uncertain(&self) -> bool {
        match self.code {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => false,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => true,
        }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Fault {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

/// One method of QuotaService on one connection.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    grpc: Grpc<Channel>,
    bearer: Bearer,
}

impl Wire {
    /// Calls over this connection, each with what the caller has to show.
    pub(super) fn new(channel: Channel, bearer: Bearer) -> Self {
        Wire {
            grpc: Grpc::new(channel),
            bearer,
        }
    }

    /// Connects, and calls over that.
    pub(super) async fn connect(remote: &Remote) -> Result<Self, Failure> {
        Ok(Wire::new(connect(remote).await?, remote.bearer().clone()))
    }

    /// One call. `method` is the name of an RPC of QuotaService with its path.
    pub(super) async fn call<Q, A>(&mut self, method: &'static str, message: Q) -> Result<A, Fault>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| Fault {
            code: Code::Unavailable,
            message: error.to_string(),
        })?;
        let path = http::uri::PathAndQuery::from_static(method);
        let mut request = Request::new(message);
        self.bearer.put(&mut request);
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(request, path, codec).await?;
        Ok(answer.into_inner())
    }
}

/// Connects, from the runtime that will make the calls.
pub(super) async fn connect(remote: &Remote) -> Result<Channel, Failure> {
    remote.connect(CALL_TIMEOUT).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;

    #[test]
    fn an_answer_of_the_contract_is_read() {
        let reservation = pb::Reservation {
            held: 18,
            charged: 3,
            ..pb::Reservation::default()
        };
        let sent = pb::ReserveResponse {
            result: Some(pb::reserve_response::Result::Reservation(reservation)),
            balance: Some(pb::Balance {
                available: 5,
                ..pb::Balance::default()
            }),
            ..pb::ReserveResponse::default()
        };
        let read = HoldAnswer::decode(sent.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.reservation.map(|part| part.held), Some(18));

        let denial = pb::Denial {
            required: 9,
            ..pb::Denial::default()
        };
        let sent = pb::ReserveResponse {
            result: Some(pb::reserve_response::Result::Denial(denial)),
            ..pb::ReserveResponse::default()
        };
        let read = HoldAnswer::decode(sent.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.reservation, None);

        let receipt = pb::Receipt {
            credits: 7,
            sequence: 12,
            returned: 4,
            ..pb::Receipt::default()
        };
        let sent = pb::CommitResponse {
            receipt: Some(receipt.clone()),
            reservation: Some(pb::Reservation::default()),
            ..pb::CommitResponse::default()
        };
        let read = SettleAnswer::decode(sent.encode_to_vec().as_slice()).unwrap();
        assert_eq!(
            read.receipt,
            Some(ReceiptPart {
                credits: 7,
                sequence: 12
            })
        );

        let sent = pb::ChargeResponse {
            result: Some(pb::charge_response::Result::Receipt(receipt)),
            ..pb::ChargeResponse::default()
        };
        let read = SettleAnswer::decode(sent.encode_to_vec().as_slice()).unwrap();
        assert_eq!(
            read.receipt,
            Some(ReceiptPart {
                credits: 7,
                sequence: 12
            })
        );
    }
}
