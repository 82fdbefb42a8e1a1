//! Gives memory that was freed back to the system.
//!
//! The C library keeps what threads freed, for as long as something small lies behind it: ten
//! thousand connections left 55 MB, and a listing of all routes leaves its overlay. It gives all of
//! that back when it is asked to, which takes 0.1 to 0.3 ms if there is nothing and 13 ms after ten
//! thousand connections; a thread waits only while its own part is looked through. Its settings help
//! nothing here. jemalloc and mimalloc, as they are, had given back half and nothing after seconds,
//! and held more before and meanwhile.

#![expect(unsafe_code, reason = "the C library has this function, and no safe crate does")]

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

const TRIM_EVERY: Duration = Duration::from_secs(60);

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    /// `int malloc_trim(size_t pad)` of the C library: any thread may call it at any time.
    safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

/// Gives back what is free now.
fn trim() {
    // Other C libraries have no such function, and keep less.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    malloc_trim(0);
}

/// Gives back what is free, once a minute. Never ends.
pub(crate) async fn keep_trimmed() {
    let mut minute = interval(TRIM_EVERY);
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minute.tick().await;
        if let Err(error) = spawn_blocking(trim).await {
            tracing::warn!(%error, "memory is not given back");
        }
    }
}
