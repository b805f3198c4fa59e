//! A certificate authority for tests, and what it signs.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A server's certificate.
    pub fn server(&self, name: &str) -> Pair {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server's certificate that ends at a day's start: year, month, day.
    pub fn server_until(&self, name: &str, (year, month, day): (i32, u8, u8)) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A caller's certificate with one URI name.
    pub fn caller(&self, uri: &str) -> Pair {
        self.sign(uri_params(uri), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A caller's certificate with one DNS name.
    pub fn caller_named(&self, name: &str) -> Pair {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A caller's certificate that ended long ago.
    pub fn expired(&self, uri: &str) -> Pair {
        let mut params = uri_params(uri);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Pair {
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// How a caller knows servers of this authority, and shows what it has.
    pub fn client(&self, shows: Option<&Pair>) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem));
        match shows {
            Some(pair) => config.identity(Identity::from_pem(&pair.cert, &pair.key)),
            None => config,
        }
    }
}

fn uri_params(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params
}

impl Pair {
    /// Writes both into a folder; answers where.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let cert = folder.join(format!("{name}.crt"));
        let key = folder.join(format!("{name}.key"));
        std::fs::write(&cert, &self.cert).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (cert, key)
    }
}
