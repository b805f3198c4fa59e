//! Where a server is, as people write it. Nothing is looked up or opened here.

use std::{fmt, path::PathBuf, str::FromStr};

use http::uri::Authority;

/// What [`Address`] accepts, in words.
const ACCEPTED: &str = "host:port, http://host:port or unix:/path";

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// On a TCP port: `host:port`.
    Tcp(String),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The URI that calls are made under. A path is no authority, so a Unix socket is called
    /// `localhost`.
    pub(crate) fn origin(&self) -> String {
        match self {
            Address::Tcp(authority) => format!("http://{authority}"),
            Address::Unix(_) => "http://localhost".to_owned(),
        }
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
        if text.starts_with("https://") {
            return Err(format!("TLS is not spoken here: {ACCEPTED}"));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed: Authority = authority.parse().map_err(|_| ACCEPTED.to_owned())?;
        let plain = !parsed.host().is_empty() && !authority.contains('@');
        if !plain || parsed.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("a host and a port from 1 to 65535: {ACCEPTED}"));
        }
        Ok(Address::Tcp(authority.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(authority) => f.write_str(authority),
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
            "https://localhost:50051",
            "unix:",
            "unix://run/t.sock",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(ACCEPTED), "{text}: {error}");
        }
    }
}
