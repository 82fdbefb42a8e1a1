//! Carom in one process: the edge and the control plane on embedded stores, and the command line.
//!
//! `carom` alone is `carom serve`. The other commands speak to the `serve` that holds the data
//! folder, over `control.sock`; where none does, they take the folder's lock and do the same work
//! themselves ([`operator`]).

mod backup;
mod cli;
mod compose;
mod csv;
mod data_dir;
mod doctor;
mod error;
mod export;
mod import;
mod moving;
mod operator;
mod output;
mod serve;
mod settings;
mod stats;
mod upgrade;

use std::alloc::System;
use std::process::ExitCode;

use carom_control::program::ProgramError;
use carom_edge::process::Inherited;
use clap::Parser;
use listenfd::ListenFd;

use cli::Cli;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is zeroed. The buffers of connections hold what visitors sent, their addresses among
/// it where a proxy names them, and nobody but the allocator sees the last of a buffer.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // Not `vars()`: it panics where a variable of somebody else is not Unicode.
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let program = std::env::args().next().unwrap_or_else(|| "carom".to_owned());
    let done = Inherited::take(&environment, &mut ListenFd::from_env())
        .map_err(|error| ProgramError::from(error).into())
        .and_then(|inherited| Cli::parse().run(&environment, inherited, &program));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            error.exit_code()
        }
    }
}
