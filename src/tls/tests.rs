use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

use super::*;

struct Made {
    folder: tempfile::TempDir,
    cert: String,
    key: String,
}

fn made() -> Made {
    let mut params = CertificateParams::new(["gate.test".to_owned()]).unwrap();
    let uri = SanType::URI("spiffe://test/gate".try_into().unwrap());
    params.subject_alt_names.push(uri);
    params.not_after = date_time_ymd(2100, 1, 1);
    let key = KeyPair::generate().unwrap();
    Made {
        folder: tempfile::tempdir().unwrap(),
        cert: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

impl Made {
    fn files(&self) -> TlsFiles {
        TlsFiles {
            cert: self.folder.path().join("tls.crt"),
            key: self.folder.path().join("tls.key"),
            client_ca: None,
            client_cert: ClientCert::Required,
        }
    }

    fn write(&self, cert: &str, key: &str) -> TlsFiles {
        let files = self.files();
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }
}

#[test]
fn a_pair_is_read_and_its_names_and_its_end_with_it() {
    let made = made();
    let tls = Tls::open(made.write(&made.cert, &made.key)).unwrap();
    assert_eq!(tls.validity().not_after_s, 4_102_444_800);
    assert!(tls.validity().not_before_s < 4_102_444_800);
    assert_eq!(tls.config().alpn_protocols, [b"h2".to_vec()]);
    let chain = certificates(made.cert.as_bytes()).unwrap();
    let (uris, dns) = names(&chain[0]);
    assert_eq!(
        (uris, dns),
        (
            vec!["spiffe://test/gate".to_owned()],
            vec!["gate.test".to_owned()]
        )
    );
    assert_eq!(
        names(&CertificateDer::from(vec![1, 2, 3])),
        (Vec::new(), Vec::new())
    );
}

#[test]
fn what_is_wrong_is_told_by_its_key_and_no_key_is_shown() {
    let (made, other) = (made(), made());
    let secret = made.key.lines().nth(1).unwrap().to_owned();
    for (cert, key, expected) in [
        (
            "",
            made.key.as_str(),
            "must be a PEM file with at least one certificate",
        ),
        ("nonsense", &made.key, "tls.cert"),
        (&made.key, &made.key, "tls.cert"),
        (&made.cert, "", "tls.key"),
        (
            &made.cert,
            &made.cert,
            "must be a PEM file with a private key",
        ),
        (&made.cert, &other.key, "it must be the key of tls.cert"),
    ] {
        let error = Tls::open(made.write(cert, key)).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains(&secret), "{error}");
    }
    let mut files = made.write(&made.cert, &made.key);
    files.client_ca = Some(files.key.clone());
    let error = Tls::open(files.clone()).unwrap_err().to_string();
    assert!(error.contains("tls.client_ca"), "{error}");
    files.client_ca = Some("/nowhere".into());
    let error = Tls::open(files).unwrap_err().to_string();
    assert!(
        error.contains("tls.client_ca /nowhere: No such file"),
        "{error}"
    );
}

#[test]
fn a_bad_pair_is_told_once_and_the_old_one_stays() {
    let (made, other) = (made(), made());
    let tls = Tls::open(made.write(&made.cert, &made.key)).unwrap();
    let before = tls.config();
    assert_eq!(tls.refresh().unwrap(), Refreshed::Same);
    made.write(&other.cert, &made.key);
    assert!(tls.refresh().is_err());
    assert_eq!(tls.refresh().unwrap(), Refreshed::Same);
    fs::remove_file(made.files().key).unwrap();
    assert!(tls.refresh().is_err());
    assert_eq!(tls.refresh().unwrap(), Refreshed::Same);
    assert!(Arc::ptr_eq(&before, &tls.config()));
    made.write(&other.cert, &other.key);
    assert_eq!(tls.refresh().unwrap(), Refreshed::Changed);
    assert!(!Arc::ptr_eq(&before, &tls.config()));
}
