//! What somebody may do in a workspace: the role of a person, the scopes of a key. Pure.
//!
//! A role stands for scopes, and a handler asks for one scope: [`By`](crate::http::auth::By). A key
//! can do what its scopes say and the role of whoever made it still allows; a key that an operator
//! made on the command line has no role to lose.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a member may do. Each can do what those before it can.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Sees links and statistics.
    Viewer,
    /// Makes, changes and ends links.
    Editor,
    /// Manages members, keys and domains; reads the audit log.
    Admin,
    /// Renames, hands over and ends the workspace.
    Owner,
}

/// One thing that can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Scope {
    LinksRead,
    LinksWrite,
    LinksDelete,
    StatsRead,
    StatsErase,
    DomainsRead,
    DomainsWrite,
    MembersRead,
    MembersWrite,
    KeysRead,
    KeysWrite,
    AuditRead,
    WorkspaceWrite,
}

/// Some of all scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u32);

/// Why a text is no list of scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope {0}")]
pub(crate) struct ScopeError(pub(crate) String);

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Viewer, Self::Editor, Self::Admin, Self::Owner];

    /// As the database holds it.
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Viewer => 1,
            Self::Editor => 2,
            Self::Admin => 3,
            Self::Owner => 4,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    pub(crate) fn scopes(self) -> Scopes {
        let scopes = Scope::ALL.into_iter().filter(|scope| scope.least_role() <= self);
        scopes.fold(Scopes::NONE, Scopes::with)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scope {
    pub(crate) const ALL: [Self; 13] = [
        Self::LinksRead,
        Self::LinksWrite,
        Self::LinksDelete,
        Self::StatsRead,
        Self::StatsErase,
        Self::DomainsRead,
        Self::DomainsWrite,
        Self::MembersRead,
        Self::MembersWrite,
        Self::KeysRead,
        Self::KeysWrite,
        Self::AuditRead,
        Self::WorkspaceWrite,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::LinksRead => "links:read",
            Self::LinksWrite => "links:write",
            Self::LinksDelete => "links:delete",
            Self::StatsRead => "stats:read",
            Self::StatsErase => "stats:erase",
            Self::DomainsRead => "domains:read",
            Self::DomainsWrite => "domains:write",
            Self::MembersRead => "members:read",
            Self::MembersWrite => "members:write",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::AuditRead => "audit:read",
            Self::WorkspaceWrite => "workspace:write",
        }
    }

    /// The least role that has it.
    pub(crate) const fn least_role(self) -> Role {
        match self {
            Self::LinksRead | Self::StatsRead | Self::DomainsRead | Self::MembersRead => {
                Role::Viewer
            }
            Self::LinksWrite | Self::LinksDelete => Role::Editor,
            Self::StatsErase
            | Self::DomainsWrite
            | Self::MembersWrite
            | Self::KeysRead
            | Self::KeysWrite
            | Self::AuditRead => Role::Admin,
            Self::WorkspaceWrite => Role::Owner,
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| ScopeError(text.to_owned()))
    }
}

impl Scopes {
    pub(crate) const NONE: Self = Self(0);
    /// Also those that later versions add.
    pub(crate) const ALL: Self = Self(u32::MAX);

    pub(crate) const fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    pub(crate) const fn has(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// What both allow.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is in these that is not in `other`.
    pub(crate) const fn are_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, ScopeError> {
        if text == "*" {
            return Ok(Self::ALL);
        }
        text.split_ascii_whitespace().try_fold(Self::NONE, |all, name| Ok(all.with(name.parse()?)))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("*");
        }
        for (at, scope) in self.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{}", scope.as_str())?;
        }
        Ok(())
    }
}

/// A type for each scope, so that a handler's signature says what it needs.
pub(crate) mod allow {
    use super::Scope;

    pub(crate) trait Permission {
        const SCOPE: Scope;
    }

    macro_rules! permissions {
        ($($name:ident),+ $(,)?) => {$(
            #[derive(Clone, Copy, Debug)]
            pub(crate) enum $name {}

            impl Permission for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )+};
    }

    permissions!(
        LinksRead, LinksWrite, LinksDelete, StatsRead, StatsErase, DomainsRead, DomainsWrite,
        MembersRead, MembersWrite, KeysRead, KeysWrite, AuditRead, WorkspaceWrite,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_can_do_what_those_before_it_can() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[0].scopes().are_within(pair[1].scopes()));
            assert_ne!(pair[0].scopes(), pair[1].scopes());
        }
        assert_eq!(
            Role::Viewer.scopes().to_string(),
            "links:read stats:read domains:read members:read"
        );
        assert!(Scope::ALL.iter().all(|scope| Role::Owner.scopes().has(*scope)));
        assert!(Role::ALL.iter().all(|role| Role::from_number(role.number()) == Some(*role)));
    }

    #[test]
    fn scopes_are_read_as_they_were_written() {
        for scopes in [Scopes::NONE, Scopes::ALL, Role::Admin.scopes(), Role::Viewer.scopes()] {
            assert_eq!(Scopes::parse(&scopes.to_string()), Ok(scopes));
        }
        let unknown = Scopes::parse("links:read links:own");
        assert_eq!(unknown, Err(ScopeError("links:own".into())));
        assert!(
            !Role::Owner.scopes().and(Scopes::NONE.with(Scope::LinksRead)).has(Scope::StatsRead)
        );
    }
}
