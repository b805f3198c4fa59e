//! How many bytes of the server's memory everything takes, by its own count.

use tollgate::{
    domain::{
        change::Change,
        command::{Commit, Reserve},
        grant::GrantKind,
        usage::{Action, Amount, Usage},
    },
    hot::{HotStore, redis::RedisOptions},
};

use super::{open, store_with};
use crate::support::{
    account::{grant, granting},
    account_id,
    commands::{commit, reserve},
    redis::NO_DEADLINE,
    servers::{Kind, Server},
};

/// The budgets, in bytes.
const ACCOUNT_MAX: u64 = 400;
const HOLD_MAX: u64 = 300;
const SETTLED_MAX: u64 = 200;

const ACCOUNTS: usize = 200;
const HOLDS: usize = 50;

/// The memory of every key, and how many keys there are.
fn memory(server: &Server) -> u64 {
    let keys: Vec<String> = server.ask(redis::cmd("KEYS").arg("*"));
    let mut connection = server.connection().expect("a connection");
    let mut sum = 0;
    for key in keys {
        let mut usage = redis::cmd("MEMORY");
        usage.arg("USAGE").arg(&key).arg("SAMPLES").arg(0);
        let bytes: u64 = usage.query(&mut connection).expect("a key");
        // The outbox is the settler's to empty.
        if !key.ends_with(":out") {
            sum += bytes;
        }
    }
    sum
}

fn usage(input: u64) -> Amount {
    let mut usage = Usage::default();
    usage.set("input_tokens", input);
    usage.set("output_tokens", 800);
    Amount::Usage(usage)
}

fn hold(n: usize, account: &str) -> Reserve {
    let action = Action {
        mode: "agent".to_owned(),
        model: "claude-sonnet-4-5".to_owned(),
        conversation_id: format!("conv-{n:06}"),
        ..Action::default()
    };
    Reserve {
        account_id: account_id(account),
        action: action.into(),
        amount: usage(12_000),
        rate_card_version: "default-1".into(),
        ..reserve(&format!("res-{n:08}"), 1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_holds_and_answers_stay_within_their_budgets() {
    let server = Server::start(Kind::Redis);
    let url = format!("redis://{}", server.address());
    let store = store_with(RedisOptions {
        deadline: NO_DEADLINE,
        shards: 4,
        ..RedisOptions::new(url.parse().expect("a URL"))
    });
    let now = store.now().await.expect("no fault");
    let empty = memory(&server);
    for n in 0..ACCOUNTS {
        let id = account_id(&format!("acct-{n:06}"));
        open(&store, &id).await.expect("no fault");
        let pack = granting(2, grant("pack-2026-01", GrantKind::Pack, 2_000, now));
        let pack = Change {
            account_id: id,
            ..pack
        };
        store
            .apply(&pack)
            .await
            .expect("no fault")
            .expect("applied");
    }
    let accounts = memory(&server);
    let per_account = (accounts - empty) / ACCOUNTS as u64;

    for n in 0..ACCOUNTS * HOLDS {
        let command = hold(n, &format!("acct-{:06}", n / HOLDS));
        let done = store
            .reserve(&command)
            .await
            .expect("no fault")
            .expect("ok");
        assert!(done.value.result.is_ok(), "{n}");
    }
    let holds = memory(&server);
    let per_hold = (holds - accounts) / (ACCOUNTS * HOLDS) as u64;

    for n in 0..ACCOUNTS * HOLDS {
        let made = commit(&format!("res-{n:08}"), 1);
        let command = Commit {
            account_id: account_id(&format!("acct-{:06}", n / HOLDS)),
            request: tollgate::domain::reservation::CommitRequest {
                amount: usage(11_500),
                ..made.request.clone()
            },
            ..made
        };
        store
            .commit(&command)
            .await
            .expect("no fault")
            .expect("charged");
    }
    let settled = (memory(&server) - accounts) / (ACCOUNTS * HOLDS) as u64;
    let stats: String = server.ask(redis::cmd("INFO").arg("commandstats"));
    println!("{:?}", stats.lines().find(|line| line.contains("evalsha")));
    println!("bytes: {per_account} an account, {per_hold} a hold, {settled} an answer");
    assert!(per_account <= ACCOUNT_MAX, "{per_account} bytes an account");
    assert!(per_hold <= HOLD_MAX, "{per_hold} bytes a hold");
    assert!(settled <= SETTLED_MAX, "{settled} bytes an answer");
}
