//! Who is at the other end of a connection, as far as the connection itself says.

use std::{fmt, net::SocketAddr};

use tokio::net::{TcpStream, UnixStream};

use crate::access::Credentials;

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    origin: Origin,
    /// What it is known by: nothing, for a TCP connection without a certificate.
    pub(super) credentials: Credentials,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Tcp(Option<SocketAddr>),
    Unix(Option<(u32, u32)>),
}

impl Peer {
    /// Of a TCP connection, without TLS so far.
    pub(super) fn of_tcp(stream: &TcpStream) -> Peer {
        Peer {
            origin: Origin::Tcp(stream.peer_addr().ok()),
            credentials: Credentials::default(),
        }
    }

    /// Of a Unix socket's connection.
    pub(super) fn of_unix(stream: &UnixStream) -> Peer {
        let unix = stream.peer_cred().ok();
        let unix = unix.map(|found| (found.uid(), found.gid()));
        Peer {
            origin: Origin::Unix(unix),
            credentials: Credentials {
                unix,
                ..Credentials::default()
            },
        }
    }

    /// With the names of a certificate that was verified.
    pub(super) fn with_names(mut self, (uris, dns): (Vec<String>, Vec<String>)) -> Peer {
        self.credentials.uris = uris;
        self.credentials.dns = dns;
        self
    }

    /// What it has shown of itself, for a refusal that only it reads.
    pub(super) fn shown(&self) -> String {
        let Credentials { uris, dns, .. } = &self.credentials;
        let names: Vec<&str> = uris.iter().chain(dns).map(String::as_str).collect();
        match (self.origin, names.is_empty()) {
            (Origin::Unix(Some((uid, gid))), _) => format!("a process of uid {uid}, gid {gid}"),
            (_, false) => format!("a certificate of {}", names.join(", ")),
            (_, true) => "nothing".to_owned(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Tcp(Some(address)) => write!(f, "tcp {address}"),
            Origin::Tcp(None) => f.write_str("tcp"),
            Origin::Unix(Some((uid, gid))) => write!(f, "unix uid={uid} gid={gid}"),
            Origin::Unix(None) => f.write_str("unix"),
        }
    }
}
