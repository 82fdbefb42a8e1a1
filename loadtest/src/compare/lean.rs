//! What an edge of its own takes that has nothing to do: memory before and after its first click.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::apart::{Apart, Program};
use super::generator::{Arrival, Expect, Load};
use super::requests::Links;
use super::servers::import;
use super::usage::Memory;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::population::Rng;
use crate::traffic::{ONE_USER_AGENT, Until};

/// How long it rests before it is looked at: longer than a click takes to its store.
const REST: Duration = Duration::from_secs(3);
/// What it may take, in MB of anonymous and file pages, and what is aimed at.
const IDLE_MB: [f64; 2] = [15.0, 10.0];
const CLICKED_MB: [f64; 2] = [45.0, 30.0];
/// The same of an edge that knows a million links.
const MILLION_MB: [f64; 2] = [260.0, 160.0];
const MILLION: usize = 1_000_000;
const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;

/// Memory of an edge of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Lean {
    /// It is ready, and nobody came.
    pub(crate) idle: Memory,
    /// One visitor came, and the click is stored.
    pub(crate) clicked: Memory,
    /// It knows all links of the comparison and was asked for each.
    pub(crate) full: Memory,
    pub(crate) links: usize,
}

impl Lean {
    /// Starts an edge that knows no link, with a control plane that knows one.
    pub(crate) async fn measure(
        program: Program,
        control: &Path,
        rng: &mut Rng,
    ) -> Result<Self, Failure> {
        let folder = program.folder.clone();
        let settings = program.control_settings();
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let installation =
            Installation::create(control, &folder, "control", program.first_port, None)?
                .with_settings(&settings);
        let links = Links::draw(1, 1.0, rng);
        import(&installation, &links.write(&folder, rng)?.csv).await?;
        let spool = program.spool();
        let edge = Apart::start(program, &installation).await?;
        sleep(REST).await;
        let idle = Memory::of(edge.pid(), Some(&spool))?;
        let load = Load {
            address: edge.address(),
            source: None,
            user_agents: &[ONE_USER_AGENT.to_owned()],
            draws: &links.each_once(rng),
            expect: Expect::TheLink,
            arrival: Arrival::Closed,
            connections: 1,
            reconnects: false,
            until: Until::Requests(1),
            spins: false,
        };
        let faults = load.run()?.faults;
        if !faults.is_empty() {
            return Err(Failure::new(format!(
                "carom-edge does not answer as it should:\n{faults}"
            )));
        }
        sleep(REST).await;
        let clicked = Memory::of(edge.pid(), Some(&spool))?;
        edge.stop().await?;
        fs::remove_dir_all(&folder)
            .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        Ok(Self { idle, clicked, full: Memory::default(), links: 0 })
    }
}

impl fmt::Display for Lean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nmemory of carom-edge, MB{:13}anonymous     files       sum", "")?;
        let is_million = self.links == MILLION;
        for (when, memory, bar) in [
            ("idle".to_owned(), self.idle, Some(IDLE_MB)),
            ("after its first click".to_owned(), self.clicked, Some(CLICKED_MB)),
            (format!("{} links", self.links), self.full, is_million.then_some(MILLION_MB)),
        ] {
            let [anonymous, files] =
                [memory.anonymous_mib, memory.file_mib].map(|mib| mib * BYTES_PER_MIB / 1e6);
            let bar = bar.map(|[bar, aim]| format!("  (bar {bar}, aim {aim})")).unwrap_or_default();
            writeln!(
                f,
                "  {when:<34}{anonymous:>10.1}{files:>10.1}{:>10.1}{bar}",
                anonymous + files
            )?;
        }
        Ok(())
    }
}
