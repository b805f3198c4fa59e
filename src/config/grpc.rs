//! `[grpc]` and `[admin]`: where calls come in, and how much of everything one caller may have.

use std::{net::SocketAddr, path::PathBuf};

use super::reader::Reader;

/// The most connections that may be configured.
const CONNECTIONS_MAX: u32 = 1_000_000;
/// The longest life of a connection that may be configured, in milliseconds: 30 days.
const AGE_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// The longest grace that may be configured, in milliseconds: one hour.
const GRACE_MS_MAX: u64 = 3_600_000;
/// The most users or groups of a Unix socket that may be named.
const PEERS_MAX: usize = 64;
/// The most addresses that may be repeated.
const ADDRESSES_MAX: usize = 8;

/// `[grpc]`: the gRPC services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcConfig {
    /// The TCP address. Port 0: any free one.
    pub listen: SocketAddr,
    /// Addresses other than loopback that may be served without TLS.
    pub insecure_listen: Vec<SocketAddr>,
    /// A Unix socket besides TCP.
    pub unix_socket: Option<PathBuf>,
    /// The permissions of the Unix sockets' files.
    pub unix_socket_mode: u32,
    /// Who may connect to a Unix socket, besides what the mode says.
    pub unix_peers: UnixPeers,
    /// The longest that one call may take, in milliseconds.
    pub request_timeout_ms: u64,
    /// The largest request that is read, in bytes.
    pub max_message_bytes: u32,
    /// The largest headers of a request that are read, in bytes.
    pub max_header_bytes: u32,
    /// Calls in progress at once.
    pub calls_max: u32,
    /// Calls in progress at once on one connection.
    pub calls_per_connection_max: u32,
    /// Connections to one listener at once.
    pub connections_max: u32,
    /// After how long a connection is asked to end, in milliseconds; zero: never.
    pub connection_age_max_ms: u64,
    /// How long after that its calls may take before they are cut, in milliseconds.
    pub connection_age_grace_ms: u64,
}

/// Which processes may connect to a Unix socket. Both lists empty: all that the file's mode lets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixPeers {
    /// Users, by number.
    pub uids: Vec<u32>,
    /// Groups, by number: the process's own one.
    pub gids: Vec<u32>,
}

impl UnixPeers {
    /// Whether a process of this user and group may connect.
    pub fn admit(&self, uid: u32, gid: u32) -> bool {
        let anyone = self.uids.is_empty() && self.gids.is_empty();
        anyone || self.uids.contains(&uid) || self.gids.contains(&gid)
    }
}

impl GrpcConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = reader.address("grpc.listen");
        let insecure_listen = reader.addresses("grpc.insecure_listen", ADDRESSES_MAX);
        let unix_socket = reader.socket_path("grpc.unix_socket");
        let unix_socket_mode = reader.mode("grpc.unix_socket_mode");
        let uids = reader.small_ints("grpc.unix_socket_uids", PEERS_MAX);
        let gids = reader.small_ints("grpc.unix_socket_gids", PEERS_MAX);
        let request_timeout_ms = reader.int("grpc.request_timeout_ms", 1..=60_000);
        let max_message_bytes = reader.small_int("grpc.max_message_bytes", 1024..=16 * 1024 * 1024);
        let max_header_bytes = reader.small_int("grpc.max_header_bytes", 2048..=1024 * 1024);
        let calls_max = reader.small_int("grpc.calls_max", 1..=1_000_000);
        let calls_per_connection_max =
            reader.small_int("grpc.calls_per_connection_max", 1..=1_000_000);
        let connections_max = reader.small_int("grpc.connections_max", 1..=CONNECTIONS_MAX);
        let connection_age_max_ms = reader.int("grpc.connection_age_max_ms", 0..=AGE_MS_MAX);
        let connection_age_grace_ms = reader.int("grpc.connection_age_grace_ms", 0..=GRACE_MS_MAX);
        Some(GrpcConfig {
            listen: listen?,
            insecure_listen: insecure_listen?,
            unix_socket: unix_socket?,
            unix_socket_mode: unix_socket_mode?,
            unix_peers: UnixPeers {
                uids: uids?,
                gids: gids?,
            },
            request_timeout_ms: request_timeout_ms?,
            max_message_bytes: max_message_bytes?,
            max_header_bytes: max_header_bytes?,
            calls_max: calls_max?,
            calls_per_connection_max: calls_per_connection_max?,
            connections_max: connections_max?,
            connection_age_max_ms: connection_age_max_ms?,
            connection_age_grace_ms: connection_age_grace_ms?,
        })
    }
}

/// `[admin]`: where AdminService is served. Nowhere named: where the rest is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// A TCP address of its own.
    pub listen: Option<SocketAddr>,
    /// A Unix socket of its own.
    pub unix_socket: Option<PathBuf>,
}

impl AdminConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = reader.optional_address("admin.listen");
        let unix_socket = reader.socket_path("admin.unix_socket");
        Some(AdminConfig {
            listen: listen?,
            unix_socket: unix_socket?,
        })
    }

    /// Whether AdminService is served on listeners of its own, and nowhere else.
    pub fn is_apart(&self) -> bool {
        self.listen.is_some() || self.unix_socket.is_some()
    }
}
