//! The lists of a page with statistics: which there are, and where each is shown.

use carom_shared::click::Detail;

use super::view::View;
use crate::click::report::Dimension;
use crate::page::message::message;
use crate::share::Part;

/// A panel of lists, of which one is shown.
pub(super) struct Panel {
    /// A message, as the labels of tabs are.
    pub(super) title: &'static str,
    /// Its parameter, and where it is in the page.
    pub(super) name: &'static str,
    pub(super) tabs: &'static [(Dimension, &'static str)],
    /// With what of a share it is shown.
    pub(super) part: Part,
    pub(super) of: Of,
}

/// Of what a panel says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Any,
    /// Several links.
    Many,
    /// A link that has led to several targets.
    Changed,
}

const fn detail(detail: Detail) -> Dimension {
    Dimension::Detail(detail)
}

pub(super) const PANELS: &[Panel] = &[
    Panel {
        title: message("Links"),
        name: "links",
        tabs: &[(Dimension::Link, message("Link")), (Dimension::Domain, message("Domain"))],
        part: Part::Links,
        of: Of::Many,
    },
    Panel {
        title: message("Targets"),
        name: "targets",
        tabs: &[(Dimension::TargetRevision, message("Target"))],
        part: Part::Links,
        of: Of::Changed,
    },
    Panel {
        title: message("Places"),
        name: "places",
        tabs: &[
            (detail(Detail::Country), message("Country")),
            (detail(Detail::Region), message("Region")),
            (detail(Detail::City), message("City")),
            (detail(Detail::Language), message("Language")),
        ],
        part: Part::Places,
        of: Of::Any,
    },
    Panel {
        title: message("Sources"),
        name: "sources",
        tabs: &[
            (detail(Detail::Referrer), message("Referrer")),
            (Dimension::Channel, message("Channel")),
            (detail(Detail::ReferrerPath), message("Page")),
            (Dimension::Via, message("Link or QR")),
        ],
        part: Part::Sources,
        of: Of::Any,
    },
    Panel {
        title: message("Devices"),
        name: "devices",
        tabs: &[
            (detail(Detail::Browser), message("Browser")),
            (detail(Detail::BrowserVersion), message("Version")),
            (detail(Detail::Os), message("System")),
            (Dimension::Device, message("Device")),
        ],
        part: Part::Devices,
        of: Of::Any,
    },
    Panel {
        title: message("Campaigns"),
        name: "campaigns",
        tabs: &[
            (detail(Detail::UtmCampaign), message("Campaign")),
            (detail(Detail::UtmSource), message("Source")),
            (detail(Detail::UtmMedium), message("Medium")),
            (detail(Detail::UtmTerm), message("Term")),
            (detail(Detail::UtmContent), message("Content")),
        ],
        part: Part::Campaigns,
        of: Of::Any,
    },
];

impl Panel {
    /// The tab that is open.
    pub(super) fn chosen(&self, view: &View) -> Dimension {
        let asked = view.tab(self.name);
        let found = self.tabs.iter().find(|(dimension, _)| asked == Some(dimension.as_str()));
        found.map_or(self.tabs[0].0, |(dimension, _)| *dimension)
    }

    /// The words above its list.
    pub(super) fn head(&self, dimension: Dimension) -> &'static str {
        self.tabs.iter().find(|(of, _)| *of == dimension).map_or("", |(_, head)| head)
    }
}
