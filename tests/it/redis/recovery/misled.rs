//! A process that has met the server that replaced another one, and is led back to the old one by a
//! name that is not up to date: the old one, which still takes writes, does not count for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};
use tollgate::{
    domain::{
        command::Charge,
        reservation::State,
        usage::{Amount, Outcome, Usage},
    },
    enforcer::{error::EnforceError, request::CommitRequest},
    hot::{
        Certainty, HotFault, HotStore,
        redis::{RedisHot, RedisOptions},
    },
    ledger::Ledger,
};

use super::{
    plane::{Plane, SHARDS, retried},
    replaced::{promote, replica_of},
};
use crate::support::{
    account_id,
    commands::{charge, credits, reservation_id},
    postgres::{self, Database},
    servers::{Kind, Server, now, wait},
};

/// A name that leads to one server or another, as a Service does: where it listens.
async fn name_of(port: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let port = port.load(Ordering::SeqCst);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

fn cut_clients(server: &Server) {
    server.ask::<()>(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("NORMAL"));
}

/// A server that another one has replaced, and a process that has met the new one, by a name. Nobody
/// who reaches the ledger reaches the old one, so that nobody closes it.
struct Misled {
    old: Server,
    new: Server,
    behind: Plane,
    plane: Plane,
    /// What the name leads to.
    port: Arc<AtomicU16>,
    process: Plane,
    /// Of the ledger: it is there for as long as this is.
    _database: Database,
}

impl Misled {
    /// Both servers have `a0`. The hold `r1` was settled on the new one, and `r2` is only there.
    async fn start() -> Self {
        let old = Server::start(Kind::Redis);
        let new = replica_of(&old);
        let database = postgres::shared().ledger().await;
        let ledger: Arc<dyn Ledger> = database.open().await;
        let behind = Plane::start(&old.url(), &ledger);
        behind.create("a0").await;
        behind.charge("a0", "c1", 10).await;
        behind.reserve("a0", "r1", 60).await;
        wait("the hold on the replica", || {
            let found: Vec<String> = new.ask(redis::cmd("KEYS").arg("*:r:a0/r1"));
            !found.is_empty()
        });
        behind.stop_settling();
        promote(&new);
        let plane = Plane::start(&new.url(), &ledger);
        plane.charge("a0", "c2", 100).await;
        plane.commit("a0", "r1", 50, false).await;
        plane.reserve("a0", "r2", 60).await;

        let port = Arc::new(AtomicU16::new(new.port));
        let address = name_of(Arc::clone(&port)).await;
        let options = RedisOptions::new(format!("redis://{address}").parse().expect("an address"));
        let hot = RedisHot::connect(RedisOptions {
            deadline: Duration::from_millis(500),
            shards: SHARDS,
            ..options
        });
        let process = Plane::of(hot.expect("an address"), &ledger, SHARDS);
        Misled {
            old,
            new,
            behind,
            plane,
            port,
            process,
            _database: database,
        }
    }

    async fn balance(&self) -> Result<u64, HotFault> {
        let answer = self.process.hot.balance(&account_id("a0")).await?;
        Ok(answer.expect("loaded").value.available)
    }

    /// Leads the process back to the old one, which it refuses.
    async fn lead_back(&self) {
        self.port.store(self.old.port, Ordering::SeqCst);
        cut_clients(&self.new);
        let refused = retried(async || match self.balance().await {
            Err(fault) if is_refused(&fault) => Ok(fault),
            Err(fault) => Err(fault.to_string()),
            Ok(_) => Err("it is answered by the old master".to_owned()),
        });
        assert_eq!(refused.await.certainty, Certainty::Determinate);
    }
}

fn is_refused(fault: &HotFault) -> bool {
    fault.to_string().contains("has replaced this one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_met_the_new_master_takes_no_step_on_the_old_one() {
    let servers = Misled::start().await;
    let before = retried(async || servers.balance().await).await;
    servers.lead_back().await;
    let command = Charge {
        account_id: account_id("a0"),
        ..charge("lost", 7)
    };
    let answer = servers.process.hot.charge(&command).await;
    let fault = answer.expect_err("nobody would get it");
    assert_eq!(fault.certainty, Certainty::Determinate, "{fault}");
    assert_eq!(servers.behind.used("a0").await, 10, "it was charged");

    // It connects anew, and so finds the new one as soon as the name leads there.
    servers.port.store(servers.new.port, Ordering::SeqCst);
    let after = retried(async || servers.balance().await).await;
    assert_eq!(after, before);
    servers.plane.check("a0", 10 + 100 + 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_met_the_new_master_reads_no_reservation_on_the_old_one() {
    let servers = Misled::start().await;
    retried(async || servers.balance().await).await;
    servers.lead_back().await;
    // The old one has never heard of `r2`: it is not said that its usage cannot be priced.
    let request = CommitRequest {
        account_id: account_id("a0"),
        reservation_id: reservation_id("r2"),
        amount: Amount::Usage(Usage::default()),
        outcome: Outcome::Succeeded,
        keep_open: false,
        next_hold: credits(0),
        action: Ok(None),
    };
    let answer = servers.process.enforcer.commit(request, |_| ()).await;
    let error = answer.expect_err("it does not count");
    let is_unavailable = matches!(&error, EnforceError::Hot(fault) if is_refused(fault));
    assert!(is_unavailable, "{error}");
    assert_eq!(error.certainty(), Certainty::Determinate);
    // And `r1` it takes for open.
    for id in ["r1", "r2"] {
        let id = reservation_id(id);
        let hot = &servers.process.hot;
        let answer = hot.reservation(&account_id("a0"), &id).await;
        let fault = answer.expect_err("it does not count");
        assert!(is_refused(&fault), "{fault}");
    }

    servers.port.store(servers.new.port, Ordering::SeqCst);
    let state = servers.process.state("a0", "r1").await;
    assert_eq!(state, Some(State::Committed));
}

/// How many connections a server has taken, the one that asks included.
fn connections_taken(server: &Server) -> u64 {
    let stats: String = server.ask(redis::cmd("INFO").arg("stats"));
    let mut lines = stats.lines();
    let taken = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    taken.expect("a count").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_is_not_connected_to_with_every_call() {
    /// How long a connection to it is kept.
    const KEPT: Duration = Duration::from_millis(100);
    let servers = Misled::start().await;
    retried(async || servers.balance().await).await;
    servers.lead_back().await;
    let (before, started) = (connections_taken(&servers.old), now());
    for _ in 0..1_000 {
        let fault = servers.balance().await.expect_err("it does not count");
        assert!(is_refused(&fault), "{fault}");
        assert_eq!(fault.certainty, Certainty::Determinate);
    }
    // One each time that the last has been kept for long enough, that which asks, and one besides.
    let most = started.elapsed().as_millis() / KEPT.as_millis() + 2;
    let made = connections_taken(&servers.old) - before;
    assert!(u128::from(made) <= most, "{made} connections, not {most}");
    assert!(!servers.process.hot.breaker_is_open(), "there is one");

    // One that was kept for longer is left within the call that finds out.
    tokio::time::sleep(2 * KEPT).await;
    servers.port.store(servers.new.port, Ordering::SeqCst);
    servers.balance().await.expect("the new one answers");
}
