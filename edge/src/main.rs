//! `carom-edge`: redirects without a database, kept up to date by a control plane elsewhere.

mod program;

use std::alloc::System;
use std::process::ExitCode;

use listenfd::ListenFd;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is zeroed. The buffers of connections hold what visitors sent, their addresses among
/// it where a proxy names them, and nobody but the allocator sees the last of a buffer.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // Not `vars()` and `args()`: they panic at what is not Unicode, also somebody else's.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let arguments = std::env::args_os().skip(1).collect();
    program::run(environment, arguments, &mut ListenFd::from_env())
}
