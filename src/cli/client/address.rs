//! Where a server is, as people write it. Nothing is looked up or opened here.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use http::uri::Authority;

/// What [`Address`] accepts, in words.
const ACCEPTED: &str = "host:port, http://host:port, https://host:port or unix:/path";

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// On a TCP port, in the clear: `host:port`.
    Tcp(String),
    /// On a TCP port, over TLS: `host:port`.
    Tls(String),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The URI that calls are made under. A path is no authority, so a Unix socket is called
    /// `localhost`.
    pub(crate) fn origin(&self) -> String {
        match self {
            Address::Tcp(authority) => format!("http://{authority}"),
            Address::Tls(authority) => format!("https://{authority}"),
            Address::Unix(_) => "http://localhost".to_owned(),
        }
    }

    /// Whether nobody on the way can read what is sent there.
    pub(crate) fn is_private(&self) -> bool {
        let Address::Tcp(authority) = self else {
            return true;
        };
        let parsed = authority.parse::<Authority>();
        parsed.is_ok_and(|parsed| {
            let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
            let address: Option<IpAddr> = host.parse().ok();
            host == "localhost" || address.is_some_and(|address| address.is_loopback())
        })
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is what gRPC's own name syntax calls `unix:/path`.
            let path = match path.strip_prefix("//") {
                Some(absolute) if !absolute.starts_with('/') => "",
                Some(absolute) => absolute,
                None => path,
            };
            if path.is_empty() {
                return Err(format!("no path of a socket: {ACCEPTED}"));
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        let (has_tls, authority) = match text.strip_prefix("https://") {
            Some(authority) => (true, authority),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed: Authority = authority.parse().map_err(|_| ACCEPTED.to_owned())?;
        let plain = !parsed.host().is_empty() && !authority.contains('@');
        if !plain || parsed.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("a host and a port from 1 to 65535: {ACCEPTED}"));
        }
        let authority = authority.to_owned();
        Ok(match has_tls {
            true => Address::Tls(authority),
            false => Address::Tcp(authority),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(authority) => f.write_str(authority),
            Address::Tls(authority) => write!(f, "https://{authority}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, shown, origin) in [
            (
                "127.0.0.1:50051",
                "127.0.0.1:50051",
                "http://127.0.0.1:50051",
            ),
            ("http://gate.svc:80", "gate.svc:80", "http://gate.svc:80"),
            ("http://gate.svc:80/", "gate.svc:80", "http://gate.svc:80"),
            ("[::1]:50051", "[::1]:50051", "http://[::1]:50051"),
            (
                "https://gate.svc:80",
                "https://gate.svc:80",
                "https://gate.svc:80",
            ),
            ("unix:/run/t.sock", "unix:/run/t.sock", "http://localhost"),
            ("unix:///run/t.sock", "unix:/run/t.sock", "http://localhost"),
            ("unix:t.sock", "unix:t.sock", "http://localhost"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(address.origin(), origin, "{text}");
        }
    }

    #[test]
    fn a_secret_is_private_over_tls_and_within_the_machine() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("unix:/x", true),
            ("https://gate.svc:1", true),
            ("gate.svc:1", false),
            ("10.0.0.1:1", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_private(), expected, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_is_accepted() {
        for text in [
            "",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:70000",
            ":50051",
            "me@localhost:50051",
            "http://localhost:50051/path",
            "https://localhost",
            "unix:",
            "unix://run/t.sock",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(ACCEPTED), "{text}: {error}");
        }
    }
}
