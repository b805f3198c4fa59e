//! The scripts without what is around them: the same calls through the same client, whose answers
//! nobody makes anything of. What a server takes beyond them is its own: `tollgate bench` compares.
//!
//! It works on keys of its own, which no store looks at, and removes nothing else.

use super::{
    RedisHot, RedisOptions,
    address::AddressError,
    calls,
    faults::Failure,
    keys::{self, ShardKeys},
    layout::code,
    packed::{Broken, Reader},
    scripts,
    steps::Step,
};
use crate::{
    domain::{
        account::Account,
        command::{Charge, Commit, Release, Reserve},
        ids::AccountId,
    },
    hot::HotFault,
};

/// How many keys one SCAN looks at.
const SCAN_COUNT: usize = 1_000;

/// Scripts that run for their own sake.
#[derive(Debug)]
pub struct BareScripts {
    hot: RedisHot,
    space: String,
}

impl BareScripts {
    /// Prepares connections and makes none. `run` sets its keys apart from those of other runs.
    pub fn connect(options: RedisOptions, run: &str) -> Result<Self, AddressError> {
        let space = format!("tg-bench-{run}");
        let mut hot = RedisHot::connect(options)?;
        hot.shards = (0..hot.options.shards)
            .map(|shard| ShardKeys::in_space(&space, shard))
            .collect();
        Ok(BareScripts { hot, space })
    }

    /// Begins every shard of its own keys; to be called before anything else.
    pub async fn begin(&self) -> Result<(), HotFault> {
        for (shard, keys) in self.hot.shards.iter().enumerate() {
            let given = [keys.meta.to_string()];
            let begun = self
                .hot
                .run("begin", shard as u32, &scripts::BEGIN, &given, &[]);
            begun.await?;
        }
        Ok(())
    }

    /// Puts an account in, as a store does.
    pub async fn load(&self, account: &Account) -> Result<(), HotFault> {
        let loading = self.hot.loading_step(&account.id).await?;
        self.hot.load_account(account, loading).await
    }

    /// The script of a reserve. A refusal is a fault here, as with all of them.
    pub async fn reserve(&self, command: &Reserve) -> Result<(), HotFault> {
        self.run(calls::reserve(command)).await
    }

    /// The script of a commit.
    pub async fn commit(&self, command: &Commit) -> Result<(), HotFault> {
        self.run(calls::commit(command, None)).await
    }

    /// The script of a release.
    pub async fn release(&self, command: &Release) -> Result<(), HotFault> {
        self.run(calls::release(command)).await
    }

    /// The script of a charge.
    pub async fn charge(&self, command: &Charge) -> Result<(), HotFault> {
        self.run(calls::charge(command)).await
    }

    /// The script of a look at the balance.
    pub async fn balance(&self, account_id: &AccountId) -> Result<(), HotFault> {
        self.run(calls::balance(account_id)).await
    }

    async fn run(&self, step: Step<'_>) -> Result<(), HotFault> {
        let shard = self.hot.shard_of(step.account_id);
        let reply = self.hot.run_step(&step, shard, (&[], &[])).await;
        let reply = reply.map_err(|failure| failure.of(step.operation))?;
        match Reader::new(&reply).int() {
            Ok(code::OK) => Ok(()),
            Ok(_) => Err(Failure::unknown("the script refused").of(step.operation)),
            Err(broken) => Err(Failure::unknown(broken).of(step.operation)),
        }
    }

    /// How many keys the server has, besides the one that every connection makes sure of.
    pub async fn keys(&self) -> Result<u64, HotFault> {
        const OPERATION: &str = "size";
        let all: u64 = self.hot.plain(OPERATION, 0, &redis::cmd("DBSIZE")).await?;
        let mut exists = redis::cmd("EXISTS");
        exists.arg(keys::SHARDS);
        let own: u64 = self.hot.plain(OPERATION, 0, &exists).await?;
        Ok(all.saturating_sub(own))
    }

    /// How many records the outboxes of the store have, which is not of this key space.
    pub async fn waiting(&self) -> Result<u64, HotFault> {
        let mut waiting = 0;
        for shard in 0..self.hot.options.shards {
            let mut length = redis::cmd("XLEN");
            length.arg(&*ShardKeys::new(shard).out);
            waiting += self.hot.plain::<u64>("waiting", shard, &length).await?;
        }
        Ok(waiting)
    }

    /// The server's process, as it knows it itself.
    pub async fn process_id(&self) -> Result<u32, HotFault> {
        self.told("server", "process_id:").await
    }

    /// The memory that the server has given out, in bytes.
    pub async fn memory(&self) -> Result<u64, HotFault> {
        self.told("memory", "used_memory:").await
    }

    /// One number of INFO.
    async fn told<T: std::str::FromStr>(&self, section: &str, name: &str) -> Result<T, HotFault> {
        let mut info = redis::cmd("INFO");
        info.arg(section);
        let text: String = self.hot.plain("info", 0, &info).await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| Failure::unknown(Broken("INFO without a number")).of("info"))
    }

    /// Removes the keys of this run.
    pub async fn remove(&self) -> Result<(), HotFault> {
        let mut cursor = 0_u64;
        // Ends when SCAN has come around, which it does however many keys there are.
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{{{}:*", self.space));
            scan.arg("COUNT").arg(SCAN_COUNT);
            let (next, found): (u64, Vec<String>) = self.hot.plain("remove", 0, &scan).await?;
            if !found.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(&found);
                let _: u64 = self.hot.plain("remove", 0, &unlink).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
