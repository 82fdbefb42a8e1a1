//! What each of Carom's programs has of its process: the clock, the log, signals, the folder that it
//! has to itself, its settings file, what it was given when it was started, and whose certificates it trusts.
//!
//! For `carom`, `carom-control` and `carom-edge` alike, so that they are told things in one way. It
//! knows nothing of links and clicks.
#![forbid(unsafe_code)]

mod clock;
mod folder;
mod log;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod otel;
mod settings_file;
mod signals;
mod sockets;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Once;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

pub use clock::SteadyClock;
pub use folder::lock_folder;
pub use log::{LogConfig, LogFormat};
#[cfg(not(feature = "tls"))]
pub use no_tls::{Tls, TlsStream, explain_tls};
pub use otel::{OtelConfig, Ratio, Traces};
pub use settings_file::{FileError, read_settings_file};
pub use signals::Signals;
pub use sockets::{Inherited, SocketError};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsStream, explain_tls};

/// `EX_USAGE` of BSD's sysexits: a start was refused because of what was said, not of what is.
pub const EXIT_SETTINGS: u8 = 64;

/// Each connection is a descriptor: takes all that the system grants without asking anyone.
pub fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The runtime of a program that serves.
///
/// # Errors
/// If the system grants no threads.
pub fn serving_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    serving().build()
}

/// The runtime of a program in which the edge's threads answer visitors: everything else runs here, and
/// stands [`BEHIND_VISITORS`].
///
/// # Errors
/// If the system grants no threads.
pub fn background_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    serving().on_thread_start(|| stand_back(BEHIND_VISITORS)).build()
}

fn serving() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_name("background").enable_all();
    builder
}

/// The niceness of what visitors do not wait for.
///
/// The kernel gives such a thread a tenth of what one of the edge's threads gets, where both want all of
/// a processor. With 19 it were a seventieth: too little to apply changes in time.
pub const BEHIND_VISITORS: i32 = 10;

/// Gives this thread, and those that it starts from now on, a niceness (1 to 19; `setpriority(2)`).
///
/// It cannot be taken back without a privilege. A sandbox may forbid it: then that is said once, and visitors
/// wait longer for the processor under load.
pub fn stand_back(niceness: i32) {
    static SAID: Once = Once::new();
    if let Err(error) = setpriority_process(None, niceness) {
        SAID.call_once(|| {
            tracing::warn!(%error, "threads cannot stand back for visitors: allow setpriority(2)");
        });
    }
}
