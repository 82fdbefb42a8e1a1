//! `trial`: faults of disk, clock, store and people, carried out on a running Carom.
//!
//! Each trial starts a server of its own, lets visitors come, does something terrible, takes it
//! back, and then compares what visitors were answered with what is stored, link by link. Unlike
//! `kill` it asks for no detail of a click: where there is no room, detail is what Carom may give
//! up. A trial has four ends:
//!
//! - it **holds**: every pass figure was reached,
//! - it **fails**: one was not,
//! - it is **void**: the fault did not happen, so that it says nothing,
//! - it is **not possible here**: the machine lacks what makes the fault.
//!
//! The last two are never a pass. After each fault the server is asked to live: one fresh click
//! must be visible in its link's statistics within five seconds.

mod clock;
mod disk_errors;
mod disk_full;
mod disk_slow;
mod ground;
mod load;
mod machine;
mod observe;
mod poison;
mod report;
mod sigterm;
mod store_away;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::report::progress;
use crate::subject::PlaceArgs;
pub(crate) use observe::Stored;
use report::{Finding, Impossible, TrialReport};

#[derive(Debug, Args)]
pub(crate) struct TrialArgs {
    /// Which trial; `all` is each of them in turn.
    #[arg(value_enum)]
    name: Choice,
    /// The `carom` to start, with a data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// An older `carom`, whose full spool the trial `upgrade` hands to the new one.
    #[arg(long, value_name = "PROGRAM")]
    older: Option<PathBuf>,
    /// Redirects a second that visitors ask for [default: what suits the trial].
    #[arg(long)]
    rate: Option<u32>,
    /// Memory that the trial `disk-slow` lets the server have, in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(64..))]
    memory_mib: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    All,
    /// The click store is away until the outbox is at its quota, and comes back.
    StoreAway,
    /// The disk is full, and then is not.
    DiskFull,
    /// The disk takes 1 MiB and 10 writes a second, and memory is limited.
    DiskSlow,
    /// Every sync and every write of the databases fails with EIO.
    DiskErrors,
    /// The clock jumps an hour, to 1970, to 2105.
    Clock,
    /// Requests and batches that nobody should send.
    Poison,
    /// A full spool meets a newer program, and a newer spool an older one.
    Upgrade,
    /// SIGTERM under as much load as the machine gives.
    Sigterm,
}

/// In the order of the plan, with their numbers there.
const TRIALS: [(Choice, &str); 8] = [
    (Choice::StoreAway, "store-away"),
    (Choice::DiskFull, "disk-full"),
    (Choice::DiskSlow, "disk-slow"),
    (Choice::DiskErrors, "disk-errors"),
    (Choice::Clock, "clock"),
    (Choice::Poison, "poison"),
    (Choice::Upgrade, "upgrade"),
    (Choice::Sigterm, "sigterm"),
];

/// Why a trial has no finding.
#[derive(Debug)]
enum Stop {
    /// The machine lacks something.
    Impossible(Impossible),
    /// It broke off; the reason may be the server's.
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Impossible> for Stop {
    fn from(impossible: Impossible) -> Self {
        Self::Impossible(impossible)
    }
}

pub(crate) async fn run(args: &TrialArgs, seed: u64) -> Result<TrialReport, Failure> {
    let mut report = TrialReport::new(seed);
    for (choice, name) in TRIALS {
        if args.name == Choice::All || args.name == choice {
            progress(&format!("trial {name}"));
            let found = one(args, choice, seed).await;
            report.add(name, found);
        }
    }
    Ok(report)
}

async fn one(args: &TrialArgs, choice: Choice, seed: u64) -> Result<Finding, Stop> {
    match choice {
        Choice::StoreAway => store_away::run(args, seed).await,
        Choice::DiskFull => disk_full::run(args, seed).await,
        Choice::DiskSlow => disk_slow::run(args, seed).await,
        Choice::DiskErrors => disk_errors::run(args, seed).await,
        Choice::Clock => clock::run(args, seed).await,
        Choice::Poison => poison::run(args, seed).await,
        Choice::Upgrade => upgrade::run(args, seed).await,
        Choice::Sigterm => sigterm::run(args, seed).await,
        Choice::All => Err(Failure::new("`all` is not one trial").into()),
    }
}

impl TrialReport {
    /// 0: all hold; 1: one failed, is void or broke off; 3: none did, but one is not possible here.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match (self.has_failed(), self.has_impossible()) {
            (true, _) => ExitCode::from(1),
            (false, true) => ExitCode::from(3),
            (false, false) => ExitCode::SUCCESS,
        }
    }
}
