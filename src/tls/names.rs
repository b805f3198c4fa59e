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

/// When the first certificate of a chain that ends does so, in seconds since 1970.
pub fn not_after_s(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let mut first = i64::MAX;
    for certificate in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| format!("has a certificate that can't be read: {error}"))?;
        first = first.min(parsed.validity().not_after.timestamp());
    }
    Ok(first)
}
