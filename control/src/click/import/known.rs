//! Which clicks of a file are there already. Pure.

use std::collections::HashMap;

use carom_shared::Click;
use carom_shared::click::Detail;

use super::Fate;
use crate::click::export::StoredClick;

/// All that a click of a workspace is known by, but for its host: a file may name one that is another
/// here.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Known<'a> {
    link: i64,
    at_s: u32,
    n: u64,
    words: [&'static str; 4],
    numbers: [u64; 4],
    is_private: [bool; 2],
    names: [&'a str; Detail::ALL.len()],
}

impl<'a> Known<'a> {
    fn of_new(click: &Click<'a>) -> Self {
        let (kind, via) = (click.kind.as_str(), click.via.as_str());
        Self {
            link: click.link.get(),
            at_s: click.at_s,
            n: click.n.into(),
            words: [kind, via, click.channel.as_str(), click.device.as_str()],
            numbers: [
                click.variant.into(),
                click.status.into(),
                click.target_revision.into(),
                click.visitor,
            ],
            is_private: [click.privacy.do_not_track, click.privacy.global_privacy_control],
            names: *click.details.names(),
        }
    }

    fn of_stored(link: i64, click: &'a StoredClick) -> Self {
        Self {
            link,
            at_s: click.place.at_s,
            n: click.n,
            words: [click.kind, click.via, click.channel, click.device],
            numbers: [click.variant, click.status, click.target_revision, click.visitor],
            is_private: [click.do_not_track, click.global_privacy_control],
            names: std::array::from_fn(|at| click.names[at].as_str()),
        }
    }
}

/// What becomes of each click of a file; each comes with how many before it are the same. `stored` are
/// the clicks of their seconds, with their links. Before `since_s` rows are gone, and nobody can say.
pub(crate) fn fates_of(
    clicks: &[(u32, Click<'_>)],
    since_s: i64,
    stored: &[(i64, StoredClick)],
) -> Vec<Fate> {
    let mut there: HashMap<Known<'_>, u32> = HashMap::new();
    for (link, click) in stored {
        *there.entry(Known::of_stored(*link, click)).or_default() += 1;
    }
    let fates = clicks.iter().map(|(nth, click)| {
        if i64::from(click.at_s) < since_s {
            Fate::Old
        } else if there.get(&Known::of_new(click)).is_some_and(|there| nth < there) {
            Fate::Present
        } else {
            Fate::New
        }
    });
    fates.collect()
}
