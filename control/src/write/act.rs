//! [`Act`]: what a noun writes, as a type of its own.
//!
//! A noun that does many small things would fill [`Command`](super::Command) with variants that the
//! writer does not care about. It writes a type for each instead, and the writer runs it with the
//! others that wait. One allocation more per command is the price.

use std::pin::Pin;
use std::sync::Arc;

use carom_shared::{Random, UnixMillis};

use super::{Answered, Reply, perform};
use crate::audit::store::audit_append;
use crate::audit::{Actor, Entry, Noted};
use crate::db::{StoreError, Tx};
use crate::feed::NewChange;

/// What an act works with. The transaction is shared with other commands.
pub(crate) struct Writing<'w> {
    pub(crate) tx: &'w mut Tx,
    pub(crate) now: UnixMillis,
    pub(crate) random: &'w dyn Random,
    /// Routes that it changes, for edges.
    pub(crate) changes: &'w mut Vec<NewChange>,
    /// What the audit log is told before the commit: of links, many of which are written at once.
    pub(crate) noted: &'w mut Vec<Noted>,
}

impl Writing<'_> {
    /// Notes for the audit log what is done here.
    pub(crate) async fn note(&mut self, actor: &Actor, entry: Entry) -> Result<(), StoreError> {
        let by = Arc::new(actor.clone());
        if !actor.for_installation || entry.workspace.is_none() {
            return audit_append(self.tx, &[Noted { by, entry }], self.now).await;
        }
        let whole = Noted { by, entry: Entry { workspace: None, ..entry.clone() } };
        let operator = Actor { request: actor.request.clone(), ..Actor::default() };
        let told = Noted { by: Arc::new(operator), entry };
        audit_append(self.tx, &[told, whole], self.now).await
    }
}

/// Something that is written. What refuses it is found out before anything is written: others share
/// the transaction, and an error of the store ends it for all of them.
pub(crate) trait Act: Send + 'static {
    type Done: Send + 'static;

    fn act(
        self,
        writing: &mut Writing<'_>,
    ) -> impl Future<Output = Result<Self::Done, StoreError>> + Send;
}

/// An act and whom to answer.
pub(crate) trait Queued: Send {
    fn apply<'w>(
        self: Box<Self>,
        writing: Writing<'w>,
    ) -> Pin<Box<dyn Future<Output = Result<Answered, StoreError>> + Send + 'w>>;
}

struct Waiting<A: Act> {
    act: A,
    reply: Reply<A::Done>,
}

impl<A: Act> Queued for Waiting<A> {
    fn apply<'w>(
        self: Box<Self>,
        writing: Writing<'w>,
    ) -> Pin<Box<dyn Future<Output = Result<Answered, StoreError>> + Send + 'w>> {
        let Self { act, reply } = *self;
        let Writing { tx, now, random, changes, noted } = writing;
        Box::pin(perform(tx, reply, now, async move |tx: &mut Tx| {
            act.act(&mut Writing { tx, now, random, changes, noted }).await
        }))
    }
}

pub(super) fn queue<A: Act>(act: A, reply: Reply<A::Done>) -> Box<dyn Queued> {
    Box::new(Waiting { act, reply })
}
