//! Domains: the hosts on which codes are unique.

pub(crate) mod store;

use carom_shared::{Code, DomainId, Host, WorkspaceId};

use crate::config::Origin;

/// A host on which codes are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) id: DomainId,
    pub(crate) host: Host,
    pub(crate) is_default: bool,
    /// `None`: shared by all workspaces.
    pub(crate) workspace: Option<WorkspaceId>,
}

/// The domains of the installation, as they were when it started.
#[derive(Clone, Debug)]
pub(crate) struct Domains {
    all: Vec<Domain>,
    public_url: Origin,
}

impl Domains {
    pub(crate) const fn new(all: Vec<Domain>, public_url: Origin) -> Self {
        Self { all, public_url }
    }

    pub(crate) fn all(&self) -> &[Domain] {
        &self.all
    }

    pub(crate) fn default_domain(&self) -> Option<&Domain> {
        self.all.iter().find(|domain| domain.is_default)
    }

    /// The domain with this host, if this workspace may put links on it.
    pub(crate) fn find(&self, workspace: WorkspaceId, host: &Host) -> Option<&Domain> {
        let may_use = |domain: &&Domain| domain.workspace.is_none_or(|owner| owner == workspace);
        self.all.iter().filter(may_use).find(|domain| domain.host == *host)
    }

    pub(crate) fn by_id(&self, id: DomainId) -> Option<&Domain> {
        self.all.iter().find(|domain| domain.id == id)
    }

    /// The short URL of a code. Only the default domain's port is known; others have none.
    pub(crate) fn short_url(&self, domain: DomainId, code: &Code) -> String {
        match self.by_id(domain).filter(|domain| !domain.is_default) {
            Some(domain) => format!("{}://{}/{code}", self.public_url.scheme(), domain.host),
            None => format!("{}/{code}", self.public_url.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_sees_shared_domains_and_its_own() {
        let workspace = |id| WorkspaceId::try_from(id).unwrap();
        let domain = |id, host: &str, owner: Option<i64>| Domain {
            id: DomainId::try_from(id).unwrap(),
            host: Host::parse(host).unwrap(),
            is_default: id == 1,
            workspace: owner.map(workspace),
        };
        let domains = Domains::new(
            vec![domain(1, "go.example.com", None), domain(2, "own.example", Some(7))],
            Origin::parse("public_url", "https://go.example.com:8443").unwrap(),
        );
        let host = |host: &str| Host::parse(host).unwrap();
        let find = |id, name| domains.find(workspace(id), &host(name)).map(|found| found.id.get());
        assert_eq!(find(7, "own.example"), Some(2));
        assert_eq!(find(8, "own.example"), None);
        assert_eq!(find(8, "GO.example.com"), Some(1));
        let code = Code::parse("x").unwrap();
        let url = |id| domains.short_url(DomainId::try_from(id).unwrap(), &code);
        assert_eq!(url(1), "https://go.example.com:8443/x");
        assert_eq!(url(2), "https://own.example/x");
    }
}
