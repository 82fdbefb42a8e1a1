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
    /// Who clicked, as a number that is alike for a day (UTC) and within a workspace, and says
    /// nothing else: a keyed hash. 0 if it is unknown or the visitor asked not to be followed.
    pub visitor: u64,
    pub privacy: Privacy,
    pub channel: Channel,
    pub device: Device,
    pub details: Details<'a>,
}

/// What a visitor's browser asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// `DNT: 1`
    pub do_not_track: bool,
    /// `Sec-GPC: 1` (Global Privacy Control)
    pub global_privacy_control: bool,
}

impl Privacy {
    /// Bit 0: do not track; bit 1: global privacy control.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.do_not_track as u8 | (self.global_privacy_control as u8) << 1
    }

    /// `None` if a newer version wrote it.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0..=3 => {
                Some(Self { do_not_track: bits & 1 != 0, global_privacy_control: bits & 2 != 0 })
            }
            _ => None,
        }
    }

    /// Whether the visitor asked not to be followed, in either way.
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        self.do_not_track || self.global_privacy_control
    }
}

/// A name for each [`Detail`] of a click; empty where it is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details<'a>([&'a str; Detail::ALL.len()]);

impl<'a> Details<'a> {
    #[must_use]
    pub fn of(names: &[(Detail, &'a str)]) -> Self {
        let mut details = Self::default();
        for &(detail, name) in names {
            details.set(detail, name);
        }
        details
    }

    #[must_use]
    pub const fn get(&self, detail: Detail) -> &'a str {
        self.0[detail as usize]
    }

    pub const fn set(&mut self, detail: Detail, name: &'a str) {
        self.0[detail as usize] = name;
    }

    /// All of them, in the order of [`Detail::ALL`].
    #[must_use]
    pub const fn names(&self) -> &[&'a str; Detail::ALL.len()] {
        &self.0
    }
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

wire_enum! {
    /// What a click is told apart by, beyond what its numbers say. Names are as visitors sent them
    /// or as lists say; each is bounded in length by whoever finds it out.
    Detail {
        /// Host of the referring page, in lower case.
        Referrer = 0 "referrer",
        /// Path of the referring page, where it is kept.
        ReferrerPath = 1 "referrer_path",
        /// ISO 3166-1 alpha-2, such as `DE`.
        Country = 2 "country",
        /// ISO 3166-2 without the country, or a name.
        Region = 3 "region",
        City = 4 "city",
        Browser = 5 "browser",
        /// As much of it as tells releases apart: `140`, `17.4`.
        BrowserVersion = 6 "browser_version",
        Os = 7 "os",
        OsVersion = 8 "os_version",
        /// The first language that the browser asks for, without region: `de`.
        Language = 9 "language",
        UtmSource = 10 "utm_source",
        UtmMedium = 11 "utm_medium",
        UtmCampaign = 12 "utm_campaign",
        UtmTerm = 13 "utm_term",
        UtmContent = 14 "utm_content",
    }
}

wire_enum! {
    /// What kind of place a visitor came from.
    Channel {
        /// Nothing is known: typed, scanned, or opened by a program that does not say.
        Direct = 0 "direct",
        /// A page that none of the lists know.
        Referral = 1 "referral",
        Search = 2 "search",
        Social = 3 "social",
        Mail = 4 "mail",
        Messenger = 5 "messenger",
        Video = 6 "video",
        /// An assistant that answers with links.
        Ai = 7 "ai",
        /// An advertisement, as the campaign's medium says.
        Paid = 8 "paid",
        /// A campaign whose medium says nothing else.
        Campaign = 9 "campaign",
    }
}

wire_enum! {
    /// What a visitor held in hand.
    Device {
        Unknown = 0 "unknown",
        Desktop = 1 "desktop",
        Mobile = 2 "mobile",
        Tablet = 3 "tablet",
        Tv = 4 "tv",
        Console = 5 "console",
        Wearable = 6 "wearable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privacy_survives_its_bits_and_newer_bits_are_refused() {
        for bits in 0..=3 {
            assert_eq!(Privacy::from_bits(bits).map(Privacy::bits), Some(bits));
        }
        assert_eq!(Privacy::from_bits(4), None);
        assert!(!Privacy::default().is_wanted());
    }

    #[test]
    fn a_numbers_place_in_the_list_is_the_number() {
        for (at, detail) in Detail::ALL.iter().enumerate() {
            assert_eq!(*detail as usize, at);
        }
    }
}
