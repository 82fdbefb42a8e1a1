//! What a process left in a spool of its own, and will not come back for: another one ships it.
//!
//! While one process hands its visitors over to the next, both record, each into its own spool. The one
//! that stops ships all it has and leaves nothing; if it is killed meanwhile, or its store was away, its
//! spool is closed with clicks in it, and no process is sure to be started on it again. So whoever runs
//! takes such a spool's lock, and then does what a start on it would do: a generation of its own,
//! recovery, shipping. Every step is the one that a start takes, so clicks stay exactly once by the same
//! argument as in [`super`]: batches are named by that spool and its new generation, and a killed
//! adopter leaves what a killed start leaves. Moving its files into the adopter's spool would save the
//! second outbox, and cost that argument: ranges of two rings in one folder.
//!
//! A turn is bounded ([`TURN_MAX`]), because a process that wants to start on that spool has to wait for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use carom_shared::Random;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::losses::Losses;
use super::outbox::Outbox;
use super::recover::{Recovered, Recovery};
use super::{Spool, SpoolError, read_identity};
use crate::enrich::{EnrichConfig, Enricher};
use crate::handle::EdgeState;
use crate::ship::losses::LossReporter;
use crate::ship::{ClickSink, Shipper};

/// How long a spool is held while its store does not take what is in it.
pub const TURN_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether everything is shipped.
const LOOK: Duration = Duration::from_millis(10);

/// Adopts one spool, again and again. Whoever calls it holds what else keeps others from that spool.
pub struct Adopter {
    dir: PathBuf,
    enrich: EnrichConfig,
    random: Arc<dyn Random>,
    sink: Arc<dyn ClickSink>,
    /// Of the running edge: its salts, its clock, its metrics.
    edge: EdgeState,
    /// Name and generation of the spool when nothing was left in it.
    empty: Option<(u64, u32)>,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub recovered: Recovered,
    /// Batches that still wait; the next turn goes on with them.
    pub left: usize,
}

impl Adopter {
    #[must_use]
    pub fn new(
        dir: PathBuf,
        enrich: EnrichConfig,
        random: Arc<dyn Random>,
        sink: Arc<dyn ClickSink>,
        edge: EdgeState,
    ) -> Self {
        Self { dir, enrich, random, sink, edge, empty: None }
    }

    /// Whether a process was started on the spool since it was seen empty.
    #[must_use]
    pub fn is_due(&self) -> bool {
        match read_identity(&self.dir.join("identity")) {
            Ok(found) => found.is_some() && found != self.empty,
            // Reported by the turn.
            Err(_) => true,
        }
    }

    /// Recovers what is in the spool and ships it, until nothing is left, for [`TURN_MAX`], or until
    /// `stop`.
    ///
    /// # Errors
    /// [`SpoolError`] if the spool is in use, or broken: it stays as it is.
    pub async fn turn(&mut self, stop: &CancellationToken) -> Result<Adopted, SpoolError> {
        let spool = Arc::new(Spool::open(&self.dir, &*self.random)?);
        let open = |source| SpoolError::Io { path: self.dir.clone(), source };
        // Nothing is put into it but what is recovered, which no quota refuses.
        let outbox = Arc::new(Outbox::open(&spool, 0).map_err(open)?);
        let (recovered, losses) = self.recover(&spool, &outbox).await?;
        let (sink, clock) = (Arc::clone(&self.sink), Arc::clone(&self.edge.shared.clock));
        let mut losses = LossReporter::new(spool.id(), Arc::new(losses), sink, clock);
        let on_disk = TaskTracker::new();
        let shipper = Shipper {
            spool: Arc::clone(&spool),
            outbox: Arc::clone(&outbox),
            sink: Arc::clone(&self.sink),
            random: Arc::clone(&self.random),
            metrics: Arc::clone(&self.edge.shared.metrics),
            on_disk: on_disk.clone(),
            stop: stop.clone(),
        };
        let empty = async {
            losses.report().await;
            while outbox.len() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = shipper.run() => {}
            () = empty => {}
            () = stop.cancelled() => {}
            () = tokio::time::sleep(TURN_MAX) => {}
        }
        // Whoever has the folder next finds nobody in it.
        on_disk.close();
        on_disk.wait().await;
        let left = outbox.len();
        self.empty = (left == 0).then(|| (spool.id(), spool.generation()));
        Ok(Adopted { recovered, left })
    }

    async fn recover(
        &self,
        spool: &Arc<Spool>,
        outbox: &Arc<Outbox>,
    ) -> Result<(Recovered, Losses), SpoolError> {
        let (spool, outbox, shared) =
            (Arc::clone(spool), Arc::clone(outbox), Arc::clone(&self.edge.shared));
        let (enrich, random) = (self.enrich.clone(), Arc::clone(&self.random));
        let recover = move || {
            let mut enricher = Enricher::new(&enrich, &shared.salts, &*random, &shared.metrics);
            let losses = spool.losses()?;
            let recovered =
                Recovery::new(&spool, &outbox, &losses, &*shared.clock).run(&mut enricher)?;
            shared.metrics.clicks_recovered.add(recovered.clicks);
            Ok((recovered, losses))
        };
        match tokio::task::spawn_blocking(recover).await {
            Ok(recovered) => recovered,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}
