//! A verification of which any call to the server is lost, or its reply: by a process that lives on
//! and asks again, and by one that dies there, so that another one has to do it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::Mutex;
use tollgate::ledger::{Ledger, sqlite::SqliteLedger};

use super::plane::Plane;
use crate::support::{
    account_id, block_on,
    proxy::{Network, Proxy, Way},
    servers::{Kind, Server},
};

/// How many servers there are at once: most of the time somebody waits.
const SERVERS_MAX: usize = 16;
/// Nearly as long as a call of a verification may take, and as a claim lasts: nobody need ask before.
const CALL_WAIT: Duration = Duration::from_millis(4_500);
const CLAIM_WAIT: Duration = Duration::from_secs(14);
/// Held by who is at work, so that the other tests have their share of the machine.
static WORK: Mutex<()> = Mutex::const_new(());
const ACCOUNT: &str = "a0";

/// What a server came back with.
#[derive(Clone, Copy, Debug)]
enum Left {
    /// An old file: its accounts are put in again, with their holds.
    Some,
    Everything,
    Nothing,
}

/// What becomes of the process that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    AsksAgain,
    Dies,
}

/// A server that came back, and the ledger beside it.
struct Returned {
    server: Server,
    ledger: Arc<dyn Ledger>,
    held: u64,
    _folder: TempDir,
}

impl Returned {
    async fn new(left: Left) -> Returned {
        let _work = WORK.lock().await;
        let mut server = Server::start(Kind::Redis);
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = SqliteLedger::open(&folder.path().join("ledger.db")).await;
        let ledger: Arc<dyn Ledger> = Arc::new(sqlite.expect("a ledger"));
        let plane = Plane::of_one_shard(&server.url(), &ledger);
        plane.work();
        plane.create(ACCOUNT).await;
        plane.reserve(ACCOUNT, "kept", 60).await;
        plane.reserve(ACCOUNT, "settled", 70).await;
        let save = redis::cmd("SAVE");
        server.ask::<()>(&save);
        plane.commit(ACCOUNT, "settled", 65, false).await;
        plane.settled(ACCOUNT).await;
        drop(plane);
        match left {
            Left::Some => {}
            Left::Everything => server.ask::<()>(&save),
            Left::Nothing => {
                server.ask::<()>(&redis::cmd("FLUSHALL"));
                server.ask::<()>(&save);
            }
        }
        server.restart(&Kind::Redis.binary(), &[]);
        Returned {
            server,
            ledger,
            held: if matches!(left, Left::Nothing) { 0 } else { 60 },
            _folder: folder,
        }
    }

    fn plane(&self, url: &str) -> Plane {
        Plane::of_one_shard(url, &self.ledger)
    }

    /// What was answered counts once, and so does what is asked from now on.
    async fn check(&self, plane: &Plane) {
        let _work = WORK.lock().await;
        plane.work();
        assert_eq!(plane.held(ACCOUNT).await, self.held);
        plane.check(ACCOUNT, 65).await;
        plane.commit(ACCOUNT, "settled", 65, false).await;
        plane.commit(ACCOUNT, "kept", 61, false).await;
        plane.check(ACCOUNT, 65 + 61).await;
        assert_eq!(plane.held(ACCOUNT).await, 0);
    }
}

/// How many pieces a verification sends, up to the first answer.
async fn pieces(left: Left) -> usize {
    let returned = Returned::new(left).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let counted = move |way, _: &[u8]| {
        count.fetch_add(usize::from(way == Way::Request), Ordering::SeqCst);
        true
    };
    let proxy = Proxy::guarded(returned.server.port, Arc::new(counted)).await;
    let plane = returned.plane(&format!("redis://{}", proxy.address));
    plane.held(ACCOUNT).await;
    let sent = sent.load(Ordering::SeqCst);
    returned.check(&plane).await;
    sent
}

/// Loses one piece of a verification. Answers whether it was lost before the first answer.
async fn lose(left: Left, spared: usize, network: Network, then: Then) -> bool {
    let returned = Returned::new(left).await;
    let proxy = Proxy::start(returned.server.port).await;
    let first = returned.plane(&format!("redis://{}", proxy.address));
    proxy.set_after(spared, network);
    let is_lost = first.enforcer.touch(&account_id(ACCOUNT)).await.is_err();
    match then {
        Then::AsksAgain => {
            proxy.set(Network::Works);
            tokio::time::sleep(CALL_WAIT).await;
            returned.check(&first).await;
        }
        Then::Dies => {
            drop(proxy);
            drop(first);
            tokio::time::sleep(CLAIM_WAIT).await;
            returned
                .check(&returned.plane(&returned.server.url()))
                .await;
        }
    }
    is_lost
}

/// Loses each piece in turn.
fn lose_each(left: Left) {
    let pieces = block_on(pieces(left));
    let mut cases = Vec::new();
    for spared in 0..pieces {
        for network in [Network::LosesRequests, Network::LosesReplies] {
            cases.extend([Then::AsksAgain, Then::Dies].map(|then| (spared, network, then)));
        }
    }
    let (next, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..SERVERS_MAX {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    println!("{left:?}: {case:?}");
                    let (spared, network, then) = *case;
                    let is_lost = block_on(lose(left, spared, network, then));
                    lost.fetch_add(usize::from(is_lost), Ordering::SeqCst);
                }
            });
        }
    });
    let lost = lost.into_inner();
    println!("{left:?}: {lost} of {} lost, {pieces} pieces", cases.len());
    assert!(lost * 4 > cases.len() * 3, "{lost} of {}", cases.len());
}

#[test]
fn an_old_history_is_put_right_whatever_is_lost() {
    lose_each(Left::Some);
}

#[test]
fn a_whole_history_goes_on_whatever_is_lost() {
    lose_each(Left::Everything);
}

#[test]
fn an_empty_shard_begins_whatever_is_lost() {
    lose_each(Left::Nothing);
}
