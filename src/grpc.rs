//! The gRPC edge: the contract's two services, health and reflection, over TCP and a Unix socket.
//!
//! A call goes from its connection (`server`) past the gate (`gate`) to its service, which parses the request
//! (`convert`), asks the enforcer, and writes the answer out. Messages of the contract appear
//! nowhere but here, and a gRPC status is made in `status` alone. Nothing here decides about
//! credits or keeps anything.
//!
//! # What a call may cost
//!
//! Three quarters of a reserve's processor time are the transport's; `tollgate bench --limit` says
//! how much that is here. What is added to every call (a metric, a span, a check of who calls) has
//! to fit into a few hundred nanoseconds: no lock that all calls share, no label that is looked up
//! where its handle can be kept, no text that is made before somebody wants it, and no timer before
//! the call has something to wait for.

mod admin_service;
mod audit;
mod call;
mod connection;
mod convert;
mod core;
mod deadline;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod gate;
mod health;
mod listen;
mod methods;
mod peer;
mod quota_service;
mod router;
mod security;
mod server;
mod status;

use std::sync::Arc;

pub use self::{
    admin_service::AdminApi,
    convert::Limits,
    core::Core,
    health::Health,
    listen::{BindError, Sockets},
    quota_service::QuotaApi,
    security::{Handshakes, Security},
    server::Server,
    status::DOMAIN,
};
use crate::{
    config::ReserveConfig,
    enforcer::{Enforcer, changes::Clerk},
    telemetry::Observer,
};

/// What is served, and from which parts.
#[derive(Clone)]
pub struct Services {
    /// Who answers.
    pub enforcer: Arc<Enforcer>,
    /// Who sees the calls.
    pub observer: Observer,
    /// The bounds of a hold's time.
    pub reserve: ReserveConfig,
    /// What keeps strangers out.
    pub security: Security,
    /// Whether QuotaService is served.
    pub gateway: bool,
    /// Who carries out what AdminService asks for; `None`: it is not served.
    pub admin: Option<Arc<Clerk>>,
}
