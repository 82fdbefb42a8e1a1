//! No. 7: the click store is away until the outbox is at its quota, and comes back.
//!
//! Another process holds the write lock of the click database: to Carom that is a store which does
//! not answer, for as long as one likes, and it needs no special build.

use std::time::Duration;

use tokio::time::sleep;

use super::ground::{Ground, clear, installation, must_be_answered, must_recover};
use super::machine::DatabaseLock;
use super::observe::{Watch, relieved};
use super::report::Finding;
use super::{Stop, TrialArgs};
use crate::population::Rng;

const LINKS: usize = 50;
const RATE: u32 = 5000;
/// A quota that this load reaches in seconds. Batches are small, so that most of them were never
/// sent: those that may have been cannot be compacted.
const SETTINGS: [&str; 2] = ["spool.max_bytes=196608", "spool.flush_ms=100"];
const BEFORE: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_secs(40);
/// The backlog of the outage may take so long, and the store's own wait for the lock.
const RELIEVED_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let installation = installation(args, &args.carom, "store-away", &SETTINGS)?;
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    let rate = args.rate.unwrap_or(RATE);
    let mut finding = Finding::of(format!(
        "the write lock of clicks.db is held from outside for {} s, at {rate} redirects a second, \
         with an outbox of 192 KiB",
        AWAY.as_secs()
    ));

    let visitors = ground.visitors(rate, &mut rng);
    sleep(BEFORE).await;
    let watch = Watch::begin(installation.edge_admin());
    visitors.next_phase();
    let lock = DatabaseLock::take(&installation.data_dir().join("clicks.db"))?;
    sleep(AWAY).await;
    let full = ground.metrics().await?;
    drop(lock);
    visitors.next_phase();
    let took = relieved(installation.edge_admin(), RELIEVED_MAX).await;
    let (levels, _) = watch.end().await;
    let seen = visitors.end().await?;
    ground.must_live(&mut finding).await?;

    let after = ground.metrics().await?;
    let compacted = after.get("carom_edge_clicks_compacted_total");
    let counted = after.get("carom_edge_clicks_counted_total");
    finding.figure("latency before", seen.latencies(0));
    finding.figure("latency while the store is away", seen.latencies(1));
    let bytes = [full.get("carom_edge_outbox_bytes"), full.get("carom_edge_outbox_bytes_limit")];
    finding.figure("outbox at the end of the outage, of its quota", format!("{bytes:?} bytes"));
    finding.figure("levels of pressure seen", format!("{levels:?}"));
    finding.figure("clicks compacted / counted", format!("{compacted} / {counted}"));
    finding.happened(levels.contains(&1), "the store was away (level 1)");
    finding.happened(compacted > 0, format!("the outbox was compacted: {compacted} clicks"));
    must_be_answered(&seen, &mut finding);
    must_recover(took, &mut finding);
    let stored = ground.compare(server, &seen, &mut finding).await?;
    finding.must(
        stored.without_referrer == compacted + counted,
        format!(
            "clicks without detail are those reported: {} = {compacted} + {counted}",
            stored.without_referrer
        ),
    );
    clear(args, &installation, &finding)?;
    Ok(finding)
}
