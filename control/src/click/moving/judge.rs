//! Who may serve a store of clicks that moves.

use crate::click::store::ClickStore;
use crate::db::StoreError;
use crate::db::moving::{Mark, State};

/// Why a store of clicks is not served.
#[derive(Debug, thiserror::Error)]
pub enum ClicksNotServed {
    #[error(
        "these clicks are being moved to {0}, and are not served meanwhile: finish with the carom move \
         --clicks-to that began it, or give it up with carom move --undo --clicks"
    )]
    Leaving(String),
    #[error(
        "these clicks were moved to {0}: set clicks.url to that. To go back to them as they were before, \
         stop whoever serves {0}, and run carom move --undo --clicks: what was stored there since is \
         not here"
    )]
    Left(String),
    #[error(
        "only a part of the clicks of {0} is here: finish with the carom move --clicks-to that began it, or \
         give it up with carom move --undo --clicks there, and empty this"
    )]
    Arriving(String),
    #[error("cannot ask the store of clicks whether it moves")]
    Store(#[from] StoreError),
}

/// Refuses a store that moves to another, was moved, or is not whole yet.
pub(crate) async fn may_be_served(store: &ClickStore) -> Result<(), ClicksNotServed> {
    match store.mark().await? {
        None | Some(Mark { state: State::Arrived, .. }) => Ok(()),
        Some(Mark { state: State::Leaving, other, .. }) => Err(ClicksNotServed::Leaving(other)),
        Some(Mark { state: State::Left, other, .. }) => Err(ClicksNotServed::Left(other)),
        Some(Mark { state: State::Arriving, other, .. }) => Err(ClicksNotServed::Arriving(other)),
    }
}
