//! Programs that measure and torture a running Carom: `count`, `kill`, `once`, `redirects`,
//! `creates`, `lists`, `dimensions`, `addresses`, `fill`, `trial`, `compare`, `attack`.
//!
//! Each is a closed loop over real sockets against the real server; nothing of Carom is linked in.
//! An experiment prints a report and ends with 0 if it passed, 1 if it did not, 2 if it could not
//! be carried out, and 3 if this machine lacks what a trial needs.

mod addresses;
mod api;
mod attack;
mod compare;
mod corpus;
mod count;
mod creates;
mod dimensions;
mod failure;
mod fill;
mod fleet;
mod hit_ratio;
mod http;
mod installation;
mod kill;
mod latency;
mod links;
mod lists;
mod once;
mod population;
mod process;
mod redirects;
mod report;
mod restarts;
mod subject;
mod traffic;
mod trial;

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::failure::Failure;

/// Measures and tortures a running Carom.
#[derive(Debug, Parser)]
#[command(name = "carom-loadtest", version)]
struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
    /// Print the report as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Seed of what is drawn at random [default: a new one, which the report names].
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Threads of the load generator; the server needs the other cores.
    #[arg(long, global = true, default_value_t = 1, value_parser = at_least_one)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// Shorten real URLs, follow them, and compare what is stored with what was answered.
    Count(count::CountArgs),
    /// Kill the server under load again and again; nothing may be lost or stored twice.
    Kill(kill::KillArgs),
    /// Send requests with one idempotency key at once and kill the server; each key makes one link.
    Once(once::OnceArgs),
    /// Measure redirects a second and their cost.
    Redirects(redirects::RedirectsArgs),
    /// Measure creates a second and their cost.
    Creates(creates::CreatesArgs),
    /// Measure lists and searches among many links.
    Lists(lists::ListsArgs),
    /// Send a crowd of known visitors; each dimension must show what was sent.
    Dimensions(dimensions::DimensionsArgs),
    /// Search memory and files for the addresses of visitors; after the drain there is none.
    Addresses(addresses::AddressesArgs),
    /// Measure what many clicks cost to store, and reports over them.
    Fill(fill::FillArgs),
    /// Simulate how often an edge's memory knows the link that is asked for.
    HitRatio(hit_ratio::HitRatioArgs),
    /// Measure redirects beside other servers and the least that one can do.
    Compare(compare::CompareArgs),
    /// The least that a server can do; `compare` starts it.
    #[command(hide = true)]
    Floor(compare::floor::FloorArgs),
    /// Attack an edge in many ways; good visitors must not feel it.
    Attack(attack::AttackArgs),
    /// One attack; `attack` starts it.
    #[command(hide = true)]
    Attacker(attack::attacker::AttackerArgs),
    /// Restart and replace the server under load; no visitor may notice.
    Restarts(restarts::RestartsArgs),
    /// Send requests that can be read in two ways, directly and through proxies.
    Corpus(corpus::CorpusArgs),
    /// Bring up control planes, edges and stores on this machine; check that they keep their promises.
    Fleet(fleet::FleetArgs),
    /// Carry out faults of disk, clock, store and people; what was answered must be stored.
    Trial(trial::TrialArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.threads)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&cli)),
        Err(error) => Err(Failure::new(format!("cannot start the threads: {error}"))),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            report::progress(&format!("carom-loadtest: {failure}"));
            ExitCode::from(2)
        }
    }
}

/// How the experiment ended.
async fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    // A report of any experiment: the types have nothing else in common.
    macro_rules! judge {
        ($report:expr) => {{
            let report = $report;
            finish(&report, report.passed(), cli.json)
        }};
    }
    let seed = cli.seed.unwrap_or_else(new_seed);
    match &cli.experiment {
        Experiment::Count(args) => judge!(count::run(args, seed).await?),
        Experiment::Kill(args) => judge!(kill::run(args, seed).await?),
        Experiment::Once(args) => judge!(once::run(args, seed).await?),
        Experiment::Redirects(args) => judge!(redirects::run(args, seed).await?),
        Experiment::Creates(args) => judge!(creates::run(args).await?),
        Experiment::Lists(args) => judge!(lists::run(args, seed).await?),
        Experiment::Dimensions(args) => judge!(dimensions::run(args, seed).await?),
        Experiment::Addresses(args) => judge!(addresses::run(args, seed).await?),
        Experiment::Fill(args) => judge!(fill::run(args, seed).await?),
        Experiment::HitRatio(args) => judge!(hit_ratio::run(args, seed)?),
        Experiment::Compare(args) => judge!(compare::run(args, seed).await?),
        Experiment::Floor(args) => compare::floor::run(args).map(|()| ExitCode::SUCCESS),
        Experiment::Restarts(args) => judge!(restarts::run(args, seed).await?),
        Experiment::Attack(args) => judge!(attack::run(args, seed).await?),
        Experiment::Attacker(args) => attack::attacker::run(args, seed).map(|()| ExitCode::SUCCESS),
        Experiment::Corpus(args) => judge!(corpus::run(args).await?),
        Experiment::Fleet(args) => match &args.command {
            fleet::FleetCommand::Up => fleet::up(&args.place).await.map(|()| ExitCode::SUCCESS),
            fleet::FleetCommand::Check(check) => {
                judge!(fleet::check(&args.place, check, seed).await?)
            }
            fleet::FleetCommand::Faults(faults) => {
                judge!(fleet::faults(&args.place, faults, seed).await?)
            }
            fleet::FleetCommand::Races(races) => {
                judge!(fleet::races(&args.place, races, seed).await?)
            }
        },
        Experiment::Trial(args) => {
            let report = trial::run(args, seed).await?;
            report::print(&report, cli.json)?;
            Ok(report.exit_code())
        }
    }
}

fn finish<R: Serialize + fmt::Display>(
    report: &R,
    passed: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    report::print(report, json)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A number that differs from run to run: the standard library keys its hash maps at random.
fn new_seed() -> u64 {
    // 32 bits are enough to tell runs apart, and short enough to type.
    std::hash::RandomState::new().build_hasher().finish() >> 32
}

/// Reads an option that counts something an experiment cannot do without.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
