//! What a connection is made to and how, and the connection itself.

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, RedisResult, TlsCertificates, Value,
    aio::ConnectionLike,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use super::{
    address::{AddressError, Place},
    link::LinkOptions,
    pipelined::Pipelined,
    recovery,
};

/// How often a cluster's client follows a redirection or asks again, and for how long it waits
/// in between, in milliseconds.
const CLUSTER_RETRIES: u32 = 4;
const CLUSTER_WAIT_MS: (u64, u64) = (1, 8);

/// What a connection is made to.
#[derive(Clone)]
pub(super) enum Target {
    Server(Box<redis::Client>),
    Sentinel {
        nodes: Vec<ConnectionInfo>,
        master: String,
    },
    Cluster(Box<ClusterClient>),
}

/// A connection.
#[derive(Clone)]
pub(super) enum Wire {
    Server(Pipelined),
    Cluster(Box<ClusterConnection>),
}

impl Wire {
    /// Sends a command; a server's error is an error here.
    pub async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Wire::Server(wire) => wire.send(command).await,
            Wire::Cluster(wire) => wire.req_packed_command(command).await,
        }
        // A server's error is a value until somebody asks.
        .and_then(Value::extract_error)
    }
}

impl Wire {
    /// The name of the server at the other end: its replication id, which it changes when it
    /// starts, is promoted, or follows another one. Empty on a cluster, whose servers are asked
    /// whenever it counts. A replica is refused: it may be behind, and writes nothing.
    pub async fn server(&mut self) -> Result<Arc<str>, Box<dyn std::error::Error + Send + Sync>> {
        if matches!(self, Wire::Cluster(_)) {
            return Ok(Arc::from(""));
        }
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let told: String = redis::from_redis_value(self.send(&info).await?)?;
        let field = |name: &str| {
            let mut lines = told.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        if field("role") != Some("master") {
            return Err("it is a replica: give the address of its master".into());
        }
        let id = field("master_replid").ok_or("its INFO has no master_replid")?;
        Ok(Arc::from(id))
    }
}

impl Target {
    /// Makes a connection.
    pub async fn connect(&self, options: &LinkOptions) -> RedisResult<Wire> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.connect_timeout));
        let wire = match self {
            Target::Server(client) => Wire::Server(Pipelined::connect(client, config).await?),
            Target::Sentinel { nodes, master } => {
                let mut sentinel = sentinel(nodes, master, options.tls_ca.as_deref())?;
                let client = sentinel.async_get_client().await?;
                Wire::Server(Pipelined::connect(&client, config).await?)
            }
            Target::Cluster(client) => {
                Wire::Cluster(Box::new(client.get_async_connection().await?))
            }
        };
        Ok(wire)
    }

    /// Prepares what connections are made with, and makes none.
    pub fn new(options: &LinkOptions) -> Result<Self, AddressError> {
        let certificates = options.tls_ca.as_deref().map(certificates);
        let wrong = |error: redis::RedisError| AddressError(error.to_string());
        Ok(match options.address.place.clone() {
            Place::Server(info) => Target::Server(Box::new(
                match certificates {
                    Some(certificates) => redis::Client::build_with_tls(*info, certificates),
                    None => redis::Client::open(*info),
                }
                .map_err(wrong)?,
            )),
            Place::Sentinel { nodes, master } => {
                // Built once here only to find what is wrong with it.
                sentinel(&nodes, &master, options.tls_ca.as_deref()).map_err(wrong)?;
                Target::Sentinel { nodes, master }
            }
            Place::Cluster(nodes) => {
                let (wait_min, wait_max) = CLUSTER_WAIT_MS;
                let mut builder = ClusterClient::builder(nodes)
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(wait_min)
                    .max_retry_wait(wait_max)
                    .retry_wait_formula(wait_max, 2)
                    .connection_timeout(options.connect_timeout)
                    // Each call has a limit of its own. The client's is for all of them, so it is that
                    // of the longest: a step of a recovery.
                    .response_timeout(recovery::CALL_TIMEOUT)
                    .overall_response_timeout(Some(recovery::CALL_TIMEOUT))
                    .tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Target::Cluster(Box::new(builder.build().map_err(wrong)?))
            }
        })
    }
}

fn certificates(root: &[u8]) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: Some(root.to_owned()),
    }
}

/// A client that asks the Sentinels anew whenever a connection is to be made.
fn sentinel(
    nodes: &[ConnectionInfo],
    master: &str,
    tls_ca: Option<&[u8]>,
) -> RedisResult<redis::sentinel::SentinelClient> {
    let addresses = nodes.iter().map(|node| node.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
    let nodelay = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    builder = builder
        .set_client_to_redis_tcp_settings(nodelay.clone())
        .set_client_to_sentinel_tcp_settings(nodelay);
    if let Some(first) = nodes.first() {
        let login = first.redis_settings();
        builder = builder.set_client_to_redis_db(login.db());
        if let Some(username) = login.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = login.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if matches!(first.addr(), redis::ConnectionAddr::TcpTls { .. }) {
            builder = builder
                .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(redis::TlsMode::Secure);
        }
    }
    if let Some(root) = tls_ca {
        builder = builder
            .set_client_to_redis_certificates(certificates(root))
            .set_client_to_sentinel_certificates(certificates(root));
    }
    builder.build()
}
