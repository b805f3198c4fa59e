//! Why a sidecar did not start. Each says what to do about it.

use std::{error::Error, io, net::SocketAddr, path::PathBuf};

use crate::{
    access::AccessError,
    catalogs::CatalogProblems,
    grpc,
    hot::redis::AddressError,
    ledger::{LedgerFault, postgres, redo::RedoError, sqlite::OpenError},
    telemetry::ExportError,
    tls::TlsError,
    workers::reloader::ReloadError,
};

/// Why a sidecar did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can't be made or written to.
    #[error("data_dir {}: {source}; it must be a folder that this user may write to", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the data folder.
    #[error("data_dir {} is in use by another tollgate; give each its own --data-dir", path.display())]
    DataDirInUse {
        /// Which.
        path: PathBuf,
    },
    /// The hot store's URL names no Redis.
    #[error("hot = {url}: {source}")]
    RedisUrl {
        /// Which, without user, password and parameters.
        url: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The root certificates for Redis can't be read.
    #[error("redis.tls_ca {}: {source}; it must be a PEM file, or empty", path.display())]
    RedisCa {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The access file can't be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The ledger can't be opened.
    #[error(transparent)]
    OpenLedger(#[from] OpenError),
    /// The ledger on a Postgres server can't be opened.
    #[error(transparent)]
    OpenPostgres(#[from] postgres::OpenError),
    /// Another process with its balances in memory uses the same ledger.
    #[error(
        "ledger {ledger} is in use by another tollgate with hot = \"memory:\", and only one can \
         keep the balances in its memory"
    )]
    LedgerInUse {
        /// Which, without user, password and parameters.
        ledger: String,
    },
    /// The redo log in front of the ledger can't be used.
    #[error(transparent)]
    Redo(#[from] RedoError),
    /// The ledger failed while the state was restored.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The ledger was started with another number of shards.
    #[error("shards = {wanted}: this ledger was started with {fixed}, and that can't change")]
    Shards {
        /// How many it has.
        fixed: u32,
        /// How many are configured.
        wanted: u32,
    },
    /// The catalogue can't be used.
    #[error(transparent)]
    Catalog(#[from] ReloadError),
    /// A stored catalogue can't be read any more.
    #[error("the ledger's catalogue {version} is damaged:\n{problems}")]
    StoredCatalog {
        /// Its version.
        version: String,
        /// What is wrong with it.
        problems: CatalogProblems,
    },
    /// What was restored does not add up.
    #[error(
        "account {account} does not add up: {broken}; run `tollgate reconcile` on this data folder"
    )]
    BrokenInvariant {
        /// The first account.
        account: String,
        /// What is off.
        broken: String,
    },
    /// The gRPC addresses can't be bound.
    #[error(transparent)]
    Bind(grpc::BindError),
    /// The HTTP address can't be bound.
    #[error("http.listen {address}: {source}; another address goes with --http-listen")]
    BindHttp {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The collector can't be pushed to by this configuration.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A fault of Tollgate's own.
    #[error("starting: {0}")]
    Internal(Box<dyn Error + Send + Sync>),
}
