//! Listeners of a program, and their common end.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::ProgramError;
use crate::server::{Limits, Listener, serve};

/// Connections of the admin listener and of `control.sock`, at most.
pub const OPERATOR_CONNECTIONS_MAX: u32 = 64;

/// Routers that are served, and tasks beside them, until [`Listeners::stop`].
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listeners {
    /// Serves a router on a listener.
    pub fn serve(&self, router: Router, listener: Listener, limits: Limits) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let cut_off = serve(router, listener, limits, stop).await;
            if cut_off > 0 {
                tracing::warn!(
                    connections = cut_off,
                    "connections are cut: they did not end in time"
                );
            }
        });
    }

    /// Runs a task that ends by itself when the token that it is given is cancelled.
    pub fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.clone()));
    }

    /// Takes no more, and returns when what was under way has ended or was cut off.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Listens on an address that a setting names.
///
/// # Errors
/// [`ProgramError::Listen`] names the setting.
pub async fn listen_tcp(
    setting: &'static str,
    address: SocketAddr,
) -> Result<Listener, ProgramError> {
    let bound = TcpListener::bind(address).await;
    bound.map(Listener::Tcp).map_err(|source| ProgramError::Listen {
        setting,
        address: address.to_string(),
        source,
    })
}

/// Listens on a socket in the data folder, for its owner alone. The socket of the last process is
/// still there if that was killed; the folder's lock says that it is dead.
///
/// # Errors
/// [`ProgramError::Listen`] names the path.
pub fn listen_unix(path: &Path) -> Result<Listener, ProgramError> {
    let bound = std::fs::remove_file(path)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| UnixListener::bind(path))
        .and_then(|listener| {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(listener)
        });
    let address = || path.display().to_string();
    bound.map(Listener::Unix).map_err(|source| ProgramError::Listen {
        setting: "data_dir",
        address: address(),
        source,
    })
}
