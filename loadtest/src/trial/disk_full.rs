//! No. 10: another program fills the disk while visitors come, and gives it back.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::ground::{Ground, clear, installation, must_be_answered, must_recover};
use super::machine::SmallDisk;
use super::observe::{Watch, relieved};
use super::report::Finding;
use super::{Stop, TrialArgs};
use crate::api::ApiClient;
use crate::population::Rng;

const LINKS: usize = 64;
const RATE: u32 = 20_000;
const DISK_MIB: u64 = 384;
/// Rings that this load fills while the disk is full, so that every level is reached.
const SETTINGS: [&str; 1] = ["spool.ring_bytes=16777216"];
const BEFORE: Duration = Duration::from_secs(4);
const FULL: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(3);
const REFILL: Duration = Duration::from_millis(50);
const RELIEVED_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let installation = installation(args, &args.carom, "disk-full", &SETTINGS)?;
    let image = installation.data_dir().with_file_name("disk.img");
    let disk = SmallDisk::mount(&image, &installation.data_dir(), DISK_MIB)?;
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    let rate = args.rate.unwrap_or(RATE);
    let mut finding = Finding::of(format!(
        "a filler takes all that is left of an ext4 of {DISK_MIB} MiB for {} s, at {rate} \
         redirects a second",
        FULL.as_secs()
    ));

    let visitors = ground.visitors(rate, &mut rng);
    sleep(BEFORE).await;
    let watch = Watch::begin(installation.edge_admin());
    visitors.next_phase();
    let begun = Instant::now();
    let mut filled = disk.fill();
    let mut create = None;
    while begun.elapsed() < FULL {
        sleep(REFILL).await;
        filled += disk.fill();
        if create.is_none() && begun.elapsed() > FULL / 2 {
            let mut client = ApiClient::new(ground.api.clone());
            create = Some(match client.create("https://www.example.com/full", None).await {
                Ok(_) => "acknowledged".to_owned(),
                Err(error) => error.to_string(),
            });
        }
    }
    let full = ground.metrics().await?;
    disk.free()?;
    visitors.next_phase();
    let took = relieved(installation.edge_admin(), RELIEVED_MAX).await;
    sleep(AFTER).await;
    let (levels, silence) = watch.end().await;
    let seen = visitors.end().await?;
    ground.must_live(&mut finding).await?;

    let errors = full.get("carom_edge_spool_errors_total");
    finding.figure("taken by the filler", format!("{} MiB", filled >> 20));
    finding.figure("latency before", seen.latencies(0));
    finding.figure("latency while the disk is full", seen.latencies(1));
    finding.figure("latency afterwards", seen.latencies(2));
    finding.figure("levels of pressure seen", format!("{levels:?}"));
    finding.figure("longest silence of the admin listener", format!("{silence:.2?}"));
    let counted = ground.metrics().await?.get("carom_edge_clicks_counted_total");
    finding.figure("clicks that were only counted", counted);
    finding.figure("a create while the disk was full", create.unwrap_or_default());
    finding.happened(filled > 0 && errors > 0, format!("writes of the spool failed: {errors}"));
    finding.happened(levels.iter().any(|&level| level >= 3), "no batch could be written (level 3)");
    must_be_answered(&seen, &mut finding);
    must_recover(took, &mut finding);
    ground.compare(server, &seen, &mut finding).await?;
    drop(disk);
    clear(args, &installation, &finding)?;
    Ok(finding)
}
