//! Which workers run in this process, by its roles and its stores.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    ledger,
    parts::{Books, Parts},
};
use crate::{
    config::{Config, RepairWhen, Role},
    workers::{
        Worker,
        applier::Applier,
        bell::Bell,
        follower::Follower,
        loader::Loader,
        partitioner::Partitioner,
        publisher::Publisher,
        reconciler::Reconciler,
        reloader::Reloader,
        renewer::Renewer,
        settler::Settler,
        shares::{BEAT_INTERVAL, Led, Sharer},
        subscriber::Subscriber,
        substitute::Substitute,
        sweeper::Sweeper,
    },
};

/// How often the applier looks for changes that nobody finished.
const APPLY_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether the next months' entries have a partition.
const PARTITION_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the catalogue's file is looked at without a sign that it changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(3600);
/// How often it is looked whether the published catalogue is what it should be, on both sides.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is looked whether a process without a ledger waits for an account.
const LOAD_INTERVAL: Duration = Duration::from_millis(10);
/// How often it is looked whether another process waits for the settler.
const BELL_INTERVAL: Duration = Duration::from_millis(5);
/// How often it is looked whether another settler has left something lying.
const SUBSTITUTE_INTERVAL: Duration = Duration::from_millis(250);
/// How often the follower looks whether it has missed somebody who waits.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// The workers, each with the pause between two of its steps.
#[derive(Default)]
pub(super) struct Roster {
    pub workers: Vec<(Arc<dyn Worker>, Duration)>,
    /// Who moves what is settled, and writes what is left when this process stops.
    pub settler: Option<Arc<Settler>>,
    /// Who gives the share back when this process stops.
    pub sharer: Option<Arc<Sharer>>,
}

/// Everybody who works in this process. `changed` says that the catalogue's file did.
pub(super) fn roster(parts: &Parts, config: &Config, changed: Arc<Notify>) -> Roster {
    let mut roster = Roster::default();
    if let Some(books) = &parts.books {
        if config.roles.has(Role::Settler) {
            roster.add_settlers(parts, books, config);
        }
        roster.add_reloader(parts, books, config, changed);
    }
    roster.add_messengers(parts, config);
    roster
}

impl Roster {
    fn add(&mut self, worker: impl Worker + 'static, interval: Duration) {
        self.workers.push((Arc::new(worker), interval));
    }

    /// Those who move what is settled, and let time pass.
    fn add_settlers(&mut self, parts: &Parts, books: &Books, config: &Config) {
        let led = |worker: Arc<dyn Worker>| Led {
            worker,
            shares: Arc::clone(&parts.shares),
        };
        let settler = Arc::new(settler(parts, books, config));
        self.settler = Some(settler);
        let sweeper = Sweeper {
            hot: Arc::clone(&parts.hot),
            metrics: Arc::clone(&parts.metrics),
            shares: Arc::clone(&parts.shares),
            batch_max: config.sweep.batch_max,
        };
        self.add(sweeper, Duration::from_millis(config.sweep.interval_ms));
        let renewer = Renewer {
            ledger: Arc::clone(&books.ledger),
            enforcer: Arc::clone(&parts.enforcer),
            clock: Arc::clone(&parts.clock),
            batch_max: config.renew.batch_max,
        };
        let renew_interval = Duration::from_millis(config.renew.interval_ms);
        self.add(led(Arc::new(renewer)), renew_interval);
        let applier = Applier {
            ledger: Arc::clone(&books.ledger),
            enforcer: Arc::clone(&parts.enforcer),
            place: Default::default(),
        };
        self.add(led(Arc::new(applier)), APPLY_INTERVAL);
        let reconciler = Reconciler {
            hot: Arc::clone(&parts.hot),
            ledger: Arc::clone(&books.ledger),
            metrics: Arc::clone(&parts.metrics),
            batch_max: config.reconcile.rounds.batch_max,
            repair: config.reconcile.repair == RepairWhen::Auto,
            place: Default::default(),
            oldest: Default::default(),
        };
        let reconcile_interval = Duration::from_millis(config.reconcile.rounds.interval_ms);
        self.add(led(Arc::new(reconciler)), reconcile_interval);
        if let ledger::Opened::Postgres(ledger) = &books.opened {
            let partitioner = Partitioner {
                ledger: Arc::clone(ledger),
                clock: Arc::clone(&parts.clock),
            };
            self.add(partitioner, PARTITION_INTERVAL);
        }
    }

    fn add_reloader(
        &mut self,
        parts: &Parts,
        books: &Books,
        config: &Config,
        changed: Arc<Notify>,
    ) {
        let Some(path) = &config.catalog else { return };
        // The one that is there is in use.
        parts.metrics.set_file_refused("catalog", false);
        let reloader = Reloader {
            path: path.clone(),
            changed,
            catalogs: Arc::clone(&parts.catalogs),
            ledger: Arc::clone(&books.ledger),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
            is_put_off: Default::default(),
        };
        self.add(reloader, RELOAD_INTERVAL);
    }

    /// Those who tell other processes, and hear from them, through Redis.
    fn add_messengers(&mut self, parts: &Parts, config: &Config) {
        let Some(redis) = parts.opened_hot.redis() else {
            return;
        };
        if let Some(books) = parts
            .books
            .as_ref()
            .filter(|_| config.roles.has(Role::Settler))
        {
            let ledger = Arc::clone(&books.ledger);
            let shares = Arc::clone(&parts.shares);
            let sharer = Arc::new(Sharer::new(Arc::clone(redis), ledger, shares));
            self.workers.push((Arc::clone(&sharer) as _, BEAT_INTERVAL));
            self.sharer = Some(sharer);
            let loader = Loader {
                redis: Arc::clone(redis),
                enforcer: Arc::clone(&parts.enforcer),
            };
            self.add(loader, LOAD_INTERVAL);
            let bell = Bell {
                redis: Arc::clone(redis),
                acks: Arc::clone(&parts.acks),
                heard: AtomicI64::new(0),
            };
            self.add(bell, BELL_INTERVAL);
        }
        if let Some(settler) = &self.settler {
            let substitute = Substitute {
                redis: Arc::clone(redis),
                settler: Arc::clone(settler),
                acks: Arc::clone(&parts.acks),
                shares: Arc::clone(&parts.shares),
                clock: Arc::clone(&parts.clock),
                seen: Default::default(),
            };
            self.add(substitute, SUBSTITUTE_INTERVAL);
        }
        let follower = Follower {
            redis: Arc::clone(redis),
            acks: Arc::clone(&parts.acks),
            shares: Arc::clone(&parts.shares),
        };
        self.add(follower, FOLLOW_INTERVAL);
        let (redis, catalogs) = (Arc::clone(redis), Arc::clone(&parts.catalogs));
        match &parts.books {
            Some(_) => self.add(Publisher::new(redis, catalogs), PUBLISH_INTERVAL),
            None => {
                let metrics = Arc::clone(&parts.metrics);
                let subscriber = Subscriber::new(redis, catalogs, metrics);
                self.add(subscriber, PUBLISH_INTERVAL);
            }
        }
    }
}

fn settler(parts: &Parts, books: &Books, config: &Config) -> Settler {
    Settler {
        hot: Arc::clone(&parts.hot),
        ledger: Arc::clone(&books.ledger),
        enforcer: Arc::clone(&parts.enforcer),
        acks: Arc::clone(&parts.acks),
        clock: Arc::clone(&parts.clock),
        metrics: Arc::clone(&parts.metrics),
        batch_max: config.settle.batch_max,
        shares: Arc::clone(&parts.shares),
        unread: Default::default(),
        round: Default::default(),
    }
}
