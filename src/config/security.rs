//! `[tls]` and `[access]`: how callers are kept apart from everyone else, and who may do what; and
//! the rule that a port which others can reach is not left open by oversight.

use std::{net::SocketAddr, path::PathBuf};

use super::{AdminConfig, Config, GrpcConfig, Role, reader::Reader};

/// The longest handshake that may be configured, in milliseconds.
const HANDSHAKE_MS_MAX: u64 = 60_000;
/// The longest pause between two looks at a file, in milliseconds: one hour.
const RELOAD_MS_MAX: u64 = 3_600_000;

/// `[tls]`: TLS on every TCP port of gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The server's certificate; `None`: no TLS.
    pub files: Option<TlsFiles>,
    /// The longest that a handshake may take, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Handshakes at once, of those who have said hello.
    pub handshakes_max: u32,
    /// How often the files are looked at, in milliseconds.
    pub reload_interval_ms: u64,
}

/// The files of the server's side of TLS, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that it is signed by.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of the callers' certificates; `None`: callers are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a caller may come without a certificate.
    pub client_cert: ClientCert,
}

/// Whether a caller must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCert {
    /// The handshake fails without one.
    Required,
    /// It is looked at where there is one.
    Optional,
}

impl TlsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let cert = reader.optional_path("tls.cert");
        let key = reader.optional_path("tls.key");
        let client_ca = reader.optional_path("tls.client_ca");
        let choices = [
            ("required", ClientCert::Required),
            ("optional", ClientCert::Optional),
        ];
        let client_cert = reader.choice("tls.client_cert", &choices);
        let handshake_timeout_ms = reader.int("tls.handshake_timeout_ms", 1..=HANDSHAKE_MS_MAX);
        let handshakes_max = reader.small_int("tls.handshakes_max", 1..=100_000);
        let reload_interval_ms = reader.int("tls.reload_interval_ms", 10..=RELOAD_MS_MAX);
        let (cert, key, client_ca) = (cert?, key?, client_ca?);
        let files = match (cert, key) {
            (Some(cert), Some(key)) => Some(TlsFiles {
                cert,
                key,
                client_ca,
                client_cert: client_cert?,
            }),
            (None, None) => {
                if client_ca.is_some() {
                    reader.conflict(
                        "tls.client_ca".to_owned(),
                        "needs tls.cert and tls.key: without them there is no TLS",
                    );
                }
                None
            }
            (Some(_), None) | (None, Some(_)) => {
                reader.conflict(
                    "tls.cert and tls.key".to_owned(),
                    "must both be given, or neither",
                );
                None
            }
        };
        Some(TlsConfig {
            files,
            handshake_timeout_ms: handshake_timeout_ms?,
            handshakes_max: handshakes_max?,
            reload_interval_ms: reload_interval_ms?,
        })
    }
}

/// `[access]`: who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// The access file; `None`: whoever can connect may do everything.
    pub file: Option<PathBuf>,
    /// How often it is looked at, in milliseconds.
    pub reload_interval_ms: u64,
}

impl AccessConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let file = reader.optional_path("access.file");
        let reload_interval_ms = reader.int("access.reload_interval_ms", 10..=RELOAD_MS_MAX);
        Some(AccessConfig {
            file: file?,
            reload_interval_ms: reload_interval_ms?,
        })
    }
}

/// What the listeners must be, taken together.
pub(super) fn check_listeners(config: &Config, reader: &mut Reader<'_>) {
    let Config { grpc, admin, .. } = config;
    let mut addresses = vec![
        ("grpc.listen", grpc.listen),
        ("http.listen", config.http.listen),
    ];
    addresses.extend(admin.listen.map(|listen| ("admin.listen", listen)));
    for (index, (key, address)) in addresses.iter().enumerate() {
        let before = &addresses[..index];
        let taken = before.iter().find(|(_, other)| other == address);
        if let Some((other, _)) = taken.filter(|_| address.port() != 0) {
            reader.conflict(
                format!("{other} and {key} = {address}"),
                "must be two addresses",
            );
        }
    }
    if admin.unix_socket.is_some() && admin.unix_socket == grpc.unix_socket {
        reader.conflict(
            "grpc.unix_socket and admin.unix_socket".to_owned(),
            "must be two paths",
        );
    }
    if admin.is_apart() && !config.roles.has(Role::Admin) {
        reader.conflict(
            "admin.listen, admin.unix_socket and roles".to_owned(),
            "must include \"admin\", or both must be empty: nothing would be served there",
        );
    }
    check_insecure(grpc, admin, config.tls.files.is_some(), reader);
}

/// A port that other machines can reach and that has no TLS must be meant: its address is said
/// twice.
fn check_insecure(grpc: &GrpcConfig, admin: &AdminConfig, has_tls: bool, reader: &mut Reader<'_>) {
    let mut served = vec![("grpc.listen", grpc.listen)];
    served.extend(admin.listen.map(|listen| ("admin.listen", listen)));
    for (key, address) in &served {
        let meant = grpc.insecure_listen.contains(address);
        if !has_tls && !is_loopback(address) && !meant {
            reader.conflict(
                format!("{key} = {address}"),
                format_args!(
                    "others can reach it, and there is no TLS: give tls.cert and tls.key, or say \
                     it twice, by grpc.insecure_listen = [\"{address}\"]"
                ),
            );
        }
    }
    for address in &grpc.insecure_listen {
        if !served.iter().any(|(_, served)| served == address) {
            reader.conflict(
                format!("grpc.insecure_listen = {address}"),
                "must repeat grpc.listen or admin.listen, letter by letter",
            );
        }
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
