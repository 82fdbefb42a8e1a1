//! No. 14: the wall clock jumps while visitors come: an hour ahead and back, to 1970, to 2105.
//!
//! libfaketime moves what the process reads as the wall clock. The monotonic clock is left alone:
//! no machine's jumps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use super::ground::{Ground, clear, installation, must_be_answered};
use super::machine::{SCRATCH, Wrapper};
use super::report::{Finding, Impossible};
use super::{Stop, TrialArgs};
use crate::failure::Failure;
use crate::population::Rng;

const LINKS: usize = 32;
const RATE: u32 = 2000;
/// How long the clock stays at each place.
const STAY: Duration = Duration::from_secs(6);
/// Where Debian's package `libfaketime` puts it.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];
/// Jumps are in seconds: there, and what is the same on the way back.
const HOUR_S: i64 = 3600;
const TO_1970_S: i64 = 86_400;
const TO_2105_S: i64 = 4_260_211_200;
/// No click may be dated before the trial by more than this, or after it by more than the other.
const EARLY_MAX_S: i64 = 35 * 86_400;
const LATE_MAX_S: i64 = 600;
/// The library's reading of its file may be a second old.
const DATE_TOLERANCE_S: i64 = 5;

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let library = LIBRARIES.iter().find(|path| Path::new(path).exists()).ok_or_else(|| {
        Impossible("libfaketime is not installed (Debian: `apt install libfaketime`)".to_owned())
    })?;
    let jump = Jump::file(Path::new(SCRATCH));
    jump.to(0)?;
    let wrapper = Wrapper::make(&args.carom, "clock", &jump.environment(library))?;
    let installation = installation(args, wrapper.path(), "clock", &[])?;
    let begun_s = jiff::Timestamp::now().as_second();
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    let rate = args.rate.unwrap_or(RATE);
    let mut finding = Finding::of(format!(
        "the wall clock jumps (libfaketime) and stays for {} s each, at {rate} redirects a second",
        STAY.as_secs()
    ));

    let visitors = ground.visitors(rate, &mut rng);
    for (name, by) in [
        ("now", 0),
        ("an hour ahead", HOUR_S),
        ("now", 0),
        ("an hour back", -HOUR_S),
        ("now", 0),
        ("1970", TO_1970_S - begun_s),
        ("now", 0),
        ("2105", TO_2105_S - begun_s),
        ("now", 0),
    ] {
        jump.to(by)?;
        visitors.next_phase();
        sleep(STAY).await;
        let real = jiff::Timestamp::now().as_second();
        let off = jump.seen(library)? - real - by;
        if by != 0 {
            let text = format!("a process beside the server saw the clock jump to {name}");
            finding.happened(off.abs() <= DATE_TOLERANCE_S, text);
        }
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid()));
    finding.happened(
        maps.is_ok_and(|maps| maps.contains("libfaketime")),
        "the server took its wall clock from the same library",
    );
    let seen = visitors.end().await?;
    ground.must_live(&mut finding).await?;
    must_be_answered(&seen, &mut finding);
    let quarantined = ground.metrics().await?.get("carom_edge_batches_quarantined_total");
    finding.must(quarantined == 0, format!("no batch is refused: {quarantined} were"));
    let stored = ground.compare(server, &seen, &mut finding).await?;
    let ended_s = jiff::Timestamp::now().as_second();
    let (early, late) = (begun_s - stored.min_at_s, stored.max_at_s - ended_s);
    finding.figure("first click after the trial began", format!("{} s", -early));
    finding.figure("last click before the trial ended", format!("{} s", -late));
    finding.must(
        early <= EARLY_MAX_S && late <= LATE_MAX_S,
        "every click is dated within 35 days before and 10 minutes after",
    );
    clear(args, &installation, &finding)?;
    Ok(finding)
}

/// The file that says how far the clock is off.
struct Jump(PathBuf);

impl Jump {
    fn file(folder: &Path) -> Self {
        Self(folder.join(format!("carom-clock-offset-{}", std::process::id())))
    }

    /// What a shell does so that the programs it becomes have this clock.
    fn environment(&self, library: &str) -> String {
        format!(
            "export LD_PRELOAD='{library}' FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_CACHE_DURATION=1 \
             DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1",
            self.0.display()
        )
    }

    /// What the clock shows, in seconds since 1970. Not asked of the server: its `Date` is kept by
    /// its HTTP library, which does not go back.
    fn seen(&self, library: &str) -> Result<i64, Failure> {
        let script = format!("{}\nexec date +%s", self.environment(library));
        let output = Command::new("sh").args(["-c", &script]).output();
        let shown = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        let seconds = shown.and_then(|text| text.trim().parse().ok());
        seconds.ok_or_else(|| Failure::new("`date` does not show a time under libfaketime"))
    }

    fn to(&self, seconds: i64) -> Result<(), Failure> {
        // Renamed into place: the library must never read half of it.
        let temporary = self.0.with_extension("tmp");
        std::fs::write(&temporary, format!("{seconds:+}\n"))
            .and_then(|()| std::fs::rename(&temporary, &self.0))
            .map_err(|error| Failure::new(format!("{}: {error}", self.0.display())))
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
