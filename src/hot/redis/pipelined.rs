//! A connection to one server, which carries many calls at once.

use std::sync::{Arc, Weak};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, RedisConnectionInfo, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_util::task::AbortOnDropHandle;

use crate::gathered::Gathered;

/// A connection.
#[derive(Clone)]
pub(super) struct Pipelined {
    connection: MultiplexedConnection,
    /// What sends and receives, until the last of the connection's clones is gone; absent where the
    /// client has its own. Every call in progress has a clone, and one waits for the next.
    _driver: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Pipelined {
    /// Connects to a client's server.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum, which grows"
    )]
    pub async fn connect(client: &Client, config: AsyncConnectionConfig) -> RedisResult<Self> {
        let info = client.get_connection_info();
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Self::over(stream, info.redis_settings(), config).await
            }
            ConnectionAddr::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                Self::over(stream, info.redis_settings(), config).await
            }
            // How TLS is spoken is the client's own knowledge, and so is who sends then.
            _ => Ok(Pipelined {
                connection: client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?,
                _driver: None,
            }),
        }
    }

    async fn over<S>(
        stream: S,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let (connection, driver) =
            MultiplexedConnection::new_with_config(login, stream, config).await?;
        let driver = Arc::new_cyclic(|clones: &Weak<_>| {
            let clones = clones.clone();
            let calls = move || clones.strong_count().saturating_sub(1);
            AbortOnDropHandle::new(tokio::spawn(Gathered::new(Box::pin(driver), calls)))
        });
        Ok(Pipelined {
            connection,
            _driver: Some(driver),
        })
    }

    /// Sends a command. A server's error is a value.
    pub async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.connection.req_packed_command(command).await
    }
}
