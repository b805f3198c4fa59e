//! The flags that `tollgate serve` takes.

use std::{fmt, path::PathBuf};

use super::error::redact;

/// The uppermost layer of the configuration. Every other key is within reach of `--set`.
#[derive(Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// A TOML file with any of the keys (also: TOLLGATE_CONFIG)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// TCP address of the gRPC services [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub grpc_listen: Option<String>,

    /// Address of /healthz, /readyz and /metrics [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http_listen: Option<String>,

    /// A Unix socket that serves gRPC besides TCP
    #[arg(long, value_name = "PATH")]
    pub unix_socket: Option<String>,

    /// Folder of the ledger and the open holds [default: tollgate-data]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<String>,

    /// Catalogue of plans, packs and rates [default: built in]
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<String>,

    /// Store of the hot balances: memory:, or redis://HOST:PORT and its kin [default: memory:]
    #[arg(long, value_name = "URL")]
    pub hot: Option<String>,

    /// The ledger, sqlite://PATH or postgres://USER@HOST:PORT/DATABASE [default: ledger.db in the data folder]
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,

    /// What this process does [default: gateway,admin,settler]
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<String>,

    /// Any key of the configuration, e.g. --set reserve.default_ttl_ms=60000; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Flags {
    /// Key, flag and value of each named flag that was given.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        let all = [
            ("grpc.listen", "--grpc-listen", &self.grpc_listen),
            ("http.listen", "--http-listen", &self.http_listen),
            ("grpc.unix_socket", "--unix-socket", &self.unix_socket),
            ("data_dir", "--data-dir", &self.data_dir),
            ("catalog", "--catalog", &self.catalog),
            ("hot", "--hot", &self.hot),
            ("ledger", "--ledger", &self.ledger),
            ("roles", "--roles", &self.roles),
        ];
        all.into_iter()
            .filter_map(|(key, flag, value)| Some((key, flag, value.as_deref()?)))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self
            .named()
            .map(|(_, flag, value)| (flag.to_owned(), redact(value)));
        let set = self
            .set
            .iter()
            .map(|pair| ("--set".to_owned(), redact(pair)));
        f.debug_map()
            .entry(&"--config", &self.config)
            .entries(named.chain(set))
            .finish()
    }
}
