//! A settler killed with -9 before and after every message that it sends from the beginning of its
//! transaction to the end of the trim; and processes that serve and settle, killed under load. Each
//! entry is written once, and the cursor is always where the entries end.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use tollgate::{
    domain::command::Charge,
    hot::{HotStore, redis::RedisHot},
};

use super::{
    clients::Load,
    world::{Charges, Fleet, SHARDS, compare},
};
use crate::{
    process::binary,
    support::{
        Setup, account_id,
        commands::charge,
        postgres::{Database, shared},
        proxy::{Proxy, Way},
        redis::options,
        servers::{Kind, Server, until, wait},
    },
};

/// What a settler's transaction starts with, and nothing else does.
const BEGINS: &[u8] = b"force_generic_plan";
/// How many entries each settler finds.
const ENTRIES: usize = 3;
/// A transaction and its trim take more messages than these.
const MESSAGES_MIN: usize = 10;
/// How many answers show that what is left goes on.
const MEANWHILE: usize = 300;

/// When the settler dies: as it sends a message, or when that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    Before,
    After,
}

/// Counts the messages of a settler from the beginning of its transaction on, and kills it at one.
#[derive(Debug)]
struct Trap {
    at: usize,
    dies: Dies,
    sent: AtomicUsize,
    victim: AtomicU32,
    has_begun: AtomicBool,
    is_sprung: AtomicBool,
}

impl Trap {
    fn new(at: usize, dies: Dies) -> Arc<Self> {
        Arc::new(Trap {
            at,
            dies,
            sent: AtomicUsize::new(0),
            victim: AtomicU32::new(0),
            has_begun: AtomicBool::new(false),
            is_sprung: AtomicBool::new(false),
        })
    }

    /// Whether a message passes.
    fn passes(&self, way: Way, bytes: &[u8]) -> bool {
        if bytes.windows(BEGINS.len()).any(|part| part == BEGINS) {
            self.has_begun.store(true, Ordering::SeqCst);
        }
        if !self.has_begun.load(Ordering::SeqCst) {
            return true;
        }
        let sent = match way {
            Way::Request => self.sent.fetch_add(1, Ordering::SeqCst) + 1,
            Way::Reply => self.sent.load(Ordering::SeqCst),
        };
        let is_due = match self.dies {
            Dies::Before => way == Way::Request && sent >= self.at,
            Dies::After => way == Way::Reply && sent >= self.at,
        };
        if is_due {
            self.spring();
        }
        !is_due
    }

    fn spring(&self) {
        if self.is_sprung.swap(true, Ordering::SeqCst) {
            return;
        }
        wait("the victim's number", || {
            self.victim.load(Ordering::SeqCst) > 0
        });
        let pid = self.victim.load(Ordering::SeqCst).to_string();
        let killed = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(killed.expect("kill runs").success());
    }
}

/// Stores with one account, and nobody who settles.
struct Books {
    redis: Server,
    database: Database,
    store: RedisHot,
    folder: tempfile::TempDir,
    answered: Charges,
}

impl Books {
    async fn new() -> Self {
        let redis = Server::start(Kind::Redis);
        let database = shared().empty().await;
        let setup = Setup {
            shards: SHARDS,
            ..Setup::default()
        };
        let store = RedisHot::connect(options(&redis.url(), setup, None));
        let mut books = Books {
            redis,
            database,
            store: store.expect("an address"),
            folder: tempfile::tempdir().expect("a folder"),
            answered: Charges::new(),
        };
        let fleet = books.fleet(1);
        fleet.create("acme", 1_000_000).await;
        until("an empty outbox", || books.waiting() == 0).await;
        drop(fleet);
        books.charge(1).await;
        books
    }

    fn hot(&self) -> String {
        format!("redis://{}", self.redis.address())
    }

    fn fleet(&self, count: usize) -> Fleet {
        Fleet::start(
            count,
            &self.hot(),
            &self.database.url(),
            &["settle.ack=hot"],
        )
    }

    fn waiting(&self) -> u64 {
        let length = |shard| {
            redis::cmd("XLEN")
                .arg(format!("{{tg:{shard}}}:out"))
                .clone()
        };
        (0..SHARDS)
            .map(|shard| self.redis.ask::<u64>(&length(shard)))
            .sum()
    }

    /// Charges, as any gateway does.
    async fn charge(&mut self, count: usize) {
        for _ in 0..count {
            let id = format!("c{}", self.answered.len());
            let command = Charge {
                account_id: account_id("acme"),
                ..charge(&id, 2)
            };
            let answer = self.store.charge(&command).await.expect("no fault");
            assert!(answer.expect("loaded").value.result.is_ok());
            self.answered.insert(("acme".to_owned(), id), 2);
        }
    }

    /// The cursors have counted exactly what is there.
    async fn check(&self, when: &str) {
        let counted = "SELECT (SELECT sum(position) FROM cursors)::text || '/' ||
                              (SELECT count(*) FROM entries)::text";
        let counted = self.database.texts(counted).await;
        let (cursors, entries) = counted[0].split_once('/').expect("two numbers");
        assert_eq!(cursors, entries, "{when}");
    }

    /// Everything is there once, and adds up.
    async fn finish(self) {
        let fleet = self.fleet(1);
        until("the outbox to drain", || self.waiting() == 0).await;
        compare(&self.database, &self.answered).await;
        self.check("in the end").await;
        fleet.reconcile();
    }

    /// Runs a settler into a trap, or until it has settled everything; answers whether it died and
    /// how many messages it had sent by then.
    async fn settle_into(&self, trap: &Arc<Trap>) -> (bool, usize) {
        let guard = |trap: &Arc<Trap>| {
            let trap = Arc::clone(trap);
            Arc::new(move |way, bytes: &[u8]| trap.passes(way, bytes))
        };
        let redis = Proxy::guarded(self.redis.port, guard(trap)).await;
        let postgres = Proxy::guarded(shared().port(), guard(trap)).await;
        let mut victim = self.spawn(&redis, &postgres);
        trap.victim.store(victim.id(), Ordering::SeqCst);
        let is_over = || trap.is_sprung.load(Ordering::SeqCst) || self.waiting() == 0;
        until("the settler", is_over).await;
        if !trap.is_sprung.load(Ordering::SeqCst) {
            let _ = victim.kill();
        }
        victim.wait().expect("it ends");
        let died = trap.is_sprung.load(Ordering::SeqCst);
        (died, trap.sent.load(Ordering::SeqCst))
    }

    fn spawn(&self, redis: &Proxy, postgres: &Proxy) -> Child {
        let ledger = self.database.url_at(postgres.port);
        let mut command = binary();
        command
            .args([
                "serve",
                "--grpc-listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
            ])
            .args([
                "--hot",
                &format!("redis://{}", redis.address),
                "--ledger",
                &ledger,
            ])
            .arg("--data-dir")
            .arg(self.folder.path());
        for setting in [
            &format!("shards={SHARDS}"),
            "log.filter=off",
            "redis.call_timeout_ms=2000",
            "redis.connect_timeout_ms=4000",
            "postgres.acquire_timeout_ms=5000",
            // Nobody else is heard of while it settles.
            "sweep.interval_ms=60000",
            "renew.interval_ms=60000",
        ] {
            command.args(["--set", setting]);
        }
        let spawned = command.stdout(Stdio::null()).spawn();
        spawned.expect("the binary runs")
    }
}

async fn die_everywhere(dies: Dies) {
    let mut books = Books::new().await;
    books.charge(ENTRIES).await;
    let (died, messages) = books.settle_into(&Trap::new(usize::MAX, dies)).await;
    assert!(!died && messages > MESSAGES_MIN, "{messages} messages");
    // Until it lives: no run has a message of that number. How many there are, the news that the
    // loops wait for decide, too.
    let mut deaths = 0;
    loop {
        books.charge(ENTRIES).await;
        let (died, _) = books.settle_into(&Trap::new(deaths + 1, dies)).await;
        books
            .check(&format!("killed {dies:?} message {}", deaths + 1))
            .await;
        if !died {
            break;
        }
        deaths += 1;
    }
    println!("killed {dies:?} each of {deaths} messages");
    assert!(deaths > MESSAGES_MIN, "{deaths} deaths");
    books.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_settler_killed_before_any_message_writes_each_entry_once() {
    die_everywhere(Dies::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_settler_killed_after_any_message_writes_each_entry_once() {
    die_everywhere(Dies::After).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_three_that_serve_and_settle_one_may_be_killed_under_load() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let hot = format!("redis://{}", redis.address());
    let mut fleet = Fleet::start(3, &hot, &database.url(), &["settle.ack=hot"]);
    let load = Load::start(&fleet).await;
    for _ in 0..2 {
        load.progress(MEANWHILE).await;
        fleet.sidecars.pop().expect("one more").kill();
    }
    load.progress(MEANWHILE).await;
    let tally = load.stop("two of three processes killed").await;
    compare(&database, &tally.settled).await;
    fleet.reconcile();
}
