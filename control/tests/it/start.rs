use super::*;

#[tokio::test]
async fn the_default_domain_follows_public_url() {
    let test = Test::new().await;
    let before = test.app.domains();
    test.app.close().await;
    let mut moved = test.config();
    moved.public_url = "https://s.example:8443".into();
    let app = open(moved, Arc::clone(&test.clock), 2).await.unwrap();
    let after = app.domains();
    assert_eq!(after.len(), 1);
    let found = (after[0].id, after[0].host.as_str(), after[0].is_default);
    assert_eq!(found, (before[0].id, "s.example", true));
}

#[tokio::test]
async fn a_host_that_another_domain_has_stops_the_start() {
    let test = Test::new().await;
    test.app.close().await;
    let other = "insert into domain (id, host, is_default, workspace_id, created_at_ms) \
         values (5, 'other.example', false, null, 0)";
    test.database.execute(other).await;
    let mut clashing = test.config();
    clashing.public_url = "https://other.example".into();
    let error = open(clashing, Arc::clone(&test.clock), 2).await.err().unwrap();
    assert!(matches!(error, OpenError::HostTaken(_)));
    assert!(error.to_string().starts_with("public_url: other.example"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_stops_the_start_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("carom.db");
    std::fs::write(&path, "not a database, but long enough to be looked at").unwrap();
    let error = open(config(folder.path()), Arc::new(TestClock::new(NOW)), 1).await.err().unwrap();
    assert!(error.to_string().contains("carom.db"), "{error}");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, "not a database, but long enough to be looked at");
}

#[tokio::test]
async fn closing_leaves_no_log_of_sqlite_behind() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(config(folder.path()), Arc::new(TestClock::new(NOW)), 1).await.unwrap();
    assert!(folder.path().join("carom.db-wal").exists());
    app.close().await;
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["carom.db", "clicks.db"]);
}
