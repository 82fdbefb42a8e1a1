//! No. 21: SIGTERM under as much load as the machine gives, again and again.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::ground::{Ground, clear, installation};
use super::observe::Stored;
use super::report::Finding;
use super::{Stop, TrialArgs};
use crate::failure::Failure;
use crate::population::Rng;

const LINKS: usize = 64;
const ROUNDS: usize = 10;
const LIFE: Duration = Duration::from_secs(2);
const STOP_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let installation = installation(args, &args.carom, "sigterm", &[])?;
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    // Without a limit: a server that has time to spare is not what is asked for.
    let rate = args.rate.unwrap_or(0);
    let mut finding =
        Finding::of(format!("SIGTERM {ROUNDS} times under the load of {LINKS} connections"));

    let visitors = ground.visitors(rate, &mut rng);
    let (mut longest, mut waiting) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        sleep(LIFE).await;
        let asked = Instant::now();
        server.stop().await?;
        longest = longest.max(asked.elapsed());
        let outbox = std::fs::read_dir(installation.data_dir().join("spool/outbox"));
        let outbox = outbox.map_err(|error| Failure::new(format!("the outbox: {error}")))?;
        waiting += outbox.count();
        server = installation.start()?;
        server.ready().await?;
    }
    let seen = visitors.end().await?;
    ground.must_live(&mut finding).await?;
    server.stop().await?;

    finding.figure("latency between stops", seen.latencies(0));
    let cut_max = (ROUNDS * LINKS) as u64;
    finding.happened(seen.refused > 0, format!("{} connections met no server", seen.refused));
    finding.happened(seen.answered > 0, format!("{} redirects were answered", seen.answered));
    finding.must(
        longest <= STOP_MAX,
        format!("it ends within 2 s, with success: at most {longest:.2?}"),
    );
    finding.must(seen.wrong == 0, format!("no answer but the redirect: {} others", seen.wrong));
    let text = format!("cut is at most one for each connection and stop: {}", seen.cut);
    finding.must(seen.cut <= cut_max, text);
    finding
        .must(waiting == 0, format!("nothing waits in the outbox of a stopped server: {waiting}"));
    for example in &seen.examples {
        finding.figure("example", example);
    }
    let stored = Stored::read(&installation.data_dir().join("clicks.db")).await?;
    ground.judge(&seen, &stored, 0, &mut finding);
    clear(args, &installation, &finding)?;
    Ok(finding)
}
