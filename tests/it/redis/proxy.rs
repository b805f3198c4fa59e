//! A proxy that loses what it is told to lose, and never closes anything.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a proxy does with what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Loses {
    Nothing,
    Requests,
    Replies,
}

/// A proxy in front of a server.
pub struct Proxy {
    pub address: String,
    loses: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of a server on this machine.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let loses = Arc::new(AtomicU8::new(Loses::Nothing as u8));
        let mode = loses.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                client.set_nodelay(true).expect("an option");
                server.set_nodelay(true).expect("an option");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, mode.clone(), Loses::Requests));
                tokio::spawn(pass(from_server, to_client, mode.clone(), Loses::Replies));
            }
        });
        Proxy {
            address,
            loses,
            task,
        }
    }

    /// What it loses from now on.
    pub fn lose(&self, what: Loses) {
        self.loses.store(what as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mode: Arc<AtomicU8>,
    lost: Loses,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let is_lost = mode.load(Ordering::SeqCst) == lost as u8;
        if !is_lost && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
