//! Stores of clicks for tests: each test that is a contract runs on every kind there is.

use super::{ClickStore, sqlite};

/// An empty store.
pub(crate) struct TestStore {
    pub(crate) store: ClickStore,
    pub(crate) kind: &'static str,
    _folder: Option<tempfile::TempDir>,
}

impl TestStore {
    /// One of SQLite, and with the feature `clickhouse-tests` one of ClickHouse.
    pub(crate) async fn each() -> Vec<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store = sqlite::ClickStore::open(&folder.path().join("clicks.db")).await.unwrap();
        let store = ClickStore::Sqlite(store);
        #[cfg_attr(
            not(feature = "clickhouse-tests"),
            expect(unused_mut, reason = "one kind alone")
        )]
        let mut stores = vec![Self { store, kind: "SQLite", _folder: Some(folder) }];
        #[cfg(feature = "clickhouse-tests")]
        {
            let store = ClickStore::ClickHouse(super::clickhouse::tests::new_store().await);
            stores.push(Self { store, kind: "ClickHouse", _folder: None });
        }
        stores
    }

    /// Removes what a server keeps.
    pub(crate) async fn remove(self) {
        #[cfg(feature = "clickhouse-tests")]
        if let ClickStore::ClickHouse(store) = &self.store {
            super::clickhouse::tests::remove(store).await;
        }
        self.store.close().await;
    }
}
