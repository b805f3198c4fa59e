//! One world: the stores, the enforcer, the workers, and the hand on the clock. A request runs as
//! a task of its own while the settler steps whenever somebody waits for the ledger, as embedded
//! (`settle.ack = ledger`); no other worker does anything until a line says so.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::sync::Notify;
use tollgate::{
    catalogs::{self, Catalogs},
    clock::{Clock, ManualClock},
    enforcer::{Ack, Enforcer, EnforcerOptions, acks::Acks, changes::Clerk, source::LedgerSource},
    ledger::EntryFilter,
    telemetry::Metrics,
    workers::{
        Progress, Worker,
        applier::Applier,
        reloader::{self, Reloader},
        renewer::Renewer,
        settler::Settler,
        shares::Shares,
    },
};

use super::{
    actions::{Caller, Owners},
    answer::Answer,
    stores::{Backend, Stores},
    words::{Words, instant, millis},
};

/// How long a hold stands where a line does not say.
const DEFAULT_TTL_MS: u64 = 300_000;
/// How long one line may take before it counts as hung.
const LINE_TIMEOUT: Duration = Duration::from_secs(30);
/// The most accounts, holds or entries that one step of a worker takes.
const BATCH_MAX: usize = 100_000;
/// How many steps it takes at most until the ledger has everything.
const SETTLE_STEPS_MAX: usize = 100;
/// How many broken things are told at once.
const FINDINGS_MAX: usize = 10;
/// The kinds of answers that a crowd counts.
const KINDS: [&str; 9] = [
    "granted", "denied", "charged", "released", "replayed", "error", "created", "added", "refunded",
];

/// One world.
pub struct World<'b> {
    backend: &'b dyn Backend,
    folder: TempDir,
    clock: Arc<ManualClock>,
    /// Whether the clock stands where the scenario wants it.
    is_dated: bool,
    /// Absent only while the process is down.
    parts: Option<Parts>,
}

/// What a process has, and loses when it is killed.
struct Parts {
    stores: Stores,
    acks: Arc<Acks>,
    catalogs: Arc<Catalogs>,
    caller: Caller,
    settler: Settler,
    renewer: Renewer,
    applier: Applier,
    reloader: Reloader,
}

impl<'b> World<'b> {
    /// An empty one.
    pub async fn new(backend: &'b dyn Backend) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(told)?;
        let clock = Arc::new(ManualClock::new(instant("2026-01-01T00:00Z")?));
        let mut world = World {
            backend,
            folder,
            clock,
            is_dated: false,
            parts: None,
        };
        world.start(Owners::default()).await?;
        Ok(world)
    }

    async fn start(&mut self, owners: Owners) -> Result<(), String> {
        let stores = self
            .backend
            .start(self.folder.path(), self.clock.clone())
            .await?;
        let catalogs = Arc::new(self.catalogs(&stores).await?);
        let acks = Arc::new(Acks::new(stores.hot.shards()));
        let options = EnforcerOptions {
            ack: Ack::Ledger,
            ack_timeout: LINE_TIMEOUT,
            default_ttl_ms: DEFAULT_TTL_MS,
        };
        let enforcer = Arc::new(Enforcer::new(
            stores.hot.clone(),
            Arc::new(LedgerSource(stores.ledger.clone())),
            catalogs.clone(),
            acks.clone(),
            options,
        ));
        let clerk = Arc::new(Clerk::new(enforcer.clone(), stores.ledger.clone()));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let metrics = Arc::new(Metrics::new().map_err(told)?);
        self.parts = Some(Parts {
            settler: Settler {
                hot: stores.hot.clone(),
                ledger: stores.ledger.clone(),
                enforcer: enforcer.clone(),
                acks: acks.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                batch_max: BATCH_MAX,
                shares: Arc::new(Shares::whole()),
                unread: Default::default(),
                round: Default::default(),
            },
            renewer: Renewer {
                ledger: stores.ledger.clone(),
                enforcer: enforcer.clone(),
                clock: clock.clone(),
                batch_max: BATCH_MAX,
            },
            applier: Applier {
                ledger: stores.ledger.clone(),
                enforcer: enforcer.clone(),
                place: Default::default(),
            },
            reloader: Reloader {
                path: self.catalog_path(),
                changed: Arc::new(Notify::new()),
                catalogs: catalogs.clone(),
                ledger: stores.ledger.clone(),
                clock,
                metrics,
                is_put_off: Default::default(),
            },
            caller: Caller::new(enforcer, clerk, self.clock.clone(), owners),
            stores,
            acks,
            catalogs,
        });
        Ok(())
    }

    fn catalog_path(&self) -> PathBuf {
        self.folder.path().join("catalog.yaml")
    }

    /// The file where there is one, else the built-in one; and all that the ledger remembers.
    async fn catalogs(&self, stores: &Stores) -> Result<Catalogs, String> {
        let path = self.catalog_path();
        let ledger = stores.ledger.as_ref();
        let current = if path.exists() {
            reloader::load(&path, ledger).await.map_err(told)?
        } else {
            catalogs::builtin()
        };
        reloader::keep(&current, ledger, self.clock.as_ref())
            .await
            .map_err(told)?;
        let mut known = Vec::new();
        for stored in ledger.catalogs().await.map_err(told)? {
            known.push(catalogs::parse(&stored.yaml).map_err(told)?);
        }
        Catalogs::new(current, known).map_err(told)
    }

    fn parts(&self) -> &Parts {
        self.parts
            .as_ref()
            .expect("the process runs between two lines")
    }

    /// Does what a line says. `Err`: the line makes no sense, or something broke.
    pub async fn run(&mut self, mut words: Words) -> Result<Answer, String> {
        match words.verb.as_str() {
            "at" => {
                self.clock.set(instant(&words.next("an instant")?)?);
                self.is_dated = true;
                words.finish().map(|()| Answer::default())
            }
            "wait" => {
                let by = millis(&words.next("a duration")?)?;
                self.clock.advance(Duration::from_millis(by));
                words.finish().map(|()| Answer::default())
            }
            "crowd" => self.crowd(words).await,
            "settle" | "sweep" | "renew" | "apply" | "restart" => {
                let verb = words.verb.clone();
                words.finish()?;
                self.step(&verb).await
            }
            "reload" => {
                let name = words.next("a catalogue")?;
                words.finish()?;
                self.reload(&name).await
            }
            _ => {
                self.date(&words)?;
                if words.looks_at_the_ledger() {
                    self.settle().await?;
                }
                self.drive(self.parts().caller.clone().ask(words)).await
            }
        }
    }

    /// The clock of a world that nobody has set stands where its first account subscribed.
    fn date(&mut self, words: &Words) -> Result<(), String> {
        if words.verb == "account" && !self.is_dated {
            if let Some(subscribed) = words.clone().instant("subscribed")? {
                self.clock.set(subscribed);
            }
            self.is_dated = true;
        }
        Ok(())
    }

    /// Runs a request while the settler serves it.
    async fn drive<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Result<T, String> {
        let Parts { acks, settler, .. } = self.parts();
        // A call that the last request left behind must not settle this one's holds.
        let _ = tokio::time::timeout(Duration::ZERO, acks.woken()).await;
        let mut task = tokio::spawn(request);
        let serve = async {
            loop {
                tokio::select! {
                    done = &mut task => return done.map_err(told)?,
                    () = acks.woken() => { settler.step().await.map_err(told)?; }
                }
            }
        };
        let served = tokio::time::timeout(LINE_TIMEOUT, serve).await;
        served.map_err(|_| "no answer in time".to_owned())?
    }

    /// The same request many times at once; answered by how many were answered how.
    async fn crowd(&self, mut words: Words) -> Result<Answer, String> {
        let count = words.number().ok_or("crowd needs a number")?;
        let request = words.rest();
        let caller = self.parts().caller.clone();
        let crowd = async move {
            let each = (1..=count).map(|n| request.replace("{n}", &n.to_string()));
            let tasks: Vec<_> = each
                .map(|request| tokio::spawn(caller.clone().ask(Words::new(&request))))
                .collect();
            let mut answers = Vec::with_capacity(tasks.len());
            for task in tasks {
                answers.push(task.await.map_err(told)??);
            }
            Ok(answers)
        };
        let answers = self.drive(crowd).await?;
        let count = |kind: &str| {
            answers
                .iter()
                .filter(|answer| answer.kind() == kind)
                .count()
        };
        Ok(KINDS.iter().fold(Answer::default(), |told, kind| {
            told.fact(*kind, count(kind))
        }))
    }

    async fn step(&mut self, verb: &str) -> Result<Answer, String> {
        let Parts {
            renewer,
            applier,
            stores,
            caller,
            ..
        } = self.parts();
        match verb {
            "settle" => {
                self.settle().await?;
                Ok(Answer::new(["settled"]))
            }
            "sweep" => {
                let swept = stores.hot.sweep(BATCH_MAX).await.map_err(told)?;
                let told = Answer::new(["swept"]).fact("expired", swept.expired);
                Ok(told.fact("forgotten", swept.forgotten))
            }
            "renew" => {
                let due = stores
                    .ledger
                    .due(self.clock.now(), BATCH_MAX)
                    .await
                    .map_err(told)?;
                renewer.step().await.map_err(told)?;
                Ok(Answer::new(["renewed"]).fact("accounts", due.len()))
            }
            "apply" => {
                let behind = stores
                    .ledger
                    .unapplied(None, BATCH_MAX)
                    .await
                    .map_err(told)?;
                applier.step().await.map_err(told)?;
                Ok(Answer::new(["applied"]).fact("accounts", behind.len()))
            }
            _ => {
                let owners = caller.owners();
                drop(self.parts.take());
                self.start(owners).await?;
                Ok(Answer::new(["restarted"]))
            }
        }
    }

    /// Until the ledger has everything.
    async fn settle(&self) -> Result<(), String> {
        let Parts {
            settler, stores, ..
        } = self.parts();
        for _ in 0..SETTLE_STEPS_MAX {
            settler.step().await.map_err(told)?;
            // A ledger behind a log tells of reversals once it has caught up.
            stores.ledger.cursors().await.map_err(told)?;
            let progress = settler.step().await.map_err(told)?;
            let stats = stores.hot.stats().await.map_err(told)?;
            if progress == Progress::Done && stats.outbox == 0 {
                return Ok(());
            }
        }
        Err("the outbox does not empty".to_owned())
    }

    /// Changes the catalogue's file, and lets the reloader look at it.
    async fn reload(&self, name: &str) -> Result<Answer, String> {
        let Parts {
            reloader,
            catalogs,
            stores,
            ..
        } = self.parts();
        let given = super::folder()
            .join("catalogs")
            .join(format!("{name}.yaml"));
        let text = fs::read_to_string(&given).map_err(|error| format!("{given:?}: {error}"))?;
        let path = self.catalog_path();
        fs::write(&path, &text).map_err(told)?;
        let problem = reloader::load(&path, stores.ledger.as_ref()).await.err();
        reloader.step().await.map_err(told)?;
        let current = catalogs.current().expect("a catalogue");
        let head = if *current.yaml == *text {
            "loaded"
        } else {
            "refused"
        };
        let why = problem.map(|problem| problem.to_string());
        Ok(Answer::new([head])
            .fact("rates", &current.version)
            .maybe("why", why))
    }

    /// What may never be, after any line.
    pub async fn check(&self) -> Result<(), String> {
        let broken = self
            .parts()
            .stores
            .hot
            .broken_invariants(FINDINGS_MAX)
            .await;
        let broken = broken.map_err(told)?;
        if broken.is_empty() {
            Ok(())
        } else {
            Err(format!("broken invariants: {broken:?}"))
        }
    }

    /// What must be so once everything is settled: the ledger finds nothing wrong with itself, and
    /// has, entry by entry, what the hot store has.
    pub async fn check_ledger(&self) -> Result<(), String> {
        let Parts { stores, caller, .. } = self.parts();
        let accounts = stores
            .ledger
            .accounts(None, BATCH_MAX, self.clock.now())
            .await;
        let ids: Vec<_> = accounts
            .map_err(told)?
            .into_iter()
            .map(|known| known.id)
            .collect();
        let mut worths = Vec::with_capacity(ids.len());
        for id in ids {
            let (enforcer, asked) = (caller.enforcer.clone(), id.clone());
            let account = async move { enforcer.account(&asked).await.map_err(told) };
            let (account, _) = self.drive(account).await?;
            worths.push((id, account.worth()));
        }
        self.settle().await?;
        self.check().await?;
        let findings = stores.ledger.audit(FINDINGS_MAX).await.map_err(told)?;
        if !findings.is_empty() {
            return Err(format!("the audit finds: {findings:?}"));
        }
        for (id, worth) in worths {
            let filter = EntryFilter {
                account_id: Some(id.clone()),
                ..EntryFilter::default()
            };
            let page = stores
                .ledger
                .entries(&filter, None, BATCH_MAX)
                .await
                .map_err(told)?;
            let sum: i64 = page
                .entries
                .iter()
                .map(|recorded| recorded.entry.credits)
                .sum();
            if page.next.is_some() || sum != worth {
                return Err(format!(
                    "the entries of {id} add up to {sum}, and it has {worth}"
                ));
            }
        }
        Ok(())
    }
}

fn told(error: impl ToString) -> String {
    error.to_string()
}
