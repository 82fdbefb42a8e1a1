//! Domains: the hosts on which codes are unique.
//!
//! ```text
//! waiting    somebody says that a host is theirs: nothing is served, nothing can be put on it
//! verified   a TXT record has shown it: edges serve it, its workspace puts links on it
//! released   it was given back: nothing is served, its links and routes stay where they are
//! ```
//!
//! Several may wait for one host, and who verifies first has it. A record that is found missing later
//! is a warning; after [`MISSING_MAX_MS`] of that, another workspace that waits can verify the host
//! and takes it over. A released host is asked for anew, with a new challenge, also by who had it; for
//! them it is the same domain, and their links are served again.
//!
//! Routes belong to the domain, not to its host: who gets a host that another workspace had gets none
//! of its links.

mod act;
pub(crate) mod api;
pub(crate) mod command;
mod dns;
pub(crate) mod live;
pub(crate) mod store;

use std::collections::HashMap;

use carom_shared::{Code, DomainId, Host, Random, ServedDomain, UnixMillis, WorkspaceId};

use crate::config::Origin;

pub(crate) use dns::{Asked, TxtResolver};

/// For how long a record must have been missing until another workspace can take a host over.
pub(crate) const MISSING_MAX_MS: i64 = 7 * 24 * 3600 * 1000;
/// Random bytes of a challenge.
const CHALLENGE_BYTES: usize = 20;

/// How far a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DomainState {
    Waiting,
    Verified,
    Released,
}

impl DomainState {
    const ALL: [Self; 3] = [Self::Waiting, Self::Verified, Self::Released];

    /// As the database holds it.
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Verified => 1,
            Self::Released => 2,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Verified => "verified",
            Self::Released => "released",
        }
    }
}

/// Where a domain sends those whom no link leads on: serialised `TargetUrl`s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaysOut {
    pub(crate) home: Option<String>,
    pub(crate) not_found: Option<String>,
    pub(crate) expired: Option<String>,
}

/// A host on which codes are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) id: DomainId,
    pub(crate) host: Host,
    pub(crate) is_default: bool,
    /// `None`: shared by all workspaces.
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) state: DomainState,
    /// What its TXT record must hold.
    pub(crate) challenge: String,
    pub(crate) ways_out: WaysOut,
    /// Codes are in lower case, however they are written.
    pub(crate) folds_case: bool,
    /// When the record was looked for last.
    pub(crate) checked_at: Option<UnixMillis>,
    pub(crate) verified_at: Option<UnixMillis>,
    /// Since when the record is not found any more.
    pub(crate) missing_since: Option<UnixMillis>,
    /// Counts the changes, from 1.
    pub(crate) version: u64,
    pub(crate) created_at: UnixMillis,
}

impl Domain {
    /// A new one that waits.
    pub(crate) fn new(
        id: DomainId,
        host: Host,
        workspace: Option<WorkspaceId>,
        now: UnixMillis,
    ) -> Self {
        Self {
            id,
            host,
            is_default: false,
            workspace,
            state: DomainState::Waiting,
            challenge: String::new(),
            ways_out: WaysOut::default(),
            folds_case: false,
            checked_at: None,
            verified_at: None,
            missing_since: None,
            version: 1,
            created_at: now,
        }
    }

    /// One that is served.
    #[cfg(test)]
    pub(crate) fn verified(id: i64, host: &str, workspace: Option<i64>) -> Self {
        let id = DomainId::try_from(id).expect("a positive id");
        let workspace = workspace.map(|id| WorkspaceId::try_from(id).expect("a positive id"));
        let host = Host::parse(host).expect("a host");
        let new = Self::new(id, host, workspace, UnixMillis::new(0));
        Self { state: DomainState::Verified, is_default: id.get() == 1, ..new }
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.state == DomainState::Verified
    }

    /// The name of its TXT record.
    pub(crate) fn record_name(&self) -> String {
        format!("_carom-challenge.{}", self.host)
    }
}

/// A text that nobody can guess.
pub(crate) fn new_challenge(random: &dyn Random) -> String {
    let mut bytes = [0; CHALLENGE_BYTES];
    random.fill(&mut bytes);
    bytes.iter().fold("carom-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// The domains of the installation that are or were served, as they were at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Domains {
    all: Vec<Domain>,
    by_id: HashMap<DomainId, usize>,
    public_url: Origin,
}

impl Domains {
    pub(crate) fn new(all: Vec<Domain>, public_url: Origin) -> Self {
        let by_id = all.iter().enumerate().map(|(place, domain)| (domain.id, place)).collect();
        Self { all, by_id, public_url }
    }

    /// Also those that are released: links are still on them. The default domain comes first, and what
    /// is served before what was.
    pub(crate) fn all(&self) -> &[Domain] {
        &self.all
    }

    pub(crate) fn verified(&self) -> impl Iterator<Item = &Domain> {
        self.all.iter().filter(|domain| domain.is_verified())
    }

    pub(crate) fn default_domain(&self) -> Option<&Domain> {
        self.all.iter().find(|domain| domain.is_default)
    }

    /// The domain with this host, if this workspace may put links on it.
    pub(crate) fn find(&self, workspace: WorkspaceId, host: &Host) -> Option<&Domain> {
        let may_use = |domain: &&Domain| domain.workspace.is_none_or(|owner| owner == workspace);
        self.verified().filter(may_use).find(|domain| domain.host == *host)
    }

    /// The domain that is served on this host.
    pub(crate) fn serving(&self, host: &Host) -> Option<&Domain> {
        self.verified().find(|domain| domain.host == *host)
    }

    pub(crate) fn by_id(&self, id: DomainId) -> Option<&Domain> {
        self.by_id.get(&id).and_then(|&place| self.all.get(place))
    }

    /// The short URL of a code. Only the default domain's port is known; others have none.
    pub(crate) fn short_url(&self, domain: DomainId, code: &Code) -> String {
        match self.by_id(domain).filter(|domain| !domain.is_default) {
            Some(domain) => format!("{}://{}/{code}", self.public_url.scheme(), domain.host),
            None => format!("{}/{code}", self.public_url.as_str()),
        }
    }

    pub(crate) const fn public_url(&self) -> &Origin {
        &self.public_url
    }

    /// As edges serve them. `home` is the default domain's.
    pub(crate) fn served(&self, home: Option<&str>) -> Vec<ServedDomain> {
        let serve = |domain: &Domain| ServedDomain {
            id: domain.id,
            host: domain.host.clone(),
            is_default: domain.is_default,
            home: match domain.is_default {
                true => home.map(str::to_owned),
                false => domain.ways_out.home.clone(),
            },
            not_found: domain.ways_out.not_found.clone(),
            expired: domain.ways_out.expired.clone(),
            folds_case: domain.folds_case,
        };
        self.verified().map(serve).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_sees_shared_domains_and_its_own() {
        let workspace = |id| WorkspaceId::try_from(id).unwrap();
        let released =
            Domain { state: DomainState::Released, ..Domain::verified(3, "old.example", Some(7)) };
        let domains = Domains::new(
            vec![
                Domain::verified(1, "go.example.com", None),
                Domain::verified(2, "own.example", Some(7)),
                released,
            ],
            Origin::parse("public_url", "https://go.example.com:8443").unwrap(),
        );
        let host = |host: &str| Host::parse(host).unwrap();
        let find = |id, name| domains.find(workspace(id), &host(name)).map(|found| found.id.get());
        assert_eq!(find(7, "own.example"), Some(2));
        assert_eq!(find(8, "own.example"), None);
        assert_eq!(find(8, "GO.example.com"), Some(1));
        assert_eq!(find(7, "old.example"), None);
        let code = Code::parse("x").unwrap();
        let url = |id| domains.short_url(DomainId::try_from(id).unwrap(), &code);
        assert_eq!(url(1), "https://go.example.com:8443/x");
        assert_eq!(url(2), "https://own.example/x");
        assert_eq!(url(3), "https://old.example/x");
        let served: Vec<_> = domains.served(None).iter().map(|it| it.id.get()).collect();
        assert_eq!(served, [1, 2]);
    }
}
