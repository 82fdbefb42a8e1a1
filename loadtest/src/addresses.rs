//! `addresses`: after the drain, neither the server's memory nor its files have the address of a
//! visitor.
//!
//! Visitors come through a trusted proxy, so their addresses are known. While they come, the search
//! must find some in memory and in files: else it proves nothing. When they have gone and their
//! clicks are stored, it must find none.

mod search;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::api::{Api, ApiClient, Totals};
use crate::count::{routes, wait_for_totals};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::links::{self, Enough};
use crate::population::{Rng, Zipf, made_up_urls};
use crate::report::progress;
use crate::subject::PlaceArgs;
use crate::traffic::{Ask, Faults, ONE_USER_AGENT, Seen, Traffic, Until};
use search::{Found, Known};

const LINKS: usize = 10;
const VISIBLE_MAX: Duration = Duration::from_secs(60);
/// From then on everything is done that the server does after a click.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(crate) struct AddressesArgs {
    /// The `carom` to start, with an empty data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// How long visitors come, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Addresses with IPv4, and as many with IPv6.
    #[arg(long, default_value_t = 64, value_parser = crate::at_least_one)]
    addresses: usize,
    /// Connections of visitors, one request in flight on each.
    #[arg(long, default_value_t = 32, value_parser = crate::at_least_one)]
    connections: usize,
}

/// What was found: how often, by place and form.
#[derive(Debug, Serialize)]
pub(crate) struct AddressesReport {
    seed: u64,
    addresses: usize,
    answered: u64,
    faults: Faults,
    memory_while_they_come: Found,
    files_while_they_come: Found,
    memory_afterwards: Found,
    files_afterwards: Found,
}

impl AddressesReport {
    /// That the search finds what is there, and that nothing is. In the files the search may come
    /// too late, as a click is erased with its batch; the mapped segments it finds are those files.
    pub(crate) fn passed(&self) -> bool {
        !self.memory_while_they_come.is_empty()
            && self.memory_afterwards.is_empty()
            && self.files_afterwards.is_empty()
            && self.faults.is_empty()
    }
}

pub(crate) async fn run(args: &AddressesArgs, seed: u64) -> Result<AddressesReport, Failure> {
    let installation = args
        .place
        .installation(&args.carom, "addresses")?
        .with_settings(&["edge.trusted_proxies=[\"127.0.0.1\"]"]);
    let report = measure(args, seed, &installation).await?;
    if report.passed() && !args.place.keep {
        installation.remove()?;
    }
    Ok(report)
}

async fn measure(
    args: &AddressesArgs,
    seed: u64,
    installation: &Installation,
) -> Result<AddressesReport, Failure> {
    let mut rng = Rng::new(seed);
    let known = Arc::new(Known::draw(args.addresses, &mut rng));
    let mut server = installation.start()?;
    server.ready().await?;
    let pid = server.pid();
    let api = Api { control: installation.control(), key: installation.create_key().await? };
    let urls: Arc<[String]> = made_up_urls(LINKS).into();
    let links = links::create(&api, &urls, 1, Enough::Accepted(LINKS)).await?.links;

    progress("letting visitors come");
    let ask = |address: &std::net::IpAddr| {
        let mut ask = Ask::with_agent(ONE_USER_AGENT);
        ask.headers.push_str(&format!("X-Forwarded-For: {address}\r\n"));
        ask
    };
    let time = Duration::from_secs(args.seconds);
    let traffic = Traffic {
        edge: installation.edge(),
        host: installation.edge().to_string(),
        routes: routes(&links),
        zipf: Zipf::new(links.len(), 0.0),
        asks: known.addresses.iter().map(ask).collect(),
        is_logged: false,
        connections: args.connections,
        until: Until::Elapsed(time),
    };
    let searching = search_meanwhile(&known, pid, installation, time);
    let Seen { answered, faults, .. } = traffic.run(&mut rng).await?;
    let (memory_while_they_come, files_while_they_come) =
        searching.await.map_err(|error| Failure::new(format!("the search died: {error}")))??;

    progress("waiting until their clicks are stored");
    let mut client = ApiClient::new(api);
    let stored = wait_for_totals(&mut client, &Totals::default(), answered, VISIBLE_MAX).await?;
    if stored.grown.is_none_or(|grown| grown.sum() != answered) {
        return Err(Failure::new(format!("not all of {answered} clicks were stored")));
    }
    sleep(SETTLE).await;
    progress("searching");
    let search = |folder: &Installation| {
        Ok((known.search_memory(pid)?, known.search_folder(&folder.data_dir())?))
    };
    let (memory_afterwards, files_afterwards) =
        search(installation).map_err(|error| cannot_search(&error))?;
    server.stop().await?;
    Ok(AddressesReport {
        seed,
        addresses: known.addresses.len(),
        answered,
        faults,
        memory_while_they_come,
        files_while_they_come,
        memory_afterwards,
        files_afterwards,
    })
}

/// Searches in a thread of its own, again and again while visitors come; the sums.
fn search_meanwhile(
    known: &Arc<Known>,
    pid: u32,
    installation: &Installation,
    time: Duration,
) -> JoinHandle<Result<(Found, Found), Failure>> {
    let (known, folder) = (Arc::clone(known), installation.data_dir());
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || {
        let (mut memory, mut files) = (Found::new(), Found::new());
        // A segment holds a click until it is drained: mostly none, and then some.
        while begun.elapsed() < time * 9 / 10 && (memory.is_empty() || files.is_empty()) {
            if memory.is_empty() {
                memory = known.search_memory(pid).map_err(|error| cannot_search(&error))?;
            }
            if files.is_empty() {
                files = known.search_folder(&folder).map_err(|error| cannot_search(&error))?;
            }
        }
        Ok((memory, files))
    })
}

fn cannot_search(error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot search the server's memory and files (as root?): {error}"))
}

impl fmt::Display for AddressesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "none is left" } else { "NOT PASSED" };
        writeln!(f, "addresses: {verdict} (seed {})", self.seed)?;
        writeln!(f, "  clicks                {} of {} addresses", self.answered, self.addresses)?;
        write!(f, "{}", self.faults)?;
        for (what, found) in [
            ("memory, while they come", &self.memory_while_they_come),
            ("files, while they come", &self.files_while_they_come),
            ("memory, after the drain", &self.memory_afterwards),
            ("files, after the drain", &self.files_afterwards),
        ] {
            writeln!(f, "  {what:<25} {} found", found.values().sum::<u64>())?;
            found.iter().try_for_each(|(place, n)| writeln!(f, "    {n} x {place}"))?;
        }
        Ok(())
    }
}
