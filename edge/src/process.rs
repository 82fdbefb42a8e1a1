//! What a program that runs an edge has of its process: the clock, the log, what it was given when it
//! was started. For `carom` and `carom-edge` alike.

mod clock;
mod log;
mod sockets;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use clock::SteadyClock;
pub use log::{LogConfig, LogFormat};
pub use sockets::{Inherited, SocketError};

/// Each connection is a descriptor: takes all that the system grants without asking anyone.
pub fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
