//! What a certificate says: the names of whom it was given to, and when it ends.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The most names of one certificate that are looked at.
const NAMES_MAX: usize = 64;

/// The URI and the DNS names of a certificate that was verified. One that can't be read has none.
pub fn names(certificate: &CertificateDer<'_>) -> (Vec<String>, Vec<String>) {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return (Vec::new(), Vec::new());
    };
    let uris = certificate.valid_uri_names().take(NAMES_MAX);
    let dns = certificate.valid_dns_names().take(NAMES_MAX);
    (
        uris.map(str::to_owned).collect(),
        dns.map(str::to_owned).collect(),
    )
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before_s: i64,
    /// The last one.
    pub not_after_s: i64,
}

/// The validity of that certificate of a chain which ends first.
pub fn validity(chain: &[CertificateDer<'_>]) -> Result<Validity, String> {
    let mut first = Validity {
        not_before_s: 0,
        not_after_s: i64::MAX,
    };
    for certificate in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| format!("has a certificate that can't be read: {error}"))?;
        let parsed = parsed.validity();
        let not_after_s = parsed.not_after.timestamp();
        if not_after_s < first.not_after_s {
            let not_before_s = parsed.not_before.timestamp();
            first = Validity {
                not_before_s,
                not_after_s,
            };
        }
    }
    Ok(first)
}
