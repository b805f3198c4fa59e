//! TLS: who gets a connection, and certificates that change while calls are made.

use std::{
    os::unix::fs::symlink,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tollgate::{
    access::Refreshed,
    config::{AdminConfig, ClientCert, TlsFiles},
    grpc::{Handshakes, Security},
    pb::{self, quota_service_client::QuotaServiceClient},
    tls::Tls,
    workers::{
        Worker,
        refresher::{Refresher, Watched},
    },
};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::{Files, HANDSHAKES_MAX, NAME, handshakes, handshakes_within};
use crate::{
    grpc::world::{World, action, config},
    support::{pki::Authority, servers::until},
};

/// Longer than any step of a test takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn world(handshakes: Handshakes) -> World {
    let security = Security {
        tls: Some(handshakes),
        access: None,
    };
    World::guarded(config(), &AdminConfig::default(), security, (true, true)).await
}

fn endpoint(world: &World, tls: ClientTlsConfig) -> Endpoint {
    let address = world.address.replace("http://", "https://");
    Endpoint::from_shared(address)
        .unwrap()
        .tls_config(tls.domain_name(NAME))
        .unwrap()
}

async fn quote(channel: Channel) -> Result<(), tonic::Status> {
    let request = pb::QuoteRequest {
        action: action("discuss", "claude-haiku-4-5"),
        estimate: Some(pb::Usage::default()),
    };
    QuotaServiceClient::new(channel)
        .quote(request)
        .await
        .map(drop)
}

/// Connects and makes one call: with TLS 1.3 a server's refusal is seen by the first call only.
async fn call(world: &World, tls: ClientTlsConfig) -> Result<(), String> {
    let channel = endpoint(world, tls).connect().await;
    let channel = channel.map_err(|error| format!("{error:?}"))?;
    quote(channel).await.map_err(|status| format!("{status:?}"))
}

fn refused(world: &World, reason: &str) -> u64 {
    let text = world.metrics.render().unwrap();
    let start = format!("tollgate_connections_refused_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn callers_need_a_certificate_of_the_right_authority_that_has_not_ended() {
    let files = Files::new(ClientCert::Required);
    let world = world(handshakes(files.open())).await;
    let (ours, theirs) = (&files.authority, Authority::new("two"));
    let good = ours.caller("spiffe://test/gateway");
    call(&world, ours.client(Some(&good))).await.unwrap();
    assert_eq!(refused(&world, "handshake_failed"), 0);

    let stranger = theirs.caller("spiffe://test/gateway");
    let expired = ours.expired("spiffe://test/gateway");
    let server = ours.server(NAME);
    let cases = [
        ("nothing", None),
        ("another authority's", Some(&stranger)),
        ("an expired one", Some(&expired)),
        ("a server's", Some(&server)),
    ];
    for (index, (what, shows)) in (1..).zip(cases) {
        let answer = call(&world, ours.client(shows)).await;
        assert!(answer.is_err(), "{what} was let in");
        until(what, || refused(&world, "handshake_failed") == index).await;
    }
    call(&world, ours.client(Some(&good))).await.unwrap();
}

#[tokio::test]
async fn a_certificate_may_be_optional() {
    let files = Files::new(ClientCert::Optional);
    let world = world(handshakes(files.open())).await;
    call(&world, files.authority.client(None)).await.unwrap();
    let stranger = Authority::new("two").caller("spiffe://test/gateway");
    let answer = call(&world, files.authority.client(Some(&stranger))).await;
    assert!(answer.is_err(), "a certificate that is shown is looked at");
}

#[tokio::test]
async fn the_server_is_known_by_its_name_and_authority() {
    let files = Files::new(ClientCert::Optional);
    let world = world(handshakes(files.open())).await;
    let wrong_name = endpoint(&world, files.authority.client(None))
        .tls_config(files.authority.client(None).domain_name("elsewhere"))
        .unwrap();
    assert!(wrong_name.connect().await.is_err());
    let wrong_authority = Authority::new("two").client(None);
    assert!(endpoint(&world, wrong_authority).connect().await.is_err());
}

#[tokio::test]
async fn plain_on_a_tls_port_and_tls_on_a_plain_port_are_turned_away() {
    let files = Files::new(ClientCert::Optional);
    let secured = world(handshakes(files.open())).await;
    let plain = Endpoint::from_shared(secured.address.clone()).unwrap();
    // The connection stands before its first byte is refused.
    let answer = match plain.connect().await {
        Ok(channel) => quote(channel).await.map_err(drop),
        Err(_) => Err(()),
    };
    assert!(answer.is_err());
    call(&secured, files.authority.client(None)).await.unwrap();

    let open = World::new().await;
    assert!(
        endpoint(&open, files.authority.client(None))
            .connect()
            .await
            .is_err()
    );
    quote(crate::grpc::world::channel(&open.address).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_http2_is_spoken() {
    let files = Files::new(ClientCert::Optional);
    let world = world(handshakes(files.open())).await;
    let mut roots = rustls::RootCertStore::empty();
    let pem = files.authority.pem.as_bytes();
    use rustls::pki_types::pem::PemObject;
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (protocols, spoken) in [
        (vec![b"h2".to_vec()], true),
        (vec![b"http/1.1".to_vec()], false),
    ] {
        client.alpn_protocols = protocols;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client.clone()));
        let host = world.address.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(host).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let shaken = connector.connect(name, stream).await;
        assert_eq!(shaken.is_ok(), spoken);
    }
}

/// Callers that say nothing take nobody's place, and are cut when their time is up.
#[tokio::test]
async fn silent_handshakes_hold_nobody_up() {
    let files = Files::new(ClientCert::Optional);
    let world = world(handshakes_within(files.open(), 2_000)).await;
    let host = world.address.strip_prefix("http://").unwrap().to_owned();
    let mut silent = Vec::new();
    for part in 0..64_usize {
        let mut stream = TcpStream::connect(&host).await.unwrap();
        // Some say the first bytes of a hello, and no more.
        let start = [22, 3, 1];
        stream.write_all(&start[..part % 3]).await.unwrap();
        silent.push(stream);
    }
    call(&world, files.authority.client(None)).await.unwrap();
    for mut stream in silent {
        let mut byte = [0];
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
    until("64 are counted", || {
        refused(&world, "handshake_timeout") == 64
    })
    .await;
}

/// Handshakes beyond the bound wait until one before them is through, or gone.
#[tokio::test]
async fn handshakes_beyond_the_bound_wait() {
    let files = Files::new(ClientCert::Optional);
    let world = world(handshakes_within(files.open(), 60_000)).await;
    let hello = hello(files.authority.client(None)).await;
    let host = world.address.strip_prefix("http://").unwrap();
    let mut begun = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        // The server has answered, and waits for what follows.
        stream.read_exact(&mut [0]).await.unwrap();
        begun.push(stream);
    }
    let mut late = pin!(call(&world, files.authority.client(None)));
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut late).await;
    assert!(waited.is_err(), "there was a place: {waited:?}");
    begun.pop();
    late.await.unwrap();
}

/// What a client says first.
async fn hello(tls: ClientTlsConfig) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let endpoint = Endpoint::from_shared(address).unwrap();
    let endpoint = endpoint.tls_config(tls.domain_name(NAME)).unwrap();
    let client = tokio::spawn(async move { endpoint.connect().await.map(drop) });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut said = vec![0; 16_384];
    let length = stream.read(&mut said).await.unwrap();
    client.abort();
    said.truncate(length);
    said
}

/// A Secret as Kubernetes mounts it: `..data` is a symlink that is swapped.
#[tokio::test]
async fn certificates_are_swapped_under_traffic_and_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    for (name, authority) in [("v1", &one), ("v2", &two)] {
        let version = folder.path().join(name);
        std::fs::create_dir(&version).unwrap();
        authority.server(NAME).write(&version, "tls");
    }
    let data = folder.path().join("..data");
    symlink("v1", &data).unwrap();
    let files = TlsFiles {
        cert: data.join("tls.crt"),
        key: data.join("tls.key"),
        client_ca: None,
        client_cert: ClientCert::Required,
    };
    let tls = Arc::new(Tls::open(files).unwrap());
    let world = world(handshakes(Arc::clone(&tls))).await;
    let watched = Watched::Tls(Arc::clone(&tls));
    let refresher = Refresher::new(watched, Arc::clone(&world.metrics));

    // It trusts both, keeps one connection, and makes a new one for every other call.
    let mut both = one.client(None);
    both = both.ca_certificate(tonic::transport::Certificate::from_pem(&two.pem));
    let endpoint = endpoint(&world, both);
    let kept = endpoint.connect().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let traffic = tokio::spawn({
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        async move {
            while !stop.load(Ordering::Relaxed) {
                quote(kept.clone()).await.unwrap();
                quote(endpoint.connect().await.unwrap()).await.unwrap();
                calls.fetch_add(2, Ordering::Relaxed);
            }
        }
    });
    let more = async |calls: &AtomicUsize| {
        let before = calls.load(Ordering::Relaxed);
        until("more calls", || calls.load(Ordering::Relaxed) > before + 4).await;
    };
    more(&calls).await;
    call(&world, one.client(None)).await.unwrap();

    // A half that belongs to the other pair changes nothing.
    let next = folder.path().join("..next");
    std::fs::create_dir(folder.path().join("bad")).unwrap();
    for (file, from) in [("tls.crt", "v2"), ("tls.key", "v1")] {
        let from = folder.path().join(from).join(file);
        std::fs::copy(from, folder.path().join("bad").join(file)).unwrap();
    }
    let is_refused = |expected: u8| {
        let text = world.metrics.render().unwrap();
        let line = format!("tollgate_file_refused{{file=\"tls\"}} {expected}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    };
    is_refused(0);
    symlink("bad", &next).unwrap();
    std::fs::rename(&next, &data).unwrap();
    refresher.step().await.unwrap();
    refresher.step().await.unwrap();
    // For as long as it lies there.
    is_refused(1);
    more(&calls).await;
    call(&world, one.client(None)).await.unwrap();

    symlink("v2", &next).unwrap();
    std::fs::rename(&next, &data).unwrap();
    refresher.step().await.unwrap();
    assert_eq!(tls.refresh().unwrap(), Refreshed::Same);
    is_refused(0);
    more(&calls).await;
    call(&world, two.client(None)).await.unwrap();
    assert!(call(&world, one.client(None)).await.is_err());
    stop.store(true, Ordering::Relaxed);
    traffic.await.unwrap();

    let text = world.metrics.render().unwrap();
    for (result, count) in [("loaded", 1), ("refused", 1)] {
        let line =
            format!("tollgate_file_reloads_total{{file=\"tls\",result=\"{result}\"}} {count}");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    for edge in ["before", "after"] {
        let name = format!("tollgate_tls_certificate_not_{edge}_seconds ");
        assert!(!text.contains(&format!("{name}0\n")) && text.contains(&name));
    }
}
