//! What the tests of this crate's inside share: a fresh database with a workspace, a domain, a key.
//!
//! A store's contract is written once, as functions that take a [`TestDb`], and
//! [`on_each_database!`] makes tests of them: on SQLite, and on a real PostgreSQL if the feature
//! `postgres-tests` is on. A function that is not in its list is dead code, and clippy says so.

#[cfg(any(feature = "postgres-tests", feature = "redis-tests"))]
pub(crate) mod authority;
#[cfg(feature = "postgres-tests")]
#[path = "../tests/support/postgres.rs"]
pub(crate) mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carom_shared::{
    ApiKeyId, Code, DomainId, Host, Random, SeededRandom, TargetPolicy, TargetUrl, UnixMillis,
    WorkspaceId,
};

use crate::access::Scopes;
use crate::apikey::Grant;
use crate::apikey::store::{NewKey, key_create};
use crate::audit::Actor;
use crate::config::DatabaseAt;
use crate::db::Database;
use crate::domain::store::{domain_ensure_default, domain_list};
use crate::feed::store::feed_ensure;
use crate::link::command::{CreateLink, LinkSettings};
use crate::workspace::store::workspace_ensure_first;

/// 2026-01-01T00:00:00Z
pub(crate) const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

pub(crate) struct TestDb {
    pub(crate) db: Database,
    pub(crate) random: SeededRandom,
    pub(crate) workspace: WorkspaceId,
    pub(crate) domain: DomainId,
    pub(crate) key: ApiKeyId,
    /// What holds the database, and removes it.
    _place: Box<dyn Send>,
}

/// Makes a test on each database of every function named.
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::testing::TestDb::sqlite().await).await;
            })+
        }
        #[cfg(feature = "postgres-tests")]
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::testing::TestDb::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_each_database;

impl TestDb {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = DatabaseAt::Sqlite(folder.path().join("carom.db"));
        Self::open(&at, Box::new(folder)).await
    }

    #[cfg(feature = "postgres-tests")]
    pub(crate) async fn postgres() -> Self {
        let place = postgres::TestPostgres::new(true).await;
        let at = crate::db::PostgresAt::parse(&place.url, 4).unwrap();
        Self::open(&DatabaseAt::Postgres(Box::new(at)), Box::new(place)).await
    }

    /// One whose place is another's to remove.
    pub(crate) async fn at(at: &DatabaseAt) -> Self {
        Self::open(at, Box::new(())).await
    }

    async fn open(at: &DatabaseAt, place: Box<dyn Send>) -> Self {
        let db = Database::open(at).await.unwrap();
        let random = SeededRandom::new(1);
        let mut tx = db.begin().await.unwrap();
        let workspace = workspace_ensure_first(&mut tx, NOW, &random).await.unwrap();
        let host = Host::parse("go.example").unwrap();
        assert!(domain_ensure_default(&mut tx, &host, NOW, &random).await.unwrap());
        assert_eq!(feed_ensure(&mut tx, NOW).await.unwrap().seq, 0);
        let domain = domain_list(&mut tx).await.unwrap()[0].id;
        let key = NewKey {
            workspace,
            account: None,
            name: "test".into(),
            hash: [7; 32],
            hint: "abcd".into(),
            grant: Grant::of(Scopes::ALL),
        };
        let key = key_create(&mut tx, key, NOW, &random).await.unwrap().id;
        tx.commit().await.unwrap();
        Self { db, random, workspace, domain, key, _place: place }
    }

    /// Somebody with the key.
    pub(crate) fn by(&self) -> Arc<Actor> {
        Arc::new(Actor { key: Some(self.key), ..Actor::default() })
    }

    /// A command that makes a plain link.
    pub(crate) fn create(&self, code: Option<&str>) -> CreateLink {
        let target = TargetUrl::parse("https://example.com/a", &TargetPolicy::default());
        CreateLink {
            workspace: self.workspace,
            by: self.by(),
            domain: self.domain,
            folds_case: false,
            code: code.map(|code| Code::parse(code).unwrap()),
            target: target.unwrap(),
            settings: LinkSettings::default(),
        }
    }
}

/// Draws the same bytes several times before it moves on.
pub(crate) struct StutteringRandom {
    pub(crate) times: usize,
    pub(crate) calls: AtomicUsize,
}

impl Random for StutteringRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        SeededRandom::new((call / self.times) as u64).fill(bytes);
    }
}
