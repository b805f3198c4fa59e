//! The connections: made when they are needed, made anew when they are lost, never waited for
//! longer than a call may take.
//!
//! A few connections to one server, or one client of a cluster, carry all calls at once
//! (pipelined). A connection is made in the background, by one attempt at a time; whoever calls
//! meanwhile waits for it until his deadline. After a failed attempt calls fail at once for a
//! moment, so that a server that is down costs nobody a wait: the breaker is open until an attempt
//! succeeds.

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
    faults::Failure,
    keys,
    packed::Broken,
    scripts::Script,
    wires::{Target, Wire},
};
use crate::clock::{Clock, SystemClock};

/// How often one call is sent: once, and once more on a new connection or with the script's text.
const ATTEMPTS: usize = 3;
/// How long calls fail at once after an attempt to connect has failed; and how long a connection is
/// kept to a server that another one has replaced, since the next one may lead there as well.
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
    /// The id of this process's ledger; absent: any will do.
    pub ledger_id: Option<String>,
}

/// A command, once it is known on which server it will run, by that server's name; `true`: with
/// a script's text, for a server that does not know it.
pub(super) type Request<'a> = dyn Fn(&str, bool) -> Cmd + Sync + 'a;

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
    /// Which one it is, so that whoever finds it broken breaks no newer one; the name of the server
    /// at its other end, empty where the client hides that; and since when.
    Up(u64, Wire, Arc<str>, Duration),
    Connecting {
        made: watch::Receiver<()>,
        /// Whether the attempt before this one failed.
        again: bool,
    },
    /// Since when, and why.
    Down(u64, Option<(Duration, Arc<str>)>),
}

impl State {
    /// From a failed attempt on, until one succeeds.
    fn is_broken(&self) -> bool {
        match self {
            State::Up(..) => false,
            State::Connecting { again, .. } => *again,
            State::Down(_, failed) => failed.is_some(),
        }
    }
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

/// The store has the balances of another ledger.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store has the balances of ledger {there}, and this process has ledger {here}: give it the \
     ledger or the data folder that this Redis was used with, or another Redis"
)]
struct OtherLedger {
    there: String,
    here: String,
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

    /// Runs a script and answers the one text that it replies with, within a limit.
    pub async fn eval(
        &self,
        shard: u32,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let request = |server: &str, is_whole| script.call(keys, arguments, server, is_whole);
        self.request(shard, &request, limit).await
    }

    /// Sends a script's call and answers the one text that it replies with, within a limit.
    pub async fn request(
        &self,
        shard: u32,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let Value::BulkString(reply) = self.call(shard, request, limit).await? else {
            return Err(Failure::unknown(Broken("a script's reply is no text")));
        };
        Ok(reply)
    }

    /// Sends a command that is no script.
    pub async fn plain(&self, lane: u32, command: &Cmd, limit: Duration) -> Result<Value, Failure> {
        self.call(lane, &|_, _| command.clone(), limit).await
    }

    /// The longest that one call may take where nothing else is said.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether some calls fail at once, for want of a connection that could not be made.
    pub fn breaker_is_open(&self) -> bool {
        self.lines.iter().any(|line| line.state.lock().is_broken())
    }

    /// Leaves a lane's connection for a new one where it does not know its server by this name.
    pub fn relearn(&self, lane: u32, server: &str) {
        let line = self.line(lane);
        let number = match &*line.state.lock() {
            State::Up(number, _, known, _) if !known.is_empty() && **known != *server => *number,
            State::Up(..) | State::Connecting { .. } | State::Down(..) => return,
        };
        line.lose(number, "the server has another replication id by now");
    }

    /// Leaves every connection, and checks the store anew that the next ones are made to.
    pub fn leave(&self, why: &str) {
        for line in &self.lines {
            let number = match &*line.state.lock() {
                State::Up(number, ..) => *number,
                State::Connecting { .. } | State::Down(..) => continue,
            };
            line.lose(number, why);
        }
    }

    fn line(&self, lane: u32) -> &Arc<Line> {
        &self.lines[lane as usize % self.lines.len()]
    }

    async fn call(
        &self,
        lane: u32,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Value, Failure> {
        let line = self.line(lane);
        let sent = Mutex::new(None);
        match timeout(limit, line.attempts(request, &sent)).await {
            Ok(answer) => answer,
            Err(_) => {
                let silence = NoAnswer {
                    address: line.options.address.clone(),
                    deadline: limit,
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
        request: &Request<'_>,
        sent: &Mutex<Option<u64>>,
    ) -> Result<Value, Failure> {
        let mut whole = false;
        let mut doubt: Option<Failure> = None;
        for attempt in 1..=ATTEMPTS {
            let (number, mut wire, server) = match self.wire().await {
                Ok(up) => up,
                Err(failure) => return Err(doubt.unwrap_or(failure)),
            };
            *sent.lock() = Some(number);
            let error = match wire.send(&request(&server, whole)).await {
                Ok(value) => {
                    self.silent.store(0, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => error,
            };
            let failure = Failure::from_redis(error, matches!(wire, Wire::Cluster(_)));
            let is_lost = failure.is_lost && !(failure.is_replaced && self.is_new(number));
            if is_lost {
                self.lose(number, &failure.source.to_string());
            }
            whole |= failure.is_unknown_script;
            let again = failure.is_unknown_script || is_lost;
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
    async fn wire(self: &Arc<Self>) -> Result<(u64, Wire, Arc<str>), Failure> {
        let mut made = {
            let mut state = self.state.lock();
            match &*state {
                State::Up(number, wire, server, _) => {
                    return Ok((*number, wire.clone(), Arc::clone(server)));
                }
                State::Connecting { made, .. } => made.clone(),
                State::Down(_, Some((since, why))) if self.clock.monotonic() < *since + PAUSE => {
                    return Err(self.not_connected(why));
                }
                State::Down(number, failed) => {
                    let (done, made) = watch::channel(());
                    let (number, again) = (number + 1, failed.is_some());
                    *state = State::Connecting {
                        made: made.clone(),
                        again,
                    };
                    tokio::spawn(Arc::clone(self).make(number, done));
                    made
                }
            }
        };
        // The maker drops its end when it is done, whatever came of it.
        while made.changed().await.is_ok() {}
        let state = self.state.lock();
        match &*state {
            State::Up(number, wire, server, _) => Ok((*number, wire.clone(), Arc::clone(server))),
            State::Down(_, Some((_, why))) => Err(self.not_connected(why)),
            State::Down(_, None) | State::Connecting { .. } => {
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
            Ok((wire, server)) => {
                tracing::info!(address = %self.options.address, "connected to Redis");
                self.silent.store(0, Ordering::Relaxed);
                State::Up(number, wire, server, self.clock.monotonic())
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

    async fn connect(&self) -> Result<(Wire, Arc<str>), Box<dyn std::error::Error + Send + Sync>> {
        let mut wire = self.target.connect(&self.options).await?;
        let server = wire.server().await?;
        self.check_shards(&mut wire).await?;
        self.check_ledger(&mut wire).await?;
        Ok((wire, server))
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

    /// Makes a store that belongs to no ledger this process's one's, and refuses another's.
    async fn check_ledger(
        &self,
        wire: &mut Wire,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(here) = &self.options.ledger_id else {
            return Ok(());
        };
        let (claim, ask) = keys::claim(here);
        wire.send(&claim).await?;
        let there: Option<String> = redis::from_redis_value(wire.send(&ask).await?)?;
        match there {
            Some(there) if there != *here => Err(Box::new(OtherLedger {
                there,
                here: here.clone(),
            })),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a connection was made so shortly ago that another one would lead nowhere else.
    fn is_new(&self, number: u64) -> bool {
        let now = self.clock.monotonic();
        matches!(&*self.state.lock(),
            State::Up(up, _, _, since) if *up == number && now < *since + PAUSE)
    }

    /// Counts a connection as lost, unless there is a newer one.
    fn lose(&self, number: u64, why: &str) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(up, ..) if *up == number) {
            tracing::warn!(address = %self.options.address, why, "lost the connection to Redis");
            *state = State::Down(number, None);
        }
    }
}
