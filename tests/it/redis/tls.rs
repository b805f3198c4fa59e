//! TLS to a server, to a cluster and to what Sentinels name, with a certificate that the machine
//! does not know.

use std::sync::Arc;

use tempfile::TempDir;
use tollgate::hot::redis::{RedisHot, RedisOptions};

use super::{
    DEADLINE,
    faults::{fails, works},
    store_with,
};
use crate::support::servers::{Kind, Server, free_port};

/// A certificate in files.
struct Signed {
    pem: String,
    folder: TempDir,
}

impl Signed {
    fn new() -> Signed {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("a file");
        std::fs::write(folder.path().join("key.pem"), key).expect("a file");
        Signed {
            pem: made.cert.pem(),
            folder,
        }
    }

    /// What a server is configured with that speaks TLS on a port.
    fn settings(&self, port: u16) -> Vec<[String; 2]> {
        let file = |name| self.folder.path().join(name).display().to_string();
        let settings = [
            ("tls-port", port.to_string()),
            ("tls-cert-file", file("cert.pem")),
            ("tls-key-file", file("key.pem")),
            ("tls-ca-cert-file", file("cert.pem")),
            ("tls-auth-clients", "no".to_owned()),
        ];
        settings
            .map(|(name, value)| [name.to_owned(), value])
            .into()
    }

    /// A server that speaks TLS on a port, and whatever else it is told to be.
    fn server(&self, port: u16, further: &[&str]) -> Server {
        let settings = self.settings(port).into_iter();
        let mut args: Vec<String> = settings
            .flat_map(|[name, value]| [format!("--{name}"), value])
            .collect();
        args.extend(further.iter().map(|arg| (*arg).to_owned()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Server::start_with(&Kind::Redis.binary(), &args)
    }

    /// A store that trusts it works on a URL, one that does not doesn't.
    async fn check(&self, url: &str) {
        works(&self.store(url, Some(&self.pem))).await;
        let strange = self.store(url, None);
        for _ in 0..3 {
            assert!(
                fails(&strange).await,
                "{url}: nobody knows that certificate"
            );
        }
    }

    fn store(&self, url: &str, tls_ca: Option<&str>) -> Arc<RedisHot> {
        store_with(RedisOptions {
            deadline: DEADLINE,
            shards: 4,
            unload_idle_ms: 0,
            tls_ca: tls_ca.map(|pem| pem.as_bytes().to_vec()),
            ..RedisOptions::new(url.parse().expect("a URL"))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_a_server() {
    let (signed, port) = (Signed::new(), free_port());
    let _server = signed.server(port, &[]);
    signed.check(&format!("rediss://localhost:{port}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_a_cluster() {
    let (signed, port) = (Signed::new(), free_port());
    let server = signed.server(port, &["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
    server.own_all_slots();
    signed
        .check(&format!("rediss+cluster://127.0.0.1:{port}"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_what_sentinels_name() {
    let (signed, port, sentinel_port) = (Signed::new(), free_port(), free_port());
    let _master = signed.server(port, &[]);
    let settings = signed.settings(sentinel_port).into_iter();
    let mut lines: Vec<String> = settings.map(|setting| setting.join(" ")).collect();
    lines.push("tls-replication yes".to_owned());
    let _sentinel = Server::start_sentinel_with(port, "60000", &lines);
    let url = format!("rediss+sentinel://127.0.0.1:{sentinel_port}/main");
    signed.check(&url).await;
}
