//! The pairs of stores that every scenario runs on.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tollgate::{
    app::restore,
    clock::ManualClock,
    hot::{
        HotStore,
        memory::{MemoryHot, MemoryOptions},
        redis::{LedgerAccess, RedisHot, RedisOptions},
    },
    ledger::{
        Ledger,
        access::Access,
        redo::RedoLedger,
        sqlite::{OpenError, SqliteLedger},
    },
};

use super::file::Only;
use crate::support::{
    Setup,
    hosts::{Lease, Shape},
    postgres,
    redis::options,
};

/// How many shards the hot store has: more than one, so that the settler has to gather.
const SHARDS: u32 = 4;
/// How long a settled reservation is remembered.
const REPLAY_WINDOW_MS: u64 = 86_400_000;

/// How often a locked ledger is tried, and how long in between.
const OPENS_MAX: usize = 500;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// A hot store and its ledger.
pub struct Stores {
    pub hot: Arc<dyn HotStore>,
    pub ledger: Arc<dyn Ledger>,
}

/// Something that makes a pair of stores.
#[async_trait]
pub trait Backend: Send + Sync {
    /// How a failed line calls it.
    fn name(&self) -> &str;
    /// Where its hot balances are.
    fn place(&self) -> Only;

    /// What a process does with its stores when it starts: empty ones where the folder is new,
    /// else what it left when it was killed.
    async fn start(&self, folder: &Path, clock: Arc<ManualClock>) -> Result<Stores, String>;
}

/// Memory, and SQLite behind its redo log.
struct Embedded;

#[async_trait]
impl Backend for Embedded {
    fn name(&self) -> &str {
        "memory, sqlite"
    }

    fn place(&self) -> Only {
        Only::Embedded
    }

    async fn start(&self, folder: &Path, clock: Arc<ManualClock>) -> Result<Stores, String> {
        let path = folder.join("ledger.db");
        let sqlite = open(&path).await?;
        let ledger = RedoLedger::open(Arc::new(sqlite), path)
            .await
            .map_err(|error| error.to_string())?;
        with_memory(Arc::new(ledger), clock).await
    }
}

/// Memory, and Postgres.
struct MemoryPostgres;

#[async_trait]
impl Backend for MemoryPostgres {
    fn name(&self) -> &str {
        "memory, postgres"
    }

    fn place(&self) -> Only {
        Only::Embedded
    }

    async fn start(&self, folder: &Path, clock: Arc<ManualClock>) -> Result<Stores, String> {
        let ledger = postgres::of_folder(folder).await.open().await;
        with_memory(ledger, clock).await
    }
}

/// The memory store, restored from a ledger.
async fn with_memory(ledger: Arc<dyn Ledger>, clock: Arc<ManualClock>) -> Result<Stores, String> {
    let fixed = ledger
        .fix_shards(SHARDS)
        .await
        .map_err(|fault| fault.to_string())?;
    assert_eq!(fixed, SHARDS);
    let options = MemoryOptions {
        shards: SHARDS,
        replay_window_ms: REPLAY_WINDOW_MS,
        ..MemoryOptions::default()
    };
    let hot = MemoryHot::new(options, clock.clone());
    let restored = restore::restore(&hot, ledger.as_ref(), clock.as_ref()).await;
    restored.map_err(|error| error.to_string())?;
    Ok(Stores {
        hot: Arc::new(hot),
        ledger,
    })
}

/// A host, the folder of the world that it serves, and the store on it.
struct Served {
    host: Lease,
    folder: PathBuf,
    user: Weak<RedisHot>,
}

/// Redis, which outlives the process, and a ledger.
struct Shared {
    shape: Shape,
    books: Books,
    name: String,
    hosts: Mutex<Vec<Served>>,
}

/// A ledger, by kind.
#[derive(Clone, Copy)]
enum Books {
    Sqlite,
    Postgres,
}

impl Books {
    fn name(self) -> &'static str {
        match self {
            Books::Sqlite => "sqlite",
            Books::Postgres => "postgres",
        }
    }

    async fn open(self, folder: &Path) -> Result<Arc<dyn Ledger>, String> {
        Ok(match self {
            Books::Sqlite => Arc::new(open(&folder.join("ledger.db")).await?),
            Books::Postgres => postgres::of_folder(folder).await.open().await,
        })
    }
}

impl Shared {
    fn new(shape: Shape, books: Books) -> Self {
        Shared {
            shape,
            books,
            name: format!("{}, {}", shape.name(), books.name()),
            hosts: Mutex::default(),
        }
    }

    /// The store of a world: on its own host again, or on an empty one.
    fn store(
        &self,
        folder: &Path,
        ledger: Arc<dyn LedgerAccess>,
        clock: Arc<ManualClock>,
    ) -> Result<Arc<RedisHot>, String> {
        let mut hosts = self.hosts.lock().expect("no panic");
        let own = hosts.iter().position(|served| served.folder == folder);
        let free = hosts
            .iter()
            .position(|served| served.user.strong_count() == 0);
        let place = own.or(free).unwrap_or_else(|| {
            hosts.push(Served {
                host: Lease::take(self.shape),
                folder: PathBuf::new(),
                user: Weak::new(),
            });
            hosts.len() - 1
        });
        let served = &mut hosts[place];
        if served.folder != folder {
            served.host.empty();
            folder.clone_into(&mut served.folder);
        }
        let setup = Setup {
            shards: SHARDS,
            replay_window_ms: REPLAY_WINDOW_MS,
            ..Setup::default()
        };
        let options = RedisOptions {
            ledger: Some(ledger),
            ..options(served.host.url(), setup, Some(clock))
        };
        let store = Arc::new(RedisHot::connect(options).map_err(|error| error.to_string())?);
        served.user = Arc::downgrade(&store);
        Ok(store)
    }
}

#[async_trait]
impl Backend for Shared {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> Only {
        Only::Shared
    }

    async fn start(&self, folder: &Path, clock: Arc<ManualClock>) -> Result<Stores, String> {
        let ledger = self.books.open(folder).await?;
        let fixed = ledger
            .fix_shards(SHARDS)
            .await
            .map_err(|fault| fault.to_string())?;
        assert_eq!(fixed, SHARDS);
        let access = Arc::new(Access(Arc::clone(&ledger)));
        let hot = self.store(folder, access, clock)?;
        Ok(Stores { hot, ledger })
    }
}

/// The ledger of a process that was just killed is free once its last transaction has ended.
async fn open(path: &Path) -> Result<SqliteLedger, String> {
    for _ in 0..OPENS_MAX {
        match SqliteLedger::open(path).await {
            Err(OpenError::Locked { .. }) => tokio::time::sleep(OPEN_PAUSE).await,
            opened => return opened.map_err(|error| error.to_string()),
        }
    }
    Err("the ledger stays locked".to_owned())
}

/// Every pair of stores that the scenarios run on.
pub fn backends() -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(Embedded), Box::new(MemoryPostgres)];
    for shape in Shape::ALL {
        for books in [Books::Sqlite, Books::Postgres] {
            backends.push(Box::new(Shared::new(shape, books)));
        }
    }
    backends
}
