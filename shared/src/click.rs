//! One click: as the edge saw it ([`RawClick`], alive for seconds) and as it is kept ([`Click`]).

mod raw;

pub use raw::{RawClick, RawClickError};

use crate::{DomainId, LinkId, WorkspaceId};

/// A click as stores keep it: ids, kinds and names; no address, no full user agent.
///
/// Text is borrowed from the batch it travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Click<'a> {
    /// Owner of the link when the click happened; the link may move before it is stored.
    pub workspace: WorkspaceId,
    pub link: LinkId,
    pub domain: DomainId,
    /// Seconds since 1970.
    pub at_s: u32,
    /// How many clicks this row stands for: 1, or more once rows had to be compacted.
    pub n: u32,
    pub kind: Kind,
    pub via: Via,
    /// Which of a link's destinations was chosen; 0 where there is one.
    pub variant: u16,
    /// The HTTP status that was answered.
    pub status: u16,
    /// Which target, counted from 1 in the order in which the link had them; 0 for the fallback of
    /// a link that had ended.
    pub target_revision: u32,
    /// Host of the referring page; empty if unknown.
    pub referrer: &'a str,
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $value:literal $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { #[default] $($(#[$variant_doc])* $variant = $value),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it in APIs and reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value behind a stored number; `None` if a newer version wrote it.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

wire_enum! {
    /// Who asked. Stored apart; only [`Kind::Human`] counts as a click in totals.
    Kind {
        Human = 0 "human",
        /// A program that says so in its user agent.
        Bot = 1 "bot",
        /// A messenger or social network that fetches a link to show a card.
        Preview = 2 "preview",
        /// A browser that loads ahead of a click that may never come.
        Prefetch = 3 "prefetch",
        /// A HEAD request.
        Head = 4 "head",
    }
}

wire_enum! {
    /// By which form of the short URL the visitor came.
    Via {
        Link = 0 "link",
        /// The URL in a QR code: it ends in `?via=qr`.
        Qr = 1 "qr",
    }
}
