//! The sockets: bound before anything is served, and everything that can be wrong with them is an
//! error that names the address.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::config::GrpcConfig;

/// Who may connect to the Unix socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The TCP address.
    #[error("grpc.listen {address}: {source}; another address goes with --grpc-listen")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The Unix socket.
    #[error(
        "grpc.unix_socket {}: {source}; another path goes with --unix-socket",
        path.display()
    )]
    Unix {
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
}

impl Sockets {
    /// Binds the TCP address and, where there is one, the Unix socket. The file of a socket that
    /// nobody listens on any more is replaced; any other file is left alone.
    pub async fn bind(config: &GrpcConfig) -> Result<Sockets, BindError> {
        let failed = |source| BindError::Tcp {
            address: config.listen,
            source,
        };
        let tcp = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        let unix = match &config.unix_socket {
            Some(path) => {
                let bound = UnixSocket::bind(path).await;
                let failed = |source| BindError::Unix {
                    path: path.clone(),
                    source,
                };
                Some(bound.map_err(failed)?)
            }
            None => None,
        };
        Ok(Sockets { tcp, address, unix })
    }

    /// The TCP address, with the port that was chosen.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.address
    }

    /// The Unix socket.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|socket| socket.file.path.as_path())
    }
}

/// A Unix socket and its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

impl UnixSocket {
    async fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path).await?;
        let listener = UnixListener::bind(path)?;
        let file = SocketFile::of(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
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
