//! No. 12: the disk answers EIO. Without a device that fails on demand (device mapper), the answer
//! of the kernel is replaced on its way to the process: `strace` lets each sync, and each write at a
//! place in a file, return EIO without being carried out. To the program that is a disk that fails.
//!
//! What it does not show is what the kernel itself does with pages whose write failed.

use std::time::Duration;

use tokio::time::sleep;

use super::ground::{Ground, clear, installation, must_be_answered, must_recover};
use super::machine::FailingCalls;
use super::observe::{Watch, relieved};
use super::report::Finding;
use super::{Stop, TrialArgs};
use crate::population::Rng;

const LINKS: usize = 32;
/// Tracing makes every system call dear, those that succeed as well.
const RATE: u32 = 2000;
/// The ring's and the batches' syncs, the folders', and how SQLite writes.
const CALLS: &str = "msync,fdatasync,fsync,pwrite64";
const BEFORE: Duration = Duration::from_secs(3);
const FAILING: Duration = Duration::from_secs(10);
const RELIEVED_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let installation = installation(args, &args.carom, "disk-errors", &[])?;
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    let rate = args.rate.unwrap_or(RATE);
    let mut finding = Finding::of(format!(
        "each {} of the server returns EIO for {} s (strace), at {rate} redirects a second",
        CALLS.replace(',', ", "),
        FAILING.as_secs()
    ));

    let visitors = ground.visitors(rate, &mut rng);
    sleep(BEFORE).await;
    let watch = Watch::begin(installation.edge_admin());
    visitors.next_phase();
    let log = installation.data_dir().with_file_name("strace.log");
    let failing = FailingCalls::begin(server.pid(), CALLS, "EIO", &log)?;
    sleep(FAILING).await;
    let broken = ground.metrics().await?;
    let failed = failing.end();
    visitors.next_phase();
    let took = relieved(installation.edge_admin(), RELIEVED_MAX).await;
    let (levels, _) = watch.end().await;
    let seen = visitors.end().await?;
    ground.must_live(&mut finding).await?;

    let [spool, sync, ship] = ["spool", "sync", "ship"]
        .map(|what| broken.get(&format!("carom_edge_{what}_errors_total")));
    finding.figure("latency before", seen.latencies(0));
    finding.figure("latency meanwhile, traced", seen.latencies(1));
    finding.figure("levels of pressure seen", format!("{levels:?}"));
    finding.figure("errors counted: spool / sync / ship", format!("{spool} / {sync} / {ship}"));
    let calls = |name: &str| failed.iter().find(|(call, _)| call == name).map_or(0, |call| call.1);
    for call in ["msync", "fdatasync"] {
        let times = calls(call);
        finding.happened(times > 0, format!("{call} failed {times} times"));
    }
    finding.figure("calls that failed", format!("{failed:?}"));
    finding.must(spool > 0 && sync > 0, "the server has counted errors of its spool and its ring");
    must_be_answered(&seen, &mut finding);
    must_recover(took, &mut finding);
    ground.compare(server, &seen, &mut finding).await?;
    clear(args, &installation, &finding)?;
    Ok(finding)
}
