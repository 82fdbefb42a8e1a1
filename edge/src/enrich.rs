//! [`RawClick`] → [`Click`]: what is kept of a request.
//!
//! The address, the full user agent and the referring page end here.
//!
//! ```text
//! kind, device, browser, system   agent     the user agent, by lists, behind a cache
//! referrer, channel               source    the referring host, by a list; the campaign's medium
//! campaign                        campaign  the utm_ parameters
//! language                        language  the first one that the browser asks for
//! country, region, city           geo       the address, by a file of the operator's
//! visitor                         shared    the address and the user agent, hashed for a day
//! ```
//!
//! Every text is bounded, valid, and without control characters ([`text`]); how many new ones
//! strangers may bring in is bounded too ([`bounded`]). Visitors who ask not to be followed (DNT,
//! GPC) get no visitor number, no city and no referring path; their click counts.
//!
//! Everything here is pure but the look at the file of places, which its user asks for.

mod agent;
mod bounded;
mod browser;
mod campaign;
mod device;
mod geo;
mod kind;
mod language;
mod source;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy};
use carom_shared::{Click, Random, RawClick, Salt, Salts, SeededRandom, UnixMillis, visitor};
use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;
use agent::{Agent, Agents};
use bounded::{Names, OTHER, PER_EDGE, PER_LINK};
use campaign::Campaign;
use geo::{Geo, Look, Place};

/// What is found out about clicks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrichConfig {
    /// A file in MaxMind's format (`.mmdb`) by which addresses have countries, regions and cities;
    /// empty: they have none. A file that takes its place is in use within ten seconds.
    pub geo_path: PathBuf,
    /// Whether the path of a referring page is kept beside its host. Paths may say who somebody is.
    pub referrer_path: bool,
    /// User agents that are remembered, at most; each takes about 150 bytes.
    pub max_user_agents: usize,
    /// Whether a link may bring in 64 new referrers, and as many of each campaign's names, a minute;
    /// more show as `(other)`. Without a bound, anybody can fill the store with names.
    pub bound_names: bool,
    /// Memory for knowing which names are not new, in bytes, at most: it is taken as names come, 18
    /// bytes for each that is remembered. A forgotten name counts as new again. The default
    /// remembers 393,216 names for sure: those of 10,000 links with 39 each.
    pub max_name_bytes: usize,
}

impl Default for EnrichConfig {
    fn default() -> Self {
        Self {
            geo_path: PathBuf::new(),
            referrer_path: false,
            max_user_agents: 32_768,
            bound_names: true,
            max_name_bytes: 16 << 20,
        }
    }
}

/// Turns what was seen into what is kept; holds the memory it needs from click to click.
#[derive(Debug)]
pub struct Enricher {
    agents: Agents,
    names: Names,
    geo: Option<Geo>,
    salts: Arc<ArcSwap<Salts>>,
    keeps_path: bool,
    bounds_names: bool,
    metrics: Arc<Metrics>,
    // What a click borrows until the next one.
    referrer: String,
    path: String,
    campaign: Campaign,
    language: [u8; 3],
    place: Place,
}

/// As [`Enricher::alone`], with the default settings and without salts.
impl Default for Enricher {
    fn default() -> Self {
        Self::alone(&EnrichConfig::default(), Salts::default())
    }
}

impl Enricher {
    /// Without an edge, and with keys that are no secret: for measurements and tests.
    #[must_use]
    pub fn alone(config: &EnrichConfig, salts: Salts) -> Self {
        let salts = Arc::new(ArcSwap::from_pointee(salts));
        Self::new(config, &salts, &SeededRandom::new(0), &Arc::new(Metrics::new(0)))
    }

    /// Reads the file of places, if there is to be one; what is wrong with it is in the log.
    pub(crate) fn new(
        config: &EnrichConfig,
        salts: &Arc<ArcSwap<Salts>>,
        random: &dyn Random,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let key = || {
            let mut key = [0; 16];
            random.fill(&mut key);
            key
        };
        let has_geo = !config.geo_path.as_os_str().is_empty();
        let mut enricher = Self {
            agents: Agents::new(config.max_user_agents, key()),
            names: Names::new(key(), config.max_name_bytes),
            geo: has_geo.then(|| Geo::new(config.geo_path.clone())),
            salts: Arc::clone(salts),
            keeps_path: config.referrer_path,
            bounds_names: config.bound_names,
            metrics: Arc::clone(metrics),
            referrer: String::new(),
            path: String::new(),
            campaign: Campaign::default(),
            language: [0; 3],
            place: Place::default(),
        };
        enricher.refresh(Instant::now());
        enricher
    }

    /// Takes in what has changed on disk. Cheap while it is not time to look.
    pub(crate) fn refresh(&mut self, now: Instant) {
        let Some(geo) = &mut self.geo else { return };
        match geo.refresh(now) {
            Look::Same => return,
            Look::New => tracing::info!(path = %geo.path().display(), "places are in use"),
            Look::Broken(error) => {
                self.metrics.enrich.geo_errors.add(1);
                let outcome =
                    if geo.is_loaded() { "the old ones stay" } else { "clicks have none" };
                tracing::error!(path = %geo.path().display(), %error, "places cannot be read (edge.enrich.geo_path); {outcome}");
            }
        }
        self.metrics.enrich.geo_loaded.set(geo.is_loaded().into());
    }

    /// What is kept of a click.
    pub fn enrich<'a>(&'a mut self, raw: &RawClick<'_>) -> Click<'a> {
        let at_s = u32::try_from(raw.at_ms.div_euclid(1000).max(0)).unwrap_or(u32::MAX);
        let privacy = Privacy {
            do_not_track: raw.do_not_track,
            global_privacy_control: raw.global_privacy_control,
        };
        // A click from the ring is within the limit; one from elsewhere may not be.
        let end = raw.user_agent.len().min(RawClick::USER_AGENT_MAX);
        let raw = &RawClick { user_agent: &raw.user_agent[..end], ..*raw };
        let visitor = if privacy.is_wanted() { 0 } else { self.visitor(raw) };
        self.read(raw, privacy);

        let (agent, is_new) = self.agents.get(raw.user_agent);
        let mut admission = Admission {
            names: &mut self.names,
            link: raw.link.get(),
            at_s,
            is_bounded: self.bounds_names,
            refused: 0,
        };
        let mut details = Details::default();
        details.set(Detail::Language, text_of(&self.language));
        details.set(Detail::Country, &self.place.country);
        details.set(Detail::Region, &self.place.region);
        details.set(Detail::City, &self.place.city);
        let agent = admission.agent(agent, &mut details);
        details.set(Detail::Referrer, admission.of_link(Detail::Referrer, &self.referrer));
        details.set(Detail::ReferrerPath, admission.of_link(Detail::ReferrerPath, &self.path));
        for (field, value) in self.campaign.values() {
            details.set(field, admission.of_link(field, value));
        }
        let enrich = &self.metrics.enrich;
        if is_new {
            enrich.agents_read.add(1);
        }
        if admission.refused > 0 {
            enrich.names_refused.add(admission.refused);
        }
        Click {
            workspace: raw.workspace,
            link: raw.link,
            domain: raw.domain,
            at_s,
            n: 1,
            kind: kind(raw, agent),
            via: raw.via,
            variant: raw.variant,
            status: raw.status,
            target_revision: raw.target_revision,
            visitor,
            privacy,
            channel: channel(&self.campaign, &self.referrer, agent.browser()),
            device: device(agent),
            details,
        }
    }

    /// Who clicked; 0 if the salt of that day is not here, or gone.
    fn visitor(&self, raw: &RawClick<'_>) -> u64 {
        let salt = self.salts.load().of(Salt::day_of(UnixMillis::new(raw.at_ms)));
        salt.map_or(0, |salt| visitor(&salt, raw.workspace, raw.address, raw.user_agent))
    }

    /// Fills what the click will borrow.
    fn read(&mut self, raw: &RawClick<'_>, privacy: Privacy) {
        self.referrer.clear();
        self.path.clear();
        let keeps_path = self.keeps_path && !privacy.is_wanted();
        source::read(raw.referrer, &mut self.referrer, keeps_path.then_some(&mut self.path));
        self.campaign.read(raw.query);
        let is_cut = raw.language.len() >= RawClick::LANGUAGE_MAX;
        self.language = language::of(raw.language, is_cut).unwrap_or_default();
        if let Some(geo) = &self.geo {
            geo.find(raw.address, &mut self.place);
            if privacy.is_wanted() {
                self.place.city.clear();
            }
        }
    }
}

/// Lets names pass, or [`OTHER`] in the place of one too many.
struct Admission<'n> {
    names: &'n mut Names,
    link: i64,
    at_s: u32,
    /// Whether a link's names are bounded at all.
    is_bounded: bool,
    refused: u64,
}

impl Admission<'_> {
    fn of_link<'a>(&mut self, detail: Detail, name: &'a str) -> &'a str {
        if !self.is_bounded {
            return name;
        }
        self.admit(self.link, detail, name, PER_LINK)
    }

    fn admit<'a>(&mut self, scope: i64, detail: Detail, name: &'a str, max: u16) -> &'a str {
        if name.is_empty() || self.names.admit(scope, detail, name, self.at_s, max) {
            return name;
        }
        self.refused += 1;
        OTHER
    }

    fn agent<'a>(&mut self, agent: &'a mut Agent, details: &mut Details<'a>) -> &'a Agent {
        let refused = self.refused;
        if !agent.is_admitted {
            for (detail, name) in agent.names() {
                self.admit(0, detail, name, PER_EDGE);
            }
            agent.is_admitted = self.refused == refused;
        }
        let agent = &*agent;
        for (detail, name) in agent.names() {
            let is_kept = agent.is_admitted || name.is_empty();
            details.set(detail, if is_kept { name } else { OTHER });
        }
        agent
    }
}

/// What a request is comes before who sent it.
const fn kind(raw: &RawClick<'_>, agent: &Agent) -> Kind {
    match (raw.head, raw.prefetch) {
        (true, _) => Kind::Head,
        (false, true) => Kind::Prefetch,
        (false, false) => agent.kind,
    }
}

/// Programs hold nothing in hand, whatever device they pretend to be.
fn device(agent: &Agent) -> Device {
    if agent.kind == Kind::Human { agent.device } else { Device::Unknown }
}

/// A campaign's medium decides, then the referring host; without either, the app in which the
/// link was opened.
fn channel(campaign: &Campaign, referrer: &str, browser: &str) -> Channel {
    if !campaign.is_empty() {
        return source::of_medium(campaign.medium()).unwrap_or(Channel::Campaign);
    }
    match referrer {
        "" => source::of_app(browser).unwrap_or(Channel::Direct),
        host => source::of_host(host),
    }
}

/// Letters up to the first zero byte.
fn text_of(language: &[u8; 3]) -> &str {
    let len = language.iter().position(|&b| b == 0).unwrap_or(language.len());
    std::str::from_utf8(&language[..len]).unwrap_or_default()
}

#[cfg(test)]
mod tests;
