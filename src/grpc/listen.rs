//! The sockets: bound before anything is served, and everything that can be wrong with them is an
//! error that names the address.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::config::{AdminConfig, GrpcConfig};

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The TCP address.
    #[error("{key} {address}: {source}; another address goes with {flag}")]
    Tcp {
        /// Its key in the configuration.
        key: &'static str,
        /// The flag that names another.
        flag: &'static str,
        /// Which.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The Unix socket.
    #[error("{key} {}: {source}; another path goes with {flag}", path.display())]
    Unix {
        /// Its key in the configuration.
        key: &'static str,
        /// The flag that names another.
        flag: &'static str,
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The sockets that are bound, and not served yet.
#[derive(Debug)]
pub struct Sockets {
    pub(super) tcp: TcpListener,
    address: SocketAddr,
    pub(super) unix: Option<UnixSocket>,
    /// Those of AdminService alone; absent: it is served by the others.
    pub(super) admin: Option<AdminSockets>,
}

/// The sockets that serve AdminService alone, at least one.
#[derive(Debug)]
pub(super) struct AdminSockets {
    pub(super) tcp: Option<(TcpListener, SocketAddr)>,
    pub(super) unix: Option<UnixSocket>,
}

impl Sockets {
    /// Binds the TCP address and, where there is one, the Unix socket. The file of a socket that
    /// nobody listens on any more is replaced; any other file is left alone.
    pub async fn bind(config: &GrpcConfig) -> Result<Sockets, BindError> {
        let (tcp, address) = tcp("grpc.listen", "--grpc-listen", config.listen).await?;
        let (path, mode) = (config.unix_socket.as_deref(), config.unix_socket_mode);
        Ok(Sockets {
            tcp,
            address,
            unix: unix("grpc.unix_socket", "--unix-socket", path, mode).await?,
            admin: None,
        })
    }

    /// Binds those of AdminService besides, where it has its own.
    pub async fn and_admin(
        mut self,
        grpc: &GrpcConfig,
        admin: &AdminConfig,
    ) -> Result<Sockets, BindError> {
        if !admin.is_apart() {
            return Ok(self);
        }
        let flag = "--set admin.listen=…";
        let tcp = match admin.listen {
            Some(address) => Some(tcp("admin.listen", flag, address).await?),
            None => None,
        };
        let (path, mode) = (admin.unix_socket.as_deref(), grpc.unix_socket_mode);
        let flag = "--set admin.unix_socket=…";
        let unix = unix("admin.unix_socket", flag, path, mode).await?;
        self.admin = Some(AdminSockets { tcp, unix });
        Ok(self)
    }

    /// The TCP address, with the port that was chosen.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.address
    }

    /// The TCP address of AdminService, where it has one of its own.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        let (_, address) = self.admin.as_ref()?.tcp.as_ref()?;
        Some(*address)
    }

    /// The Unix socket.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|socket| socket.file.path.as_path())
    }
}

async fn tcp(
    key: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Tcp {
        key,
        flag,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let chosen = listener.local_addr().map_err(failed)?;
    Ok((listener, chosen))
}

async fn unix(
    key: &'static str,
    flag: &'static str,
    path: Option<&Path>,
    mode: u32,
) -> Result<Option<UnixSocket>, BindError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let failed = |source| BindError::Unix {
        key,
        flag,
        path: path.to_owned(),
        source,
    };
    UnixSocket::bind(path, mode).await.map(Some).map_err(failed)
}

/// A Unix socket and its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

impl UnixSocket {
    async fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path).await?;
        let listener = UnixListener::bind(path)?;
        let file = SocketFile::of(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(UnixSocket { listener, file })
    }
}

/// Removes what a process that is gone left behind.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is not a socket",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// The file of a bound socket, removed with this value unless another process has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let inode = inode(path)?;
        Ok(SocketFile {
            path: path.to_owned(),
            inode,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays behind");
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
