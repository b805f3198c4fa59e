//! TLS on the gRPC ports: the certificate, the roots of the callers' certificates, and what a
//! verified certificate says about its caller.
//!
//! The files are read again when they change; connections that are open keep what they were made
//! with. A pair that can't be used changes nothing. Nothing here accepts a connection, and no
//! key ever reaches a log.

mod names;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};

pub use self::names::{Validity, names, validity};
use crate::{
    access::{Refreshed, is_written},
    config::{ClientCert, TlsFiles},
};

/// The one protocol that is spoken over TLS.
const ALPN: &[u8] = b"h2";
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Why the files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One can't be read.
    #[error("{key} {}: {source}", path.display())]
    Read {
        /// Its key in the configuration.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One is not what it should be.
    #[error("{key} {}: {problem}", path.display())]
    Wrong {
        /// Its key in the configuration.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The server's side of TLS, as the files have it now.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
    /// What was read last, in use or not; absent: something could not be read.
    seen: Mutex<Option<Texts>>,
}

/// What is in use.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    validity: Validity,
}

/// The texts of the files.
#[derive(PartialEq, Eq)]
struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Texts")
    }
}

impl Tls {
    /// Reads the files and takes them into use.
    pub fn open(files: TlsFiles) -> Result<Tls, TlsError> {
        let texts = read(&files)?;
        let loaded = load(&files, &texts)?;
        Ok(Tls {
            current: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(Some(texts)),
            files,
        })
    }

    /// What the next handshake is made with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// From when to when the certificate that is in use is valid.
    pub fn validity(&self) -> Validity {
        self.current.load().validity
    }

    /// Looks at the files, and takes them into use where they changed. What is bad is an error,
    /// once for each such content, and what was in use stays in use.
    pub fn refresh(&self) -> Result<Refreshed, TlsError> {
        let mut seen = self.seen.lock();
        let texts = match read(&self.files) {
            Ok(texts) => texts,
            Err(error) => return seen.take().map_or(Ok(Refreshed::Same), |_| Err(error)),
        };
        if seen.as_ref() == Some(&texts) {
            return Ok(Refreshed::Same);
        }
        if !is_written(&texts, || read(&self.files)) {
            return Ok(Refreshed::Same);
        }
        let loaded = load(&self.files, &texts);
        *seen = Some(texts);
        self.current.store(Arc::new(loaded?));
        Ok(Refreshed::Changed)
    }
}

/// The cryptography that all TLS here is made with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(files: &TlsFiles) -> Result<Texts, TlsError> {
    let client_ca = files.client_ca.as_deref();
    Ok(Texts {
        cert: read_file("tls.cert", &files.cert)?,
        key: read_file("tls.key", &files.key)?,
        client_ca: client_ca
            .map(|path| read_file("tls.client_ca", path))
            .transpose()?,
    })
}

fn read_file(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        key,
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(failed)?;
    match bytes.len() > FILE_BYTES_MAX {
        true => Err(failed(io::Error::other(format!(
            "larger than {FILE_BYTES_MAX} bytes"
        )))),
        false => Ok(bytes),
    }
}

fn load(files: &TlsFiles, texts: &Texts) -> Result<Loaded, TlsError> {
    let of_cert = |problem: String| wrong("tls.cert", &files.cert, problem);
    let of_key = |problem: String| wrong("tls.key", &files.key, problem);
    let chain = certificates(&texts.cert).map_err(of_cert)?;
    let validity = validity(&chain).map_err(of_cert)?;
    let key = PrivateKeyDer::from_pem_slice(&texts.key)
        .map_err(|error| of_key(format!("must be a PEM file with a private key: {error}")))?;
    let provider = provider();
    let verifier = match &texts.client_ca {
        Some(text) => client_verifier(files, text, &provider)?,
        None => Arc::new(NoClientAuth),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| of_cert(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| of_key(format!("{error}; it must be the key of tls.cert")))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Loaded {
        config: Arc::new(config),
        validity,
    })
}

fn client_verifier(
    files: &TlsFiles,
    text: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = files.client_ca.clone().unwrap_or_default();
    let of_ca = |problem: String| wrong("tls.client_ca", &path, problem);
    let roots = roots(text).map_err(of_ca)?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match files.client_cert {
        ClientCert::Required => builder,
        ClientCert::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| of_ca(error.to_string()))
}

fn roots(text: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for root in certificates(text)? {
        roots.add(root).map_err(|error| error.to_string())?;
    }
    Ok(Arc::new(roots))
}

/// Every certificate of a PEM file, at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("must be a PEM file with at least one certificate".to_owned()),
        Err(error) => Err(format!("must be a PEM file: {error}")),
    }
}

fn wrong(key: &'static str, path: &Path, problem: String) -> TlsError {
    TlsError::Wrong {
        key,
        path: path.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests;
