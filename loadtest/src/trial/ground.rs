//! What all trials stand on: an installation with links, visitors, and the comparison at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::TrialArgs;
use super::load::{Seen, Visitors};
use super::machine::is_alive;
use super::observe::{Metrics, Stored, relieved};
use super::report::Finding;
use crate::api::{Api, ApiClient, Link};
use crate::failure::Failure;
use crate::http::Connection;
use crate::installation::{Installation, Server};
use crate::traffic::{ONE_USER_AGENT, write_request};

/// How long after a fault a fresh click may take to be visible.
const LIVE_MAX: Duration = Duration::from_secs(5);
/// How long all clicks may take to be stored, after a fault, before that is given up.
pub(super) const STORED_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// An installation whose server runs.
pub(super) struct Ground<'a> {
    pub(super) installation: &'a Installation,
    pub(super) api: Api,
    /// One for each visitor.
    pub(super) links: Vec<Link>,
    /// Nobody's: for fresh clicks.
    probe: Link,
    probed: u64,
}

impl<'a> Ground<'a> {
    /// Makes a key and links on a server that is ready.
    pub(super) async fn prepare(
        installation: &'a Installation,
        links: usize,
    ) -> Result<Ground<'a>, Failure> {
        let api = Api { control: installation.control(), key: installation.create_key().await? };
        let mut client = ApiClient::new(api.clone());
        let mut made = Vec::with_capacity(links + 1);
        for n in 0..=links {
            let code = format!("trial-{n}");
            let url = format!("https://www.example.com/{code}");
            let created = client.create(&url, Some(&code)).await;
            made.push(created.map_err(|error| Failure::new(format!("no link: {error}")))?);
        }
        let probe = made.pop().ok_or_else(|| Failure::new("no link was made"))?;
        Ok(Self { installation, api, links: made, probe, probed: 0 })
    }

    pub(super) fn visitors(&self, rate: u32, rng: &mut crate::population::Rng) -> Visitors {
        Visitors::begin(self.installation.edge(), &self.links, rate, rng)
    }

    pub(super) async fn metrics(&self) -> Result<Metrics, Failure> {
        let metrics = Metrics::read(self.installation.edge_admin()).await;
        metrics.map_err(|error| Failure::new(format!("no metrics: {error}")))
    }

    /// Follows a link nobody else follows; how long until its statistics show it.
    pub(super) async fn fresh_click(&mut self) -> Result<Option<Duration>, Failure> {
        let edge = self.installation.edge();
        let visit = async {
            let mut connection = Connection::open(edge).await?;
            let mut request = String::new();
            let (code, host) = (&self.probe.code, edge.to_string());
            write_request(
                &mut request,
                code,
                &host,
                ONE_USER_AGENT,
                Some("https://fresh.example/"),
            );
            connection.send(request.as_bytes()).await?;
            connection.read_head().await
        };
        let head = visit.await;
        let head = head.map_err(|error| Failure::new(format!("a fresh click: {error}")))?;
        if head.status != 302 {
            return Err(Failure::new(format!("a fresh click was answered {}", head.status)));
        }
        self.probed += 1;
        let begun = Instant::now();
        let mut client = ApiClient::new(self.api.clone());
        while begun.elapsed() < LIVE_MAX * 4 {
            if let Ok(totals) = client.link_totals(&self.probe.id).await
                && totals.sum() >= self.probed
            {
                return Ok(Some(begun.elapsed()));
            }
            sleep(POLL).await;
        }
        Ok(None)
    }

    /// No. 24: the pass figure of every trial.
    pub(super) async fn must_live(&mut self, finding: &mut Finding) -> Result<(), Failure> {
        let visible = self.fresh_click().await?;
        let text = visible.map_or("never".to_owned(), |after| format!("{after:.2?}"));
        let holds = visible.is_some_and(|after| after <= LIVE_MAX);
        finding.must(holds, format!("a fresh click is visible within 5 s: {text}"));
        Ok(())
    }

    /// Waits until everything is stored, stops the server, and compares each link.
    pub(super) async fn compare(
        &self,
        server: Server<'_>,
        seen: &Seen,
        finding: &mut Finding,
    ) -> Result<Stored, Failure> {
        self.compare_with(server, seen, 0, finding).await
    }

    /// The same where so many clicks were set aside.
    pub(super) async fn compare_with(
        &self,
        server: Server<'_>,
        seen: &Seen,
        aside: u64,
        finding: &mut Finding,
    ) -> Result<Stored, Failure> {
        let took = relieved(self.installation.edge_admin(), STORED_MAX).await;
        let text = took.map_or("never".to_owned(), |after| format!("{after:.2?}"));
        finding.figure("after the last answer, nothing waits after", text);
        let metrics = self.metrics().await?;
        let (pid, threads_lost) = (server.pid(), metrics.get("carom_edge_threads_lost"));
        finding.must(is_alive(pid) && threads_lost == 0, "no crash, no thread lost");
        server.stop().await?;
        let dropped = metrics.get("carom_edge_clicks_dropped_total");
        let stored = Stored::read(&self.installation.data_dir().join("clicks.db")).await?;
        self.judge(seen, &stored, dropped + aside, finding);
        Ok(stored)
    }

    /// Exactly what was answered is stored, of each link; of what was cut, at most that.
    pub(super) fn judge(&self, seen: &Seen, stored: &Stored, dropped: u64, finding: &mut Finding) {
        finding.figure("redirects answered / cut / connections refused", {
            format!("{} / {} / {}", seen.answered, seen.cut, seen.refused)
        });
        let sum = stored.sum().saturating_sub(self.probed);
        finding.figure("stored / dropped and counted", format!("{sum} / {dropped}"));
        let mut differing = 0;
        for (link, &(answered, cut)) in self.links.iter().zip(&seen.by_link) {
            let stored = stored.of(&link.id);
            let least = answered.saturating_sub(dropped);
            differing += u64::from(stored < least || stored > answered + cut);
        }
        let text = "stored clicks are the answered ones, link by link; links that differ";
        finding.must(differing == 0, format!("{text}: {differing} of {}", self.links.len()));
        let exact = (seen.answered..=seen.answered + seen.cut).contains(&(sum + dropped));
        let text = format!("stored + dropped = answered: {sum} + {dropped} = {}", seen.answered);
        finding.must(exact, text);
        finding.must(
            stored.integrity == "ok" && stored.rollup_differences == 0,
            format!(
                "the database is whole ({}), its rollup differs in {} rows",
                stored.integrity, stored.rollup_differences
            ),
        );
    }
}

/// No visitor had another answer than the redirect, and none had no answer.
pub(super) fn must_be_answered(seen: &Seen, finding: &mut Finding) {
    let unanswered = seen.cut + seen.refused;
    let text = format!("every redirect is answered: {} wrong, {unanswered} not", seen.wrong);
    finding.must(seen.wrong == 0 && unanswered == 0, text);
    for example in &seen.examples {
        finding.figure("example", example);
    }
}

/// That the way back took at most five seconds.
pub(super) fn must_recover(took: Option<Duration>, finding: &mut Finding) {
    let text = took.map_or("never".to_owned(), |took| format!("{took:.2?}"));
    let holds = took.is_some_and(|took| took <= LIVE_MAX);
    finding.must(holds, format!("it recovers by itself within 5 s: {text}"));
}

/// The installation of a trial, of this program.
pub(super) fn installation(
    args: &TrialArgs,
    carom: &Path,
    name: &str,
    settings: &[&str],
) -> Result<Installation, Failure> {
    Ok(args.place.installation(carom, name)?.with_settings(settings))
}

/// Removes the folder of a trial that holds; of others it is kept for a look.
pub(super) fn clear(
    args: &TrialArgs,
    installation: &Installation,
    finding: &Finding,
) -> Result<(), Failure> {
    if args.place.keep || !finding.holds() { Ok(()) } else { installation.remove() }
}
