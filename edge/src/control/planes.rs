//! The control planes of one installation, of which one is asked until it fails.
//!
//! Whoever answered last is asked first: a control plane that hangs costs its patience once, not each
//! time, and nobody goes back to it before another fails. All of them answer out of one database, so
//! that it does not matter who does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::breaker::Breaker;
use super::{ControlUrl, ControlUrls};
use crate::pool::{Peer, Pool};

/// Connections for visitors' questions, and for everything else; for each control plane.
const QUESTION_CONNECTIONS: usize = 32;
const OTHER_CONNECTIONS: usize = 16;
const IDLE_MAX: Duration = Duration::from_secs(10);

/// One control plane.
pub(super) struct Plane {
    pub(super) url: ControlUrl,
    pub(super) questions: Pool,
    pub(super) others: Pool,
    /// For visitors' questions.
    pub(super) breaker: Breaker,
}

pub(super) struct Planes {
    /// At least one.
    planes: Box<[Plane]>,
    /// Whose turn it is: who answered last.
    turn: AtomicUsize,
}

impl Planes {
    pub(super) fn new(urls: &ControlUrls) -> Self {
        let plane = |url: &ControlUrl| {
            let (host, port) = url.host_and_port();
            let host = host.to_owned();
            let (authority, tls) = (url.authority(), None);
            let peer = Peer { host, port, authority, tls, idle_max: IDLE_MAX };
            Plane {
                url: url.clone(),
                questions: Pool::new(peer.clone(), QUESTION_CONNECTIONS),
                others: Pool::new(peer, OTHER_CONNECTIONS),
                breaker: Breaker::default(),
            }
        };
        Self { planes: urls.iter().map(plane).collect(), turn: AtomicUsize::new(0) }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.planes.len()).unwrap_or(u32::MAX)
    }

    /// The one that was named first.
    pub(super) fn first(&self) -> &Plane {
        &self.planes[0]
    }

    /// All of them, the one whose turn it is first.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Plane> {
        let turn = self.turn.load(Ordering::Relaxed) % self.planes.len();
        let (after, from) = self.planes.split_at(turn);
        from.iter().chain(after)
    }

    /// It answered: the next question is its.
    pub(super) fn answered(&self, plane: &Plane) {
        plane.breaker.succeeded();
        let at = self.planes.iter().position(|of| std::ptr::eq(of, plane)).unwrap_or_default();
        if self.turn.swap(at, Ordering::Relaxed) != at {
            tracing::warn!(control = %plane.url, "another control plane is asked from now on");
        }
    }
}
