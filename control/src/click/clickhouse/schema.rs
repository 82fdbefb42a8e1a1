//! The schema in ClickHouse: its changes, in order, and how far a database has come.
//!
//! A change is a file of statements, each of which may be run again: there are no transactions around
//! them. A change is written down once all of its statements were run, so a start that is killed between
//! two of them, or two starts at once, do no harm.

use carom_shared::clickhouse::{ClickHouseError, Statement};
use sha2::{Digest, Sha256};

use super::http::Client;
use crate::db::{DbOpenError, Schema, schema};

const SCHEMA: Schema = schema!("clicks_clickhouse":
    1 "0001_click",
    2 "0002_ledger",
    3 "0003_view_definer",
    4 "0004_workspace_rollup",
    5 "0005_synced_notes",
);

/// Older servers have other settings, and other ideas of projections.
const OLDEST: (u32, u32) = (24, 8);
/// Tokens that a table remembers. Nothing relies on it: it spares the work of a deleted second copy.
const WINDOW: &str = "non_replicated_deduplication_window = 10000";
const WINDOW_REPLICATED: &str = "replicated_deduplication_window = 100000, \
     replicated_deduplication_window_seconds = 604800";
const SETTINGS: &[(&str, &str)] = &[
    ("wait_end_of_query", "1"),
    ("async_insert", "0"),
    ("distributed_ddl_task_timeout", "60"),
    // What an old table gets in the background is not waited for: a server's default may be to do so.
    ("mutations_sync", "0"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("max_execution_time", "120"),
];

/// The version of this schema.
pub(super) fn known() -> i64 {
    SCHEMA.last().map_or(0, |&(version, ..)| version)
}

/// Brings a database to this version's schema. With a cluster's name, tables are replicated in it.
pub(super) async fn migrate(client: &Client, cluster: &str) -> Result<(), DbOpenError> {
    let failed = |source| DbOpenError::ClickHouse { at: client.at().shown(), source };
    let run = async |sql: &str| client.run(Statement::new(sql, SETTINGS)).await.map_err(failed);
    const VERSION: &str = "SELECT version() FORMAT JSONCompactEachRow";
    let found: Vec<(String,)> =
        client.rows(Statement::new(VERSION, SETTINGS)).await.map_err(failed)?;
    let version = found.into_iter().next().map(|(version,)| version).unwrap_or_default();
    if !is_new_enough(&version) {
        let (major, minor) = OLDEST;
        let text = format!("it is version {version}; {major}.{minor} or newer is needed");
        return Err(failed(ClickHouseError::Answer(text)));
    }
    let fill = |sql: &str| filled(sql, cluster);
    run(&fill(
        "create table if not exists carom_migration {on_cluster} \
         (version Int64, name String, checksum String) \
         engine = {engine:MergeTree} order by version settings {window}",
    ))
    .await?;
    const DONE: &str =
        "SELECT version, checksum FROM carom_migration ORDER BY version FORMAT JSONCompactEachRow";
    let done: Vec<(i64, String)> =
        client.rows(Statement::new(DONE, SETTINGS)).await.map_err(failed)?;
    let known = known();
    let found = done.last().map_or(0, |&(version, _)| version);
    if found > known {
        return Err(DbOpenError::Newer { path: client.at().shown(), found, known });
    }
    for &(version, name, sql) in SCHEMA {
        let checksum = checksum(sql);
        match done.iter().find(|(done, _)| *done == version) {
            Some((_, there)) if *there == checksum => continue,
            Some(_) => {
                let text = format!(
                    "its schema was made by another text of {name}: it is no database of a release \
                     of Carom"
                );
                return Err(failed(ClickHouseError::Answer(text)));
            }
            None => {}
        }
        for statement in statements(sql) {
            run(&fill(&statement)).await?;
        }
        let note =
            format!("INSERT INTO carom_migration VALUES ({version}, '{name}', '{checksum}')");
        run(&note).await?;
        tracing::info!(name, "the schema in ClickHouse was changed");
    }
    Ok(())
}

pub(super) fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The statements of a change, without comments.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    let statements = code.split(";\n").map(|part| part.trim().trim_end_matches(';').to_owned());
    statements.filter(|statement| !statement.is_empty()).collect()
}

fn filled(sql: &str, cluster: &str) -> String {
    let sql = if cluster.is_empty() {
        sql.replace("{on_cluster}", "").replace("{window}", WINDOW)
    } else {
        let on_cluster = format!("on cluster `{cluster}`");
        let sql = sql.replace("{on_cluster}", &on_cluster).replace("{window}", WINDOW_REPLICATED);
        sql.replace("{engine:", "{engine:Replicated")
    };
    let mut rest = sql.as_str();
    let mut out = String::with_capacity(sql.len());
    while let Some((before, after)) = rest.split_once("{engine:") {
        let (engine, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(engine);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_filled_in_for_one_server_and_for_a_cluster() {
        let text = "create table x {on_cluster} engine = {engine:MergeTree} settings {window}";
        assert_eq!(
            filled(text, ""),
            "create table x  engine = MergeTree settings non_replicated_deduplication_window = 10000"
        );
        assert_eq!(
            filled(text, "main"),
            "create table x on cluster `main` engine = ReplicatedMergeTree settings \
             replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800"
        );
        for &(_, name, sql) in SCHEMA {
            for statement in statements(sql) {
                let filled = filled(&statement, "");
                let is_whole = !filled.contains(['{', '}', ';']);
                let is_known = ["create ", "alter "].iter().any(|verb| filled.starts_with(verb));
                assert!(is_whole && is_known, "{name}: {filled}");
            }
        }
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        for (version, expected) in [
            ("24.8.1.1", true),
            ("26.9.2.1", true),
            ("24.7.9.9", false),
            ("9.9", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
