//! The gRPC edge, through real sockets: an in-process server over the memory store and a SQLite
//! ledger, and clients that speak HTTP/2 to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on should stop at once, in its helpers too"
)]

mod admin;
mod bad_input;
mod lifecycle;
pub mod odd;
mod quota;
pub mod wire;
pub mod world;
