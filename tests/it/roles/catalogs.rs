//! The catalogue on its way from the control plane's file to a sidecar that has none.

use std::fs;

use tollgate::pb::{QuoteRequest, Usage, commit_request, reserve_request};

use super::*;
use crate::reload::{catalog, metrics, swap};

fn fifty_tool_calls() -> Usage {
    Usage {
        tool_calls: 50,
        ..Usage::default()
    }
}

/// What fifty tool calls cost now, and by which version.
async fn quote(quota: &mut QuotaServiceClient<Channel>) -> (u64, String) {
    let request = QuoteRequest {
        action: Some(Action {
            mode: "discuss".into(),
            ..Action::default()
        }),
        estimate: Some(fifty_tool_calls()),
    };
    let answer = quota.quote(request).await.unwrap();
    let price = answer.into_inner().price.unwrap();
    (price.credits, price.rate_card_version)
}

async fn until_quoted(quota: &mut QuotaServiceClient<Channel>, credits: u64, version: &str) {
    for _ in 0..400 {
        if quote(quota).await == (credits, version.to_owned()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("version {version} was never used");
}

fn refused(sidecar: &Sidecar) -> u64 {
    let name = "tollgate_catalog_reloads_total{result=\"refused\"} ";
    let text = metrics(sidecar);
    let after = text.split(name).nth(1).unwrap();
    after.lines().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_prices_by_what_is_published_and_old_holds_keep_their_rates() {
    let stage = Stage::new().await;
    let path = stage.file("catalog.yaml");
    fs::write(&path, catalog("one", "0.2")).unwrap();
    let gateway = stage.gateway(&[]);
    wait("Redis", || readyz(&gateway).contains("catalog: not ready"));
    let mut quota = gateway.quota().await;
    let early = quota.reserve(reserve("acme", "r0", 1)).await.unwrap_err();
    assert_eq!(early.code(), tonic::Code::Unavailable, "{early:?}");

    let control = stage.control(&["--catalog", path.to_str().unwrap()]);
    wait_ready(&gateway);
    assert!(readyz(&gateway).contains("catalog: ok: version one"));
    create(&control, "acme").await;
    let estimated = |id: &str| ReserveRequest {
        amount: Some(reserve_request::Amount::Estimate(fifty_tool_calls())),
        ..reserve("acme", id, 0)
    };
    assert_eq!(quote(&mut quota).await, (10, "one".to_owned()));
    quota.reserve(estimated("old")).await.unwrap();
    assert_eq!(balance(&mut quota, "acme").await.1, 10);

    swap(&path, &catalog("two", "0.4"));
    until_quoted(&mut quota, 20, "two").await;
    // One that starts now has never seen version one, and finds it when it needs it.
    let late = stage.gateway(&[]);
    wait_ready(&late);
    let mut late_quota = late.quota().await;
    let used = CommitRequest {
        amount: Some(commit_request::Amount::Usage(fifty_tool_calls())),
        ..commit("acme", "old", 0)
    };
    let answer = late_quota.commit(used).await.unwrap();
    let receipt = answer.into_inner().receipt.unwrap();
    let version = receipt.price.unwrap().rate_card_version;
    assert_eq!((receipt.credits, version.as_str()), (10, "one"));

    // A server that lost everything gets it back, and meanwhile the prices stay.
    stage
        .redis
        .ask::<()>(redis::cmd("DEL").arg("tg:catalogs").arg("tg:catalog"));
    assert_eq!(quote(&mut quota).await, (20, "two".to_owned()));
    stage.redis.wait("the publication", |server| {
        let versions: Vec<String> = server.ask(redis::cmd("HKEYS").arg("tg:catalogs"));
        let current: Option<String> = server.ask(redis::cmd("GET").arg("tg:catalog"));
        versions.len() == 2 && current.as_deref() == Some("two")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_and_wrong_changes_no_price() {
    let stage = Stage::new().await;
    let path = stage.file("catalog.yaml");
    fs::write(&path, catalog("one", "0.2")).unwrap();
    let mut control = stage.control(&["--catalog", path.to_str().unwrap()]);
    let gateway = stage.gateway(&[]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    until_quoted(&mut quota, 10, "one").await;
    // Nobody mends it now.
    control.kill();
    let publish = |version: &str, text: Option<String>| {
        if let Some(text) = text {
            let mut set = redis::cmd("HSET");
            set.arg("tg:catalogs").arg(version).arg(text);
            stage.redis.ask::<()>(&set);
        }
        stage
            .redis
            .ask::<()>(redis::cmd("SET").arg("tg:catalog").arg(version));
    };
    for (version, text) in [
        ("none", None),
        ("broken", Some("version: broken\nplans: [".to_owned())),
        ("other", Some(catalog("three", "0.4"))),
    ] {
        let before = refused(&gateway);
        publish(version, text);
        wait("the refusal", || refused(&gateway) > before);
        assert_eq!(quote(&mut quota).await, (10, "one".to_owned()), "{version}");
    }
    let before = refused(&gateway);
    stage.redis.ask::<()>(redis::cmd("DEL").arg("tg:catalog"));
    wait("the loss", || refused(&gateway) > before);
    assert_eq!(quote(&mut quota).await, (10, "one".to_owned()));
    // Said once, not at every look.
    assert_eq!(refused(&gateway), before + 1);
    publish("two", Some(catalog("two", "0.4")));
    until_quoted(&mut quota, 20, "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_control_planes_the_one_with_the_newer_file_counts() {
    let stage = Stage::new().await;
    let (first, second) = (stage.file("first.yaml"), stage.file("second.yaml"));
    fs::write(&first, catalog("one", "0.2")).unwrap();
    fs::write(&second, catalog("two", "0.4")).unwrap();
    let _old = stage.control(&["--catalog", first.to_str().unwrap()]);
    let gateway = stage.gateway(&[]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    until_quoted(&mut quota, 10, "one").await;
    let _new = stage.control(&["--catalog", second.to_str().unwrap()]);
    until_quoted(&mut quota, 20, "two").await;
    // The first one does not take it back; a file that changes under it does.
    swap(&first, &catalog("three", "0.6"));
    until_quoted(&mut quota, 30, "three").await;
}
