//! The connections: made when they are needed, made anew when they are lost, never waited for
//! longer than a call may take.
//!
//! A few connections to one server, or one client of a cluster, carry all calls at once
//! (pipelined). A connection is made in the background, by one attempt at a time; whoever calls
//! meanwhile waits for it until his deadline. After a failed attempt calls fail at once for a
//! moment, so that a server that is down costs nobody a wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::{sync::watch, time::timeout};

use super::{
    address::{AddressError, RedisAddress},
    begin::{self, LedgerCursors},
    faults::Failure,
    keys,
    wires::{Target, Wire},
};
use crate::clock::{Clock, SystemClock};

/// How often one call is sent: once, and once more on a new connection or with the script's text.
const ATTEMPTS: usize = 3;
/// How long calls fail at once after an attempt to connect has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// After how many calls in a row without an answer a connection counts as lost: a network may
/// drop packets without closing anything.
const SILENT_MAX: u32 = 3;

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) struct LinkOptions {
    pub address: RedisAddress,
    /// Root certificates in PEM for TLS; absent: the machine's.
    pub tls_ca: Option<Vec<u8>>,
    pub connections: usize,
    pub deadline: Duration,
    pub connect_timeout: Duration,
    pub shards: u32,
    /// Whether this process may fix their number.
    pub fixes_shards: bool,
    /// Where the outboxes of an empty server begin; absent: at zero.
    pub ledger: Option<Arc<dyn LedgerCursors>>,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Link {
    lines: Vec<Arc<Line>>,
    deadline: Duration,
}

/// One connection, or the lack of it.
struct Line {
    target: Target,
    options: LinkOptions,
    state: Mutex<State>,
    silent: AtomicU32,
    clock: SystemClock,
}

enum State {
    /// Which one it is, so that whoever finds it broken breaks no newer one.
    Up(u64, Wire),
    Connecting(watch::Receiver<()>),
    /// Since when, and why.
    Down(u64, Option<(Duration, Arc<str>)>),
}

/// There is no connection.
#[derive(Debug, thiserror::Error)]
#[error("no connection to {address}: {why}")]
struct NotConnected {
    address: RedisAddress,
    why: Arc<str>,
}

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {address} within {deadline:?}")]
struct NoAnswer {
    address: RedisAddress,
    deadline: Duration,
}

/// The store has another number of shards.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store was set up with {there} shards and this process with {here}: the number is fixed \
     at the first start"
)]
struct OtherShards {
    there: u32,
    here: u32,
}

/// No process that may has set the store up.
#[derive(Debug, thiserror::Error)]
#[error("the store is not set up yet: no process with a ledger has been here")]
struct NotSetUp;

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("address", &self.options.address)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Prepares the connections and makes none.
    pub fn new(options: &LinkOptions) -> Result<Self, AddressError> {
        // Whoever was first has chosen for the process, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let target = Target::new(options)?;
        let count = match target {
            Target::Server(_) | Target::Sentinel { .. } => options.connections.max(1),
            Target::Cluster(_) => 1,
        };
        let line = || {
            Arc::new(Line {
                target: target.clone(),
                options: options.clone(),
                state: Mutex::new(State::Down(0, None)),
                silent: AtomicU32::new(0),
                clock: SystemClock::new(),
            })
        };
        Ok(Link {
            lines: (0..count).map(|_| line()).collect(),
            deadline: options.deadline,
        })
    }

    /// Sends a command and answers its reply, within the deadline. `text` is the script that an
    /// EVALSHA names, for a server that does not know it.
    pub async fn call(
        &self,
        lane: u32,
        command: &Cmd,
        text: Option<&(dyn Fn() -> Cmd + Sync)>,
    ) -> Result<Value, Failure> {
        let line = &self.lines[lane as usize % self.lines.len()];
        let sent = Mutex::new(None);
        let attempts = line.attempts(command, text, &sent);
        match timeout(self.deadline, attempts).await {
            Ok(answer) => answer,
            Err(_) => {
                let silence = NoAnswer {
                    address: line.options.address.clone(),
                    deadline: self.deadline,
                };
                let Some(number) = *sent.lock() else {
                    return Err(Failure::not_sent(silence));
                };
                if line.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_MAX {
                    line.lose(number, "it does not answer");
                }
                Err(Failure::unknown(silence))
            }
        }
    }
}

impl Line {
    /// Sends until there is an answer, a bounded number of times. `sent` tells whether anything
    /// is out, and on which connection.
    async fn attempts(
        self: &Arc<Self>,
        command: &Cmd,
        text: Option<&(dyn Fn() -> Cmd + Sync)>,
        sent: &Mutex<Option<u64>>,
    ) -> Result<Value, Failure> {
        let mut whole = None;
        let mut doubt: Option<Failure> = None;
        for attempt in 1..=ATTEMPTS {
            let (number, mut wire) = match self.wire().await {
                Ok(up) => up,
                Err(failure) => return Err(doubt.unwrap_or(failure)),
            };
            *sent.lock() = Some(number);
            let error = match wire.send(whole.as_ref().unwrap_or(command)).await {
                Ok(value) => {
                    self.silent.store(0, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => error,
            };
            let failure = Failure::from_redis(error, matches!(wire, Wire::Cluster(_)));
            if failure.is_lost {
                self.lose(number, &failure.source.to_string());
            }
            let again = match (failure.is_unknown_script, text) {
                (true, Some(text)) => {
                    whole = Some(text());
                    true
                }
                _ => failure.is_lost,
            };
            if !again || attempt == ATTEMPTS {
                return Err(doubt.unwrap_or(failure));
            }
            // An attempt that may have happened is not undone by one that did not.
            if failure.certainty == crate::hot::Certainty::Indeterminate {
                doubt = Some(failure);
            }
        }
        Err(doubt.unwrap_or_else(|| Failure::not_sent("no attempt was made")))
    }

    /// The connection, once there is one.
    async fn wire(self: &Arc<Self>) -> Result<(u64, Wire), Failure> {
        let mut made = {
            let mut state = self.state.lock();
            match &*state {
                State::Up(number, wire) => return Ok((*number, wire.clone())),
                State::Connecting(made) => made.clone(),
                State::Down(_, Some((since, why))) if self.clock.monotonic() < *since + PAUSE => {
                    return Err(self.not_connected(why));
                }
                State::Down(number, _) => {
                    let (done, made) = watch::channel(());
                    let number = number + 1;
                    *state = State::Connecting(made.clone());
                    tokio::spawn(Arc::clone(self).make(number, done));
                    made
                }
            }
        };
        // The maker drops its end when it is done, whatever came of it.
        while made.changed().await.is_ok() {}
        let state = self.state.lock();
        match &*state {
            State::Up(number, wire) => Ok((*number, wire.clone())),
            State::Down(_, Some((_, why))) => Err(self.not_connected(why)),
            State::Down(_, None) | State::Connecting(..) => {
                Err(self.not_connected(&Arc::from("it was lost at once")))
            }
        }
    }

    fn not_connected(&self, why: &Arc<str>) -> Failure {
        Failure::not_sent(NotConnected {
            address: self.options.address.clone(),
            why: Arc::clone(why),
        })
    }

    /// Makes a connection, in the background, and says so by dropping `done`.
    async fn make(self: Arc<Self>, number: u64, done: watch::Sender<()>) {
        let limit = self.options.connect_timeout;
        let made = match timeout(limit, self.connect()).await {
            Ok(made) => made,
            Err(_) => Err(format!("it did not answer within {limit:?}").into()),
        };
        let mut state = self.state.lock();
        *state = match made {
            Ok(wire) => {
                tracing::info!(address = %self.options.address, "connected to Redis");
                self.silent.store(0, Ordering::Relaxed);
                State::Up(number, wire)
            }
            Err(error) => {
                let why: Arc<str> = Arc::from(error.to_string());
                tracing::warn!(address = %self.options.address, %why, "no connection to Redis");
                State::Down(number, Some((self.clock.monotonic(), why)))
            }
        };
        drop(state);
        drop(done);
    }

    async fn connect(&self) -> Result<Wire, Box<dyn std::error::Error + Send + Sync>> {
        let mut wire = self.target.connect(&self.options).await?;
        self.check_shards(&mut wire).await?;
        if let Some(ledger) = &self.options.ledger {
            begin::begin(&mut wire, ledger.as_ref(), self.options.shards).await?;
        }
        Ok(wire)
    }

    /// Fixes the number of shards at the first start, and refuses any other afterwards.
    async fn check_shards(
        &self,
        wire: &mut Wire,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let here = self.options.shards;
        if self.options.fixes_shards {
            let mut set = redis::cmd("SET");
            set.arg(keys::SHARDS).arg(here).arg("NX");
            wire.send(&set).await?;
        }
        let mut get = redis::cmd("GET");
        get.arg(keys::SHARDS);
        let there: Option<u32> = redis::from_redis_value(wire.send(&get).await?)?;
        match there {
            Some(there) if there != here => Err(Box::new(OtherShards { there, here })),
            Some(_) => Ok(()),
            None => Err(Box::new(NotSetUp)),
        }
    }

    /// Counts a connection as lost, unless there is a newer one.
    fn lose(&self, number: u64, why: &str) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(up, _) if *up == number) {
            tracing::warn!(address = %self.options.address, why, "lost the connection to Redis");
            *state = State::Down(number, None);
        }
    }
}
