//! `carom-control`: the control plane of a fleet, as many of them as are wanted on one PostgreSQL.

use std::process::ExitCode;

use listenfd::ListenFd;

fn main() -> ExitCode {
    // Not `vars()`: it panics at what is not Unicode, also somebody else's.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let arguments = std::env::args_os().collect();
    carom_control::program::run(environment, arguments, &mut ListenFd::from_env())
}
