//! The pod whose certificate and access file are Secrets: who gets in, how it is probed, and a
//! Secret that is renewed.

use std::{collections::BTreeMap, process::Command};

use tollgate::pb::{GetBalanceRequest, quota_service_client::QuotaServiceClient};
use tonic::transport::Endpoint;

use super::{
    incidents::drill::Wait,
    pod::{Container, Node, project},
    render::{What, render_one},
};
use crate::support::pki::{Authority, Pair};

const VALUES: &str = "
embedded: {enabled: true}
tls: {existingSecret: {name: tls}}
access: {existingSecret: {name: access}}
";
const GATEWAY: &str = "spiffe://test/gateway";

/// The files of the Secret, as an issuer makes it.
fn secret(authority: &Authority) -> BTreeMap<String, String> {
    let server = authority.server("localhost");
    let files = [
        ("tls.crt", server.cert),
        ("tls.key", server.key),
        ("ca.crt", authority.pem.clone()),
    ];
    files.map(|(key, text)| (key.to_owned(), text)).into()
}

/// Who this process runs as, and so whatever a test starts.
pub fn own_user() -> String {
    let user = Command::new("id").arg("-u").output().unwrap().stdout;
    String::from_utf8(user).unwrap().trim().to_owned()
}

/// The pod's commands run as its user; the gateway shows a certificate.
fn access() -> String {
    format!(
        "[[principal]]\nname = \"pod\"\nroles = [\"billing\", \"viewer\"]\nuids = [{}]\n\
         [[principal]]\nname = \"gateway\"\nroles = [\"gateway\"]\nspiffe = [\"{GATEWAY}\"]\n",
        own_user()
    )
}

/// One call over TLS, by whoever shows this.
async fn call(pod: &Container, authority: &Authority, shows: Option<&Pair>) -> Result<u64, String> {
    let tls = authority.client(shows).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", pod.port(50051)));
    let endpoint = endpoint.unwrap().tls_config(tls).unwrap();
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let request = GetBalanceRequest {
        account_id: "acme".into(),
    };
    let answer = QuotaServiceClient::new(channel).get_balance(request).await;
    let answer = answer.map_err(|status| status.to_string())?.into_inner();
    Ok(answer.balance.unwrap().available)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_tls_knows_its_callers_and_takes_a_renewed_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::new(folder.path());
    let first = Authority::new("one");
    for (key, text) in secret(&first) {
        node.secret("tls", &key, &text);
    }
    node.secret("access", "access.toml", &access());
    let rendered = render_one(What::Tollgate, VALUES);
    let pod = rendered.pods()[0];
    let container = &pod["containers"][0];
    // A kubelet's gRPC probe speaks no TLS.
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let mut running = node.start("pod", &rendered, pod, container);
    running.wait_for("readinessProbe").await;
    running.exec(&["account", "create", "acme", "--plan", "starter"]);

    let gateway = first.caller(GATEWAY);
    assert_eq!(call(&running, &first, Some(&gateway)).await, Ok(500));
    assert!(call(&running, &first, None).await.is_err());
    let other = first.caller("spiffe://test/other");
    let refused = call(&running, &first, Some(&other)).await.unwrap_err();
    assert!(refused.contains("spiffe://test/other"), "{refused}");

    let second = Authority::new("two");
    project(&running.volume("tls"), &secret(&second));
    let renewed = second.caller(GATEWAY);
    let wait = Wait::for_it();
    while call(&running, &second, Some(&renewed)).await != Ok(500) {
        wait.look_again("the renewed Secret").await;
    }
    assert!(call(&running, &first, Some(&gateway)).await.is_err());
    assert_eq!(running.terminate().code(), Some(0));
}
