//! A proxy in front of a server, which does to what passes through it what a bad network does.
//!
//! A connection of which something was lost stays mute in that direction for ever: no network
//! loses bytes in the middle of a connection and then goes on with it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What the network is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Works,
    /// Drops what clients send, and closes nothing.
    LosesRequests,
    /// Drops what the server answers, and closes nothing.
    LosesReplies,
    /// Drops everything, and closes nothing.
    LosesAll,
    /// Keeps everything back, and delivers it once it works again.
    Holds,
    /// Closes every connection, old or new.
    Cuts,
}

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Request,
    Reply,
}

impl Network {
    fn loses(self, way: Way) -> bool {
        match self {
            Network::Works | Network::Holds | Network::Cuts => false,
            Network::LosesRequests => way == Way::Request,
            Network::LosesReplies => way == Way::Reply,
            Network::LosesAll => true,
        }
    }
}

/// Sees every piece that passes, before it does; whether it may.
pub type Guard = dyn Fn(Way, &[u8]) -> bool + Send + Sync;

/// A proxy in front of a server on this machine.
pub struct Proxy {
    /// `host:port`.
    pub address: String,
    pub port: u16,
    network: watch::Sender<Network>,
    /// How many pieces still pass before any is lost.
    spared: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// What every connection knows.
#[derive(Clone)]
struct Line {
    network: watch::Receiver<Network>,
    spared: Arc<AtomicUsize>,
    guard: Arc<Guard>,
}

impl Proxy {
    /// In front of the server on a port.
    pub async fn start(port: u16) -> Self {
        Proxy::guarded(port, Arc::new(|_, _| true)).await
    }

    /// The same, with somebody who sees everything that passes and may stop it.
    pub async fn guarded(port: u16, guard: Arc<Guard>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address");
        let (network, seen) = watch::channel(Network::Works);
        let spared = Arc::new(AtomicUsize::new(0));
        let line = Line {
            network: seen,
            spared: Arc::clone(&spared),
            guard,
        };
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *line.network.borrow() == Network::Cuts {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                client.set_nodelay(true).expect("an option");
                server.set_nodelay(true).expect("an option");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(line.clone().carry(from_client, to_server, Way::Request));
                tokio::spawn(line.clone().carry(from_server, to_client, Way::Reply));
            }
        });
        Proxy {
            address: own.to_string(),
            port: own.port(),
            network,
            spared,
            task,
        }
    }

    /// What the network is like from now on.
    pub fn set(&self, network: Network) {
        self.set_after(0, network);
    }

    /// The same, but the next pieces that it would lose still pass.
    pub fn set_after(&self, spared: usize, network: Network) {
        self.spared.store(spared, Ordering::SeqCst);
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.network.send_replace(Network::Cuts);
    }
}

impl Line {
    async fn carry(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        way: Way,
    ) {
        let mut buffer = vec![0; 65_536];
        let mut is_mute = false;
        let mut network = self.network.clone();
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                _ = network.wait_for(|network| *network == Network::Cuts) => return,
            };
            let Ok(read @ 1..) = read else { return };
            let works = self.network.wait_for(|network| *network != Network::Holds);
            let Ok(network) = works.await.map(|network| *network) else {
                return;
            };
            let spares = || {
                let one_less = |spared: usize| spared.checked_sub(1);
                let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
                self.spared.fetch_update(set, get, one_less).is_ok()
            };
            is_mute = is_mute || (network.loses(way) && !spares());
            let passes = !is_mute && (self.guard)(way, &buffer[..read]);
            if passes && to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
