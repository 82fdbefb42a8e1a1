//! `Idempotency-Key`: a request that is sent again does its work once.
//!
//! What was answered is stored in the transaction of the effect, so there is no moment at which one
//! is there without the other: a crash between them is a crash before or after both. The same key
//! comes again
//!
//! - with the same request: the stored answer is given again, and says `Idempotent-Replayed: true`;
//! - with another request: 422, because one of the two is a mistake;
//! - while the first is still under way: 409, because nobody knows yet what it will say. That is
//!   known within this process; two processes on one database wait for each other's transaction
//!   and then know the answer.
//!
//! Keys are of one workspace and one route, so nobody meets another's, and are kept for
//! [`LIFETIME`]. A request that was refused has done nothing and is not stored: it may be tried
//! again. Answers that hold a secret never come here.
//!
//! The header is a Structured Field string (`draft-ietf-httpapi-idempotency-key-header`); the same
//! text without quotes is taken too, because most clients send it so.

pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carom_shared::WorkspaceId;

/// How long an answer can be asked for again.
pub(crate) const LIFETIME: Duration = Duration::from_hours(24);

/// What a client means by one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OnceId {
    pub(crate) workspace: WorkspaceId,
    /// Method and route, such as `POST /api/v1/links`.
    pub(crate) route: &'static str,
    pub(crate) key: command::IdempotencyKey,
}

/// An answer, whole: enough to give it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) etag: Option<String>,
    /// JSON.
    pub(crate) body: Vec<u8>,
}

/// Which requests with a key are under way in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Mutex<HashSet<OnceId>>>);

/// One of them; until it is dropped, nobody else begins it.
#[derive(Debug)]
pub(crate) struct Begun {
    id: OnceId,
    under_way: UnderWay,
}

impl UnderWay {
    /// `None` if it is under way already.
    pub(crate) fn begin(&self, id: OnceId) -> Option<Begun> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(id.clone()).then(|| Begun { id, under_way: self.clone() })
    }
}

impl Begun {
    pub(crate) const fn id(&self) -> &OnceId {
        &self.id
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut ids = self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.remove(&self.id);
    }
}
