//! Whose lists links follow, where there are several control planes: the table `blocklist`.
//!
//! Each control plane refuses new links by the files that it has. Those that are there follow one reading of
//! the files: the newest that a control plane has which was heard of in the last five minutes. With the
//! same files on all of them, as it should be, each of them leads. With different ones, without this, each
//! would bring back what another one took down, hour after hour; and nobody would know why.

use super::Reading;
use super::store::reading_leads;
use crate::db::StoreError;
use crate::write::{Act, Writing};

/// Says of a reading that it is there; tells whether links follow it.
pub(super) struct Lead(pub(super) Reading);

impl Act for Lead {
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        reading_leads(writing.tx, &self.0, writing.now).await
    }
}
