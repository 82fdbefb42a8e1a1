//! The lists of a page with statistics: which there are, and where each is shown.

use carom_shared::click::Detail;

use super::view::View;
use crate::click::report::Dimension;
use crate::share::Part;

/// A panel of lists, of which one is shown.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// Its parameter.
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
        title: "Links",
        name: "links",
        tabs: &[(Dimension::Link, "Link"), (Dimension::Domain, "Domain")],
        part: Part::Links,
        of: Of::Many,
    },
    Panel {
        title: "Targets",
        name: "targets",
        tabs: &[(Dimension::TargetRevision, "Target")],
        part: Part::Links,
        of: Of::Changed,
    },
    Panel {
        title: "Places",
        name: "places",
        tabs: &[
            (detail(Detail::Country), "Country"),
            (detail(Detail::Region), "Region"),
            (detail(Detail::City), "City"),
            (detail(Detail::Language), "Language"),
        ],
        part: Part::Places,
        of: Of::Any,
    },
    Panel {
        title: "Sources",
        name: "sources",
        tabs: &[
            (detail(Detail::Referrer), "Referrer"),
            (Dimension::Channel, "Channel"),
            (detail(Detail::ReferrerPath), "Page"),
            (Dimension::Via, "Link or QR"),
        ],
        part: Part::Sources,
        of: Of::Any,
    },
    Panel {
        title: "Devices",
        name: "devices",
        tabs: &[
            (detail(Detail::Browser), "Browser"),
            (detail(Detail::BrowserVersion), "Version"),
            (detail(Detail::Os), "System"),
            (Dimension::Device, "Device"),
        ],
        part: Part::Devices,
        of: Of::Any,
    },
    Panel {
        title: "Campaigns",
        name: "campaigns",
        tabs: &[
            (detail(Detail::UtmCampaign), "Campaign"),
            (detail(Detail::UtmSource), "Source"),
            (detail(Detail::UtmMedium), "Medium"),
            (detail(Detail::UtmTerm), "Term"),
            (detail(Detail::UtmContent), "Content"),
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
