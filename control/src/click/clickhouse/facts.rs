//! What a server says of itself and of the clicks in it, for whoever looks after an installation. Only
//! reads, and makes no table.

use std::time::Instant;

use carom_shared::clickhouse::{ClickHouseError, SETTINGS, Statement};
use carom_shared::{Clock, UnixMillis};

use super::http::{ClickHouseServer, Client};
use super::{ClickStore, schema};
use crate::click::moving;
use crate::config::{ClicksAt, Config};

/// What a ClickHouse says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClickHouseFacts {
    /// Which database it is; never with its password.
    pub shown: String,
    pub version: String,
    /// Whether this version can be used.
    pub is_new_enough: bool,
    /// Milliseconds by which its clock is ahead of this machine's; less than zero: behind.
    pub ahead_ms: i64,
    /// The least free room of its disks, and all of that disk, in bytes.
    pub free_bytes: u64,
    pub disk_bytes: u64,
    /// Settings of the server or the user under which Carom cannot work as it has to: name, value.
    pub settings: Vec<(String, String)>,
    /// `None`: nothing of Carom is in it yet.
    pub schema: Option<i64>,
    pub known: i64,
    /// What is in it, where the schema is this version's.
    pub content: Option<ClickHouseContent>,
}

/// What is in a database of clicks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClickHouseContent {
    pub rows: u64,
    pub bytes: u64,
    /// The most parts that a month of a table has.
    pub parts: u64,
    /// How many of them the server bears before it holds up inserts.
    pub parts_max: u64,
    pub detached: u64,
    /// Deletions that wait.
    pub mutations: u64,
    /// Why the last of them failed, if one did.
    pub mutation_failed: Option<String>,
    /// By how many clicks the rollup is off in quarter hours that are over, and the oldest of these.
    pub rollup_off: u64,
    pub rollup_off_since: Option<UnixMillis>,
    /// Batches that have rows and are not in the ledger, of more than an hour ago.
    pub unnoted: u64,
    /// When a batch was stored last.
    pub newest_ms: Option<i64>,
    /// Tables of a backup that was cut off.
    pub leftovers: u64,
    /// Why the clicks are not served, if a move is the cause.
    pub not_served: Option<String>,
}

impl Config {
    /// What the ClickHouse says of itself and of the clicks in it, if they are in one.
    ///
    /// # Errors
    /// [`ClickHouseError`], if it does not answer.
    pub async fn clickhouse_facts(
        &self,
        clock: &dyn Clock,
    ) -> Result<Option<ClickHouseFacts>, ClickHouseError> {
        match self.clicks.at(&self.data_dir) {
            Ok(Some(ClicksAt::ClickHouse { server, .. })) => facts(server, clock).await.map(Some),
            // What is wrong with settings is said when they are checked.
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

async fn facts(
    server: ClickHouseServer,
    clock: &dyn Clock,
) -> Result<ClickHouseFacts, ClickHouseError> {
    let (shown, known) = (server.shown(), schema::known());
    let mut facts = ClickHouseFacts { shown, known, ..ClickHouseFacts::default() };
    let client = Client::new(server.clone())?;
    const SERVER: &str =
        "SELECT version(), toUnixTimestamp64Milli(now64(3)) FORMAT JSONCompactEachRow";
    // The first question also connects.
    client.run(Statement::new(SERVER, SETTINGS)).await?;
    let begun = Instant::now();
    let said: Vec<(String, i64)> = client.rows(Statement::new(SERVER, SETTINGS)).await?;
    let half = i64::try_from(begun.elapsed().as_millis() / 2).unwrap_or_default();
    if let Some((version, now_ms)) = said.into_iter().next() {
        facts.is_new_enough = schema::is_new_enough(&version);
        facts.version = version;
        facts.ahead_ms = now_ms + half - clock.now().get();
    }
    const DISKS: &str = "SELECT free_space, total_space FROM system.disks \
         WHERE total_space > 0 ORDER BY free_space LIMIT 1 FORMAT JSONCompactEachRow";
    let disks: Vec<(u64, u64)> = client.rows(Statement::new(DISKS, SETTINGS)).await?;
    if let Some((free, all)) = disks.into_iter().next() {
        (facts.free_bytes, facts.disk_bytes) = (free, all);
    }
    facts.settings = against(&client).await?;
    const SCHEMA: &str = "SELECT count() FROM system.tables WHERE database = currentDatabase() \
         AND name = 'carom_migration' FORMAT JSONCompactEachRow";
    let there: Vec<(u64,)> = client.rows(Statement::new(SCHEMA, SETTINGS)).await?;
    if there.first().is_some_and(|(tables,)| *tables > 0) {
        const VERSION: &str = "SELECT max(version) FROM carom_migration FORMAT JSONCompactEachRow";
        let version: Vec<(i64,)> = client.rows(Statement::new(VERSION, SETTINGS)).await?;
        facts.schema = version.first().map(|(version,)| *version).filter(|version| *version > 0);
    }
    if facts.schema == Some(facts.known) {
        let mut content = content(&client, clock.now()).await?;
        content.not_served = not_served(server).await;
        facts.content = Some(content);
    }
    Ok(facts)
}

/// Why the clicks are not served, if a move is the cause.
async fn not_served(server: ClickHouseServer) -> Option<String> {
    let store = ClickStore::open(server, "").await.ok()?;
    let judged = moving::may_be_served(&crate::click::ClickStore::ClickHouse(store)).await;
    judged.err().map(|not_served| not_served.to_string())
}

/// Settings that are not what each statement asks for, and may not be changed.
async fn against(client: &Client) -> Result<Vec<(String, String)>, ClickHouseError> {
    const READONLY: &str = "SELECT name, value FROM system.settings \
         WHERE name IN ('readonly', 'allow_ddl') AND NOT (name = 'readonly' AND value = '0') \
         AND NOT (name = 'allow_ddl' AND value = '1') FORMAT JSONCompactEachRow";
    let mut found: Vec<(String, String)> = client.rows(Statement::new(READONLY, SETTINGS)).await?;
    const PINNED: &str = "SELECT name, value FROM system.settings WHERE readonly = 1 \
         AND name IN ('async_insert', 'insert_deduplicate', 'max_insert_block_size', \
           'min_insert_block_size_rows', 'min_insert_block_size_bytes', 'mutations_sync', \
           'max_execution_time', 'max_partitions_per_insert_block') FORMAT JSONCompactEachRow";
    let pinned: Vec<(String, String)> = client.rows(Statement::new(PINNED, SETTINGS)).await?;
    found.extend(pinned);
    Ok(found)
}

async fn content(client: &Client, now: UnixMillis) -> Result<ClickHouseContent, ClickHouseError> {
    let mut content = ClickHouseContent::default();
    const PARTS: &str = "SELECT sum(r), sum(b), max(p) FROM (\
         SELECT sum(rows) * (table = 'click') AS r, sum(bytes_on_disk) AS b, count() AS p \
         FROM system.parts WHERE database = currentDatabase() AND active \
         GROUP BY table, partition_id) FORMAT JSONCompactEachRow";
    let parts: Vec<(u64, u64, u64)> = client.rows(Statement::new(PARTS, SETTINGS)).await?;
    if let Some(&(rows, bytes, parts)) = parts.first() {
        (content.rows, content.bytes, content.parts) = (rows, bytes, parts);
    }
    const OTHERS: &str = "SELECT \
         (SELECT toUInt64(any(value)) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert'), \
         (SELECT count() FROM system.detached_parts WHERE database = currentDatabase()), \
         (SELECT count() FROM system.mutations WHERE database = currentDatabase() AND NOT is_done), \
         (SELECT max(latest_fail_reason) FROM system.mutations \
           WHERE database = currentDatabase() AND NOT is_done), \
         (SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'click_cut'), \
         (SELECT max(stored_ms) FROM batch) FORMAT JSONCompactEachRow";
    type Others = (u64, u64, u64, Option<String>, u64, i64);
    let others: Vec<Others> = client.rows(Statement::new(OTHERS, SETTINGS)).await?;
    if let Some((parts_max, detached, mutations, failed, leftovers, newest_ms)) =
        others.into_iter().next()
    {
        (content.parts_max, content.detached, content.mutations) = (parts_max, detached, mutations);
        content.mutation_failed = failed.filter(|reason| !reason.is_empty());
        content.leftovers = leftovers;
        content.newest_ms = Some(newest_ms).filter(|newest_ms| *newest_ms > 0);
    }
    doubts(client, now, &mut content).await?;
    Ok(content)
}

/// What is in doubt of all that is older than an hour: sums, and batches that nobody wrote down.
async fn doubts(
    client: &Client,
    now: UnixMillis,
    content: &mut ClickHouseContent,
) -> Result<(), ClickHouseError> {
    let hour_ago = now.as_secs().saturating_sub(3600);
    let off = format!(
        "SELECT sum(abs(off)), min(toUnixTimestamp(quarter)) FROM (\
         SELECT quarter, sum(d) AS off FROM (\
         SELECT toStartOfFifteenMinutes(at) AS quarter, toInt64(sum(click.n)) AS d FROM click \
         GROUP BY quarter UNION ALL \
         SELECT quarter, -sum(click_quarter.n) AS d FROM click_quarter GROUP BY quarter) \
         WHERE quarter >= (SELECT toDateTime(max(detail_since_s), 'UTC') FROM retention) \
         AND quarter < toDateTime({hour_ago}, 'UTC') GROUP BY quarter HAVING off != 0) \
         FORMAT JSONCompactEachRow"
    );
    let off: Vec<(u64, i64)> = client.rows(Statement::new(&off, SETTINGS)).await?;
    if let Some(&(clicks, since_s)) = off.first() {
        content.rollup_off = clicks;
        content.rollup_off_since = (clicks > 0).then(|| UnixMillis::new(since_s * 1000));
    }
    // By the projection: a count of batches, not of rows.
    let unnoted = format!(
        "SELECT count() FROM (SELECT batch, max(toStartOfFifteenMinutes(at)) AS last FROM click \
         GROUP BY batch HAVING batch NOT IN (SELECT batch FROM batch)) \
         WHERE last < toDateTime({hour_ago}, 'UTC') FORMAT JSONCompactEachRow"
    );
    let unnoted: Vec<(u64,)> = client.rows(Statement::new(&unnoted, SETTINGS)).await?;
    content.unnoted = unnoted.first().map_or(0, |(batches,)| *batches);
    Ok(())
}
