//! Redis in every shape that it is run in, as hosts that a suite takes, empty, and gives back: a
//! cluster takes seconds to start. They end with the process.

use std::{
    mem,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use super::{
    cluster::Cluster,
    replication::{follow, sentinels},
    servers::{Kind, Server},
};

/// How long a server may be silent, in milliseconds: on a busy machine nobody is to fail over here.
const PATIENCE_MS: &str = "60000";
/// Waits until nobody holds its input any more, then ends servers (their process ids, up to `--`)
/// and removes their folders.
const WATCH: &str = r#"
    read -r _
    while [ "$1" != -- ]; do kill -9 "$1"; shift; done
    shift
    rm -rf "$@"
"#;

/// Hosts that nobody uses.
static FREE: Mutex<Vec<Host>> = Mutex::new(Vec::new());

/// How servers are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One server.
    Alone(Kind),
    /// A cluster of three masters, each with a replica.
    Cluster,
    /// A master and a replica, behind three Sentinels.
    Sentinel,
}

impl Shape {
    /// Every shape, with Valkey where it makes a difference.
    pub const ALL: [Shape; 4] = [
        Shape::Alone(Kind::Redis),
        Shape::Alone(Kind::Valkey),
        Shape::Cluster,
        Shape::Sentinel,
    ];

    /// How a failed test calls it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Alone(kind) => kind.name(),
            Shape::Cluster => "redis cluster",
            Shape::Sentinel => "redis behind sentinels",
        }
    }
}

/// Servers that are one store.
struct Host {
    shape: Shape,
    url: String,
    /// Those with data of their own first.
    servers: Vec<Server>,
    masters: usize,
    watcher: Child,
}

impl Host {
    fn start(shape: Shape) -> Self {
        let (url, servers, masters) = match shape {
            Shape::Alone(kind) => {
                let server = Server::start(kind);
                (server.url(), vec![server], 1)
            }
            Shape::Cluster => {
                let cluster = Cluster::start(3, 1, &["--cluster-node-timeout", PATIENCE_MS]);
                (cluster.url(), cluster.nodes, 3)
            }
            Shape::Sentinel => {
                let (master, replica) = (Server::start(Kind::Redis), Server::start(Kind::Redis));
                follow(&replica, &master);
                let (sentinels, url) = sentinels(&master, PATIENCE_MS);
                let mut servers = vec![master, replica];
                servers.extend(sentinels);
                (url, servers, 1)
            }
        };
        Host {
            watcher: watch(&servers),
            shape,
            url,
            servers,
            masters,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The servers end by themselves.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}

/// Nothing here is dropped where a process ends: somebody else has to see that it does.
fn watch(servers: &[Server]) -> Child {
    let mut watch = Command::new("sh");
    watch.args(["-c", WATCH, "watch"]);
    watch.args(servers.iter().map(|server| server.id().to_string()));
    watch.arg("--");
    watch.args(servers.iter().map(Server::folder));
    let watch = watch
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    watch.spawn().expect("a shell")
}

/// A host that nobody else uses meanwhile.
pub struct Lease(Option<Host>);

impl Lease {
    /// A host of a shape, with whatever was left on it.
    pub fn take(shape: Shape) -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = free.iter().position(|host| host.shape == shape);
        let host = place.map(|place| free.swap_remove(place));
        drop(free);
        Lease(Some(host.unwrap_or_else(|| Host::start(shape))))
    }

    fn host(&self) -> &Host {
        self.0.as_ref().expect("until it is dropped")
    }

    /// Where a store finds it.
    pub fn url(&self) -> &str {
        &self.host().url
    }

    /// Takes everything off it.
    pub fn empty(&self) {
        let host = self.host();
        for master in &host.servers[..host.masters] {
            master.ask::<()>(&redis::cmd("FLUSHALL"));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After a failure nobody knows what state it is in.
        if let Some(host) = mem::take(&mut self.0)
            && !thread::panicking()
        {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(host);
        }
    }
}
