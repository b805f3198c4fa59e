//! A commit is priced by what its process remembers of the reservation: nobody is asked, and the
//! script notices where that is not so any more.

use tollgate::{
    domain::{command::Reserve, decision::Refusal},
    hot::HotStore,
};

use super::{open, store};
use crate::support::{
    account_id,
    commands::{action, commit, reserve},
    servers::{Kind, Server},
};

fn reserving(mode: &str) -> Reserve {
    Reserve {
        action: action(mode),
        ..reserve("r1", 60)
    }
}

/// How many scripts the server was asked to run.
fn scripts_run(server: &Server) -> u64 {
    let stats: String = server.ask(redis::cmd("INFO").arg("commandstats"));
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let count = line.and_then(|line| line.split(',').next());
    count.expect("a count").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_is_checked_by_the_script() {
    let server = Server::start(Kind::Redis);
    let url = format!("redis://{}", server.address());
    let (one, other) = (store(&url), store(&url));
    let (acme, made) = (account_id("acme"), reserving("agent"));
    open(&one, &acme).await.expect("no fault");
    one.reserve(&made).await.expect("no fault").expect("ok");

    let before = scripts_run(&server);
    let id = &made.reservation_id;
    let terms = one.terms(&acme, id).await.expect("no fault").expect("ok");
    assert_eq!(terms.value.expect("known").action, made.action);
    assert_eq!(scripts_run(&server), before, "nothing was asked");
    let terms = other.terms(&acme, id).await.expect("no fault").expect("ok");
    assert_eq!(terms.value.expect("known").action, made.action);
    assert!(scripts_run(&server) > before, "another process has to ask");

    // The record is lost, and made anew for something else, by somebody else.
    let keys: Vec<String> = server.ask(redis::cmd("KEYS").arg("*:r:acme/r1"));
    let dropped: u64 = server.ask(redis::cmd("DEL").arg(&keys));
    assert_eq!(dropped, 1);
    let anew = reserving("build");
    other.reserve(&anew).await.expect("no fault").expect("ok");
    let refused = one.commit(&commit("r1", 45)).await.expect("no fault");
    assert_eq!(refused.err(), Some(Refusal::Reprice));
    let terms = one.terms(&acme, id).await.expect("no fault").expect("ok");
    assert_eq!(terms.value.expect("known").action, anew.action);
    let done = one.commit(&commit("r1", 45)).await.expect("no fault");
    assert_eq!(done.expect("settled").value.receipt.credits, 45);
}
