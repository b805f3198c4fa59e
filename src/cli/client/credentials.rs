//! What a caller shows of itself, and how it knows the server: certificates, and a bearer token.
//! Files are read when a command connects; what is in them is never shown.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Certificate, ClientTlsConfig, Identity},
};

use super::Address;
use crate::cli::{exit::Exit, output::Failure};

/// The largest file with a token, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Certificates and token of a caller.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CredentialArgs {
    /// The roots of an https:// server's certificate, a PEM file [default: the machine's]
    #[arg(long, global = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// A certificate to show to the server, a PEM file
    #[arg(long, global = true, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, a PEM file
    #[arg(long, global = true, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// The name in the server's certificate, where it is not the endpoint's host
    #[arg(long, global = true, value_name = "NAME")]
    tls_server_name: Option<String>,

    /// A file with a bearer token, as `tollgate token` made it
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The token that a caller shows with each call, if it has one. It is marked as sensitive: `Debug`
/// does not show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Puts the token into a call's headers.
    pub(crate) fn put<T>(&self, request: &mut Request<T>) {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.put(&mut request);
        Ok(request)
    }
}

impl CredentialArgs {
    /// The first of the flags that was given; `None`: there are no credentials.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let token = self.token_file.is_some().then_some("--token-file");
        self.given_for_tls().or(token)
    }

    fn given_for_tls(&self) -> Option<&'static str> {
        let flags = [
            ("--tls-ca", self.tls_ca.is_some()),
            ("--tls-cert", self.tls_cert.is_some()),
            ("--tls-key", self.tls_key.is_some()),
            ("--tls-server-name", self.tls_server_name.is_some()),
        ];
        let given = flags.into_iter().find(|(_, given)| *given);
        given.map(|(flag, _)| flag)
    }

    /// How to speak TLS with the server; `None` where it is not spoken.
    pub(super) fn tls(&self, address: &Address) -> Result<Option<ClientTlsConfig>, Failure> {
        if !matches!(address, Address::Tls(_)) {
            return match self.given_for_tls() {
                Some(flag) => Err(wrong(format!(
                    "{flag}: {address} is called without TLS; write https://HOST:PORT"
                ))),
                None => Ok(None),
            };
        }
        let mut config = match &self.tls_ca {
            Some(path) => {
                let ca = Certificate::from_pem(read("--tls-ca", path)?);
                ClientTlsConfig::new().ca_certificate(ca)
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        config = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("--tls-cert", cert)?, read("--tls-key", key)?);
                config.identity(Identity::from_pem(cert, key))
            }
            (None, None) => config,
            (Some(_), None) | (None, Some(_)) => {
                return Err(wrong("--tls-cert and --tls-key go together".to_owned()));
            }
        };
        Ok(Some(match &self.tls_server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }))
    }

    /// The token of the file; without one, none is shown.
    pub(super) fn bearer(&self, address: &Address) -> Result<Bearer, Failure> {
        let Some(path) = &self.token_file else {
            return Ok(Bearer::default());
        };
        if !address.is_private() {
            return Err(wrong(format!(
                "--token-file: whoever is on the way to {address} could read the token; write \
                 https://HOST:PORT"
            )));
        }
        let bytes = read("--token-file", path)?;
        let text = String::from_utf8(bytes).ok();
        let token = text.as_deref().map(str::trim);
        let token = token.filter(|token| {
            let graphic = token.bytes().all(|byte| byte.is_ascii_graphic());
            graphic && !token.is_empty() && token.len() <= TOKEN_BYTES_MAX
        });
        let value = token.and_then(|token| format!("Bearer {token}").parse().ok());
        let mut value: MetadataValue<Ascii> = value.ok_or_else(|| {
            let path = path.display();
            wrong(format!(
                "--token-file {path}: must have one token and nothing else"
            ))
        })?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| wrong(format!("{flag} {}: {error}", path.display()));
    fs::read(path).map_err(failed)
}

fn wrong(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}
