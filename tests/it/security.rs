//! Who gets in, and who may do what: real certificates, tokens and sockets against a real server.

mod access;
mod audit;
mod binary;
mod limits;
mod tls;

use std::{fs, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tollgate::{
    access::{AccessFile, token},
    config::{ClientCert, TlsConfig, TlsFiles},
    grpc::{Handshakes, Security},
    tls::Tls,
};

use crate::support::pki::Authority;

/// The name of the test servers' certificates.
const NAME: &str = "localhost";

/// A server's files, and what is made of them.
struct Files {
    folder: TempDir,
    authority: Authority,
    files: TlsFiles,
}

impl Files {
    /// A certificate of a new authority, which callers' certificates must come from too.
    fn new(client_cert: ClientCert) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("one");
        let (cert, key) = authority.server(NAME).write(folder.path(), "server");
        let ca = folder.path().join("ca.crt");
        fs::write(&ca, &authority.pem).unwrap();
        let files = TlsFiles {
            cert,
            key,
            client_ca: Some(ca),
            client_cert,
        };
        Files {
            folder,
            authority,
            files,
        }
    }

    fn open(&self) -> Arc<Tls> {
        Arc::new(Tls::open(self.files.clone()).unwrap())
    }
}

/// TLS as it is configured by default.
/// How many handshakes there may be at once.
const HANDSHAKES_MAX: u32 = 16;

fn handshakes(tls: Arc<Tls>) -> Handshakes {
    handshakes_within(tls, 10_000)
}

fn handshakes_within(tls: Arc<Tls>, handshake_timeout_ms: u64) -> Handshakes {
    let config = TlsConfig {
        files: None,
        handshake_timeout_ms,
        handshakes_max: HANDSHAKES_MAX,
        reload_interval_ms: 5000,
    };
    Handshakes::new(tls, &config)
}

/// An access file in a folder of its own.
struct AccessFolder {
    _folder: TempDir,
    path: PathBuf,
    file: Arc<AccessFile>,
}

impl AccessFolder {
    fn new(text: &str) -> AccessFolder {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.toml");
        fs::write(&path, text).unwrap();
        let file = Arc::new(AccessFile::open(&path).unwrap());
        AccessFolder {
            _folder: folder,
            path,
            file,
        }
    }

    fn security(&self) -> Security {
        Security {
            tls: None,
            access: Some(Arc::clone(&self.file)),
        }
    }
}

/// A principal with one token of its own, and the token.
fn principal(name: &str, roles: &str, rest: &str) -> (String, String) {
    let made = token::make().unwrap();
    let hash = token::TokenHash::of(&made);
    let text = format!(
        "[[principal]]\nname = \"{name}\"\nroles = [{roles}]\ntokens = [\"{hash}\"]\n{rest}\n"
    );
    (text, made)
}
