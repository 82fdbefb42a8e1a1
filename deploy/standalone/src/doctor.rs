//! `carom doctor`: looks at an installation from outside, and says what is wrong and what to do.
//!
//! It changes nothing and holds nobody up: files are only read, the folder's lock is not kept, and
//! what only the process that serves knows is asked of it ([`process`]). Each file of `doctor/`
//! looks at one area and returns its findings; nothing there prints.

mod clickhouse;
mod finding;
mod folder;
mod process;
mod redis;
mod settings;
mod spool;
mod stores;
mod system;

use clap::Args;

use carom_control::check::Depth;
use carom_edge::spool::inspect::{Found, Look, inspect};
use carom_shared::{Clock, SystemClock};

pub(crate) use finding::{Finding, Level, Report};
pub(crate) use process::Probe;

use crate::cli::runtime;
use crate::data_dir::spool_path;
use crate::error::CommandError;
use crate::output;
use crate::settings::Settings;
use finding::{Area, Findings};
use process::Presence;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Also read every byte of what waits, every index, and compare sums with their rows
    #[arg(long)]
    deep: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    pub(crate) fn run(
        self,
        settings: &Settings,
        environment: &[(String, String)],
    ) -> Result<(), CommandError> {
        let depth = if self.deep { Depth::Deep } else { Depth::Quick };
        let report = runtime()?.block_on(examine(settings, depth, &SystemClock));
        if self.json {
            output::json(&report)?;
        } else {
            output::doctor::report(&report, environment)?;
        }
        if report.errors > 0 { Err(CommandError::Unwell) } else { Ok(()) }
    }
}

async fn examine(settings: &Settings, depth: Depth, clock: &dyn Clock) -> Report {
    let now = clock.now();
    let dir = &settings.data_dir;
    let presence = Presence::of(dir).await;
    let is_live = presence.is_live();
    let look = Look { is_deep: depth == Depth::Deep, is_live };
    let threads = settings.edge.thread_count();
    let spool = inspect(&spool_path(dir), &settings.spool, threads, look);
    let reserved = spool.as_ref().map_or(0, |found| found.ring_bytes);

    let mut findings = process::examine(&presence).into_inner();
    findings.extend(folder::examine(dir, &presence, now, reserved).into_inner());
    if presence != Presence::Missing {
        let waiting = spool.as_ref().map_or(&[][..], |found: &Found| &found.batches);
        let look = stores::Look { depth, is_live, waiting, now };
        match settings.control_config().stores() {
            Ok(stores) => findings.extend(stores::examine(&stores, &look).await.into_inner()),
            // Told with the settings.
            Err(_) => findings.extend(Findings::of(Area::Stores).into_inner()),
        }
        let config = settings.control_config();
        findings.extend(clickhouse::examine(&config, clock).await.into_inner());
        findings.extend(redis::examine(&settings.redis).await.into_inner());
        findings.extend(spool::examine(&spool, is_live).into_inner());
    }
    findings.extend(system::examine(settings, &presence, now).into_inner());
    findings.extend(settings::examine(settings, &presence, now).into_inner());
    Report {
        verdict: findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok),
        version: env!("CARGO_PKG_VERSION"),
        data_dir: dir.display().to_string(),
        is_serving: matches!(presence, Presence::Serving(_)),
        is_deep: depth == Depth::Deep,
        errors: Report::count(&findings, Level::Error),
        warnings: Report::count(&findings, Level::Warning),
        notices: Report::count(&findings, Level::Notice),
        findings,
    }
}
