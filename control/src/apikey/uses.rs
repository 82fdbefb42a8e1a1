//! When and from where keys were used last: noted beside requests, written together.
//!
//! A request notes it only if the key's row does not say so of the last minute. So a key that is used
//! all the time costs a write a minute, of which no request waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carom_shared::{ApiKeyId, UnixMillis};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::KeyRow;
use super::store::keys_note_uses;
use crate::db::StoreError;
use crate::write::{Act, Writer, Writing};

/// How old what the row says may be.
const FRESH: Duration = Duration::from_secs(60);
/// How long others are waited for once there is something to write.
const GATHER: Duration = Duration::from_secs(1);
/// Keys that wait to be written, at most; the uses of others are not noted for as long.
const WAITING_MAX: usize = 10_000;

/// The last use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) key: ApiKeyId,
    pub(crate) at: UnixMillis,
    /// `None`: over a Unix socket.
    pub(crate) from: Option<IpAddr>,
}

/// Uses that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    waiting: Mutex<HashMap<ApiKeyId, Use>>,
    noted: Notify,
}

impl Uses {
    pub(crate) fn note(&self, key: &KeyRow, at: UnixMillis, from: Option<IpAddr>) {
        if key.last_used_at.is_some_and(|last| last.saturating_add(FRESH) > at) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX || waiting.contains_key(&key.id) {
            waiting.insert(key.id, Use { key: key.id, at, from });
            self.noted.notify_one();
        }
    }

    /// Writes what is noted, until `stop`.
    pub(crate) async fn write(self: Arc<Self>, writer: Writer, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.noted.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            let waiting =
                std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            // What is lost here is noted again with the key's next request.
            if let Err(error) = writer.act(NoteUses(waiting.into_values().collect())).await {
                tracing::debug!(%error, "the last uses of keys were not written");
            }
        }
    }
}

struct NoteUses(Vec<Use>);

impl Act for NoteUses {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        keys_note_uses(writing.tx, &self.0).await
    }
}
