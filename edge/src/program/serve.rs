//! `carom-edge serve`: from the lock on the folder to the last stored click.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carom_edge::control::ControlClient;
use carom_edge::follow::{FirstBundle, Follower, first_bundle};
use carom_edge::l2::{L2, L2Origin};
use carom_edge::process::{Inherited, Signals, SteadyClock, background_runtime, raise_file_limit};
use carom_edge::resolve::Origin;
use carom_edge::spool::adopt::Adopter;
use carom_edge::{Domains, Edge, EdgeParts, Stopped};
use carom_shared::settings::InvalidSetting;
use carom_shared::{Clock, Random, SystemRandom};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::ProgramError;
use super::folder::{BUNDLE, Folder};
use super::say;
use super::settings::Settings;

/// How often a start asks for its first bundle.
const FIRST_BUNDLE_EVERY: Duration = Duration::from_secs(1);
/// How long the last report to the control plane may take.
const FOLLOWER_END: Duration = Duration::from_secs(2);

pub(super) fn run(settings: &Settings, inherited: Inherited) -> Result<(), ProgramError> {
    settings.check()?;
    if !inherited.https.is_empty() && settings.edge.tls.listen.is_none() {
        let reason = "must be set too: LISTEN_FDNAMES names a socket https";
        return Err(InvalidSetting::new("edge.tls.listen", reason).into());
    }
    let traces = settings.log.start(&settings.otel, "carom-edge")?;
    raise_file_limit();
    let runtime = background_runtime().map_err(ProgramError::Runtime)?;
    let result = runtime.block_on(serve(settings, inherited));
    // Whoever asked twice does not wait for what still runs; everything else has ended.
    runtime.shutdown_background();
    traces.finish();
    result
}

async fn serve(settings: &Settings, inherited: Inherited) -> Result<(), ProgramError> {
    // Before anything starts, so that no moment is left in which a signal just kills.
    let mut signals = Signals::new().map_err(ProgramError::Runtime)?;
    // Whoever holds inherited sockets may share their visitors for the seconds of a hand-over.
    let is_shared = !inherited.http.is_empty();
    let folder = tokio::select! {
        folder = Folder::take(&settings.data_dir, is_shared) => folder?,
        () = signals.stop() => return Ok(()),
    };
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let client = settings.client(Arc::clone(&random))?;
    let l2 = settings.l2(Arc::clone(&random))?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    if let Some(l2) = &l2 {
        tasks.spawn(l2.clone().keep(stop.clone()));
    }
    let bundle_path = folder.dir.join(BUNDLE);
    let first = tokio::select! {
        first = wait_for_bundle(&client, &bundle_path) => first,
        () = signals.stop() => return Ok(()),
    };

    let steady = Arc::new(SteadyClock::start());
    let clock: Arc<dyn Clock> = Arc::clone(&steady) as Arc<dyn Clock>;
    let sink = settings.sink(&client, &clock)?;
    let edge = Edge::start(EdgeParts {
        config: settings.edge.clone(),
        inherited,
        spool: settings.spool.clone(),
        spool_dir: folder.dir.join("spool"),
        snapshot: Some(folder.dir.join("routes.snapshot")),
        domains: Domains::serving(&first.bundle.domains)
            .with_report_url(first.bundle.report_url.as_deref()),
        disabled: first.bundle.disabled_workspaces.clone(),
        salts: first.bundle.salts.clone(),
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        origin: origin(&client, l2.as_ref()),
        sink: Arc::clone(&sink),
        background: Handle::current(),
    })?;
    let adopter = Adopter::new(
        folder.spool_of_other(),
        settings.edge.enrich.clone(),
        Arc::clone(&random),
        sink,
        edge.state(),
    );
    let follower = Follower::new(&edge, client, &settings.edge, first, bundle_path, clock, random);
    let follower = follower.with_l2(l2);
    tasks.spawn(follower.run(stop.clone()));
    tasks.spawn(steady.keep(stop.clone()));
    tasks.spawn(folder.adopt(adopter, stop.clone()));
    say(&format!(
        "Carom's edge {} is serving on {}; it follows {}.\n",
        env!("CARGO_PKG_VERSION"),
        edge.address(),
        settings.edge.control_url,
    ))?;

    signals.stop().await;
    say("Stopping: answering what is under way, storing what was clicked ...\n")?;
    let farewell = tokio::select! {
        stopped = end(edge, &stop, &tasks) => farewell(stopped),
        _ = signals.at_once() => {
            "Stopped at once; the next start goes on from here.\n".to_owned()
        }
    };
    say(&farewell)
}

/// Stops the edge, and then what it needed.
async fn end(edge: Edge, stop: &CancellationToken, tasks: &TaskTracker) -> Stopped {
    let stopped = tokio::task::spawn_blocking(move || edge.stop()).await;
    stop.cancel();
    tasks.close();
    drop(tokio::time::timeout(FOLLOWER_END, tasks.wait()).await);
    stopped.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Who is asked for routes that are not known here.
fn origin(control: &ControlClient, l2: Option<&L2>) -> Arc<dyn Origin> {
    let control: Arc<dyn Origin> = Arc::new(control.clone());
    match l2 {
        Some(l2) => Arc::new(L2Origin::new(l2.clone(), control)),
        None => control,
    }
}

fn farewell(stopped: Stopped) -> String {
    let rest = match (stopped.batches_waiting, stopped.ring_drained) {
        (0, true) => "nothing waits to be stored",
        (_, true) => "some still wait on disk, and the next start stores them",
        (_, false) => "some are still in the ring, and the next start recovers them",
    };
    let refused = match stopped.batches_quarantined {
        0 => "",
        _ => {
            "The store refused some batches of clicks; they are in spool/quarantine, and the log says why.\n"
        }
    };
    format!("Stopped. This run recorded {} clicks; {rest}.\n{refused}", stopped.clicks_recorded)
}

/// An edge that never heard of a domain has nobody to answer: its first start waits.
async fn wait_for_bundle(client: &ControlClient, path: &Path) -> FirstBundle {
    loop {
        match first_bundle(client, path).await {
            Ok(first) => {
                if first.is_kept {
                    tracing::warn!(
                        "the control plane does not answer: what was known last is served"
                    );
                }
                return first;
            }
            Err(error) => tracing::warn!(%error, "the first start waits for the control plane"),
        }
        tokio::time::sleep(FIRST_BUNDLE_EVERY).await;
    }
}
