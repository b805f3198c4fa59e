//! The gRPC edge: the contract's two services, health and reflection, over TCP and a Unix socket.
//!
//! A call goes from its connection (`server`) to its service, which parses the request
//! (`convert`), asks the enforcer, and writes the answer out. Messages of the contract appear
//! nowhere but here, and a gRPC status is made in `status` alone. Nothing here decides about
//! credits or keeps anything.

mod admin_service;
mod call;
mod convert;
mod core;
mod deadline;
mod health;
mod listen;
mod methods;
mod quota_service;
mod router;
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
    server::Server,
    status::DOMAIN,
};
use crate::{config::ReserveConfig, enforcer::Enforcer, telemetry::Observer};

/// What is served, and from which parts.
#[derive(Clone)]
pub struct Services {
    /// Who answers.
    pub enforcer: Arc<Enforcer>,
    /// Who sees the calls.
    pub observer: Observer,
    /// The bounds of a hold's time.
    pub reserve: ReserveConfig,
    /// Whether QuotaService is served.
    pub gateway: bool,
    /// Whether AdminService is served.
    pub admin: bool,
}
