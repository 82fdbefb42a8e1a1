//! No. 11: the disk takes 1 MiB and 10 writes a second, and the process has little memory, so that
//! the kernel has nowhere to put what it cannot write.

use std::time::Duration;

use tokio::time::sleep;

use super::ground::{Ground, clear, installation, must_be_answered};
use super::machine::{MemoryLimit, SmallDisk, Throttle, Wrapper};
use super::observe::{Watch, relieved};
use super::report::Finding;
use super::{Stop, TrialArgs};
use crate::population::Rng;

const LINKS: usize = 64;
const RATE: u32 = 20_000;
const DISK_MIB: u64 = 1024;
const BYTES_A_SECOND: u64 = 1 << 20;
const WRITES_A_SECOND: u64 = 10;
const BEFORE: Duration = Duration::from_secs(8);
const SLOW: Duration = Duration::from_secs(20);
const RELIEVED_MAX: Duration = Duration::from_secs(120);
/// The pass figure for an answer, while a ring has room.
const LATENCY_MAX_MS: f64 = 50.0;

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let memory = MemoryLimit::make(args.memory_mib << 20)?;
    let wrapper = Wrapper::make(&args.carom, "disk-slow", &memory.enter())?;
    let installation = installation(args, wrapper.path(), "disk-slow", &[])?;
    let image = installation.data_dir().with_file_name("disk.img");
    let disk = SmallDisk::mount(&image, &installation.data_dir(), DISK_MIB)?;
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    let rate = args.rate.unwrap_or(RATE);
    let mut finding = Finding::of(format!(
        "the loop device below the data folder takes 1 MiB and {WRITES_A_SECOND} writes a second \
         for {} s, the process has {} MiB, at {rate} redirects a second",
        SLOW.as_secs(),
        args.memory_mib
    ));

    let visitors = ground.visitors(rate, &mut rng);
    sleep(BEFORE).await;
    let drained = ground.metrics().await?.get("carom_edge_batches_shipped_total");
    let watch = Watch::begin(installation.edge_admin());
    visitors.next_phase();
    let throttle = Throttle::begin(&disk, BYTES_A_SECOND, WRITES_A_SECOND)?;
    sleep(SLOW).await;
    let slow = ground.metrics().await?;
    drop(throttle);
    visitors.next_phase();
    let took = relieved(installation.edge_admin(), RELIEVED_MAX).await;
    let (levels, silence) = watch.end().await;
    let seen = visitors.end().await?;
    ground.must_live(&mut finding).await?;

    let shipped = slow.get("carom_edge_batches_shipped_total") - drained;
    finding.figure("latency before", seen.latencies(0));
    finding.figure("latency while the disk is slow", seen.latencies(1));
    finding.figure("latency afterwards", seen.latencies(2));
    finding.figure("batches stored meanwhile", shipped);
    finding.figure("levels of pressure seen", format!("{levels:?}"));
    finding.figure("longest silence of the admin listener", format!("{silence:.2?}"));
    let took = took.map_or("never".to_owned(), |took| format!("{took:.2?}"));
    finding.figure("when the disk is itself again, nothing waits after", took);
    finding.figure("times that memory was short", memory.shortages());
    let expected = SLOW.as_secs() / 2;
    finding.happened(shipped < expected, format!("the store was held up: {shipped} batches"));
    must_be_answered(&seen, &mut finding);
    let (before, slow) = (seen.quantile_ms(0, 999), seen.quantile_ms(1, 999));
    let text = format!("p99.9 is at most twice what it was: {slow:.2} ms, was {before:.2} ms");
    finding.must(slow <= 2.0 * before, text);
    let longest = seen.quantile_ms(1, 1000);
    let text = format!("the longest answer took less than 50 ms: {longest:.2} ms");
    finding.must(longest < LATENCY_MAX_MS, text);
    ground.compare(server, &seen, &mut finding).await?;
    drop(disk);
    clear(args, &installation, &finding)?;
    Ok(finding)
}
