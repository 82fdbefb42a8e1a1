//! ClickHouse: whether it answers, can be used, has room, and has what it should have.

use carom_control::{ClickHouseContent, ClickHouseFacts, Config};
use carom_shared::clickhouse::ClickHouseError;
use carom_shared::{Clock, UnixMillis};

use super::finding::{Area, Findings};
use crate::output::backup::size;

/// Milliseconds by which clocks may differ.
const AHEAD_MS: i64 = 5_000;
/// Free room below which it is told of: so much, or a tenth of the disk.
const FREE_BYTES: u64 = 10 << 30;
/// Parts of a month, of those that it bears.
const PARTS_SHARE: u64 = 3;
const HOUR_MS: i64 = 3_600_000;

/// Says nothing where clicks are in a file.
pub(super) async fn examine(config: &Config, clock: &dyn Clock) -> Findings {
    let mut out = Findings::of(Area::Stores);
    match config.clickhouse_facts(clock).await {
        Ok(None) => {}
        Ok(Some(facts)) => examine_facts(&mut out, &facts, clock.now()),
        Err(error) => away(&mut out, &error),
    }
    out
}

fn away(out: &mut Findings, error: &ClickHouseError) {
    let action = match error {
        ClickHouseError::Refused { code: 81, .. } => {
            "create the database that clicks.url names: CREATE DATABASE"
        }
        ClickHouseError::Refused { code: 192 | 193 | 194 | 497 | 516, .. } => {
            "see that the user and the password of clicks.url are right, and that the user has all \
             rights on the database, and may read system tables"
        }
        _ => "see that the server runs, and that clicks.url is right",
    };
    out.error(
        "clickhouse",
        format!("ClickHouse cannot be asked: {error}"),
        "redirects go on and clicks wait in the outbox of each edge; statistics are not answered",
        action,
    );
}

fn examine_facts(out: &mut Findings, facts: &ClickHouseFacts, now: UnixMillis) {
    let shown = &facts.shown;
    if facts.is_new_enough {
        out.ok("clickhouse", format!("{shown} answers: ClickHouse {}", facts.version));
    } else {
        out.error(
            "clickhouse",
            format!("{shown} is ClickHouse {}", facts.version),
            "Carom does not store clicks in it",
            "upgrade it to 24.8 or newer",
        );
    }
    if facts.ahead_ms.abs() > AHEAD_MS {
        let (seconds, way) =
            (facts.ahead_ms.abs() / 1000, if facts.ahead_ms > 0 { "ahead of" } else { "behind" });
        out.warning(
            "clickhouse_clock",
            format!("the clock of {shown} is {seconds} s {way} this machine's"),
            "clicks have the time of edges; which of the three is right is not known",
            "let a time service keep all clocks (systemd-timesyncd, chrony)",
        );
    }
    if facts.disk_bytes > 0 && facts.free_bytes < FREE_BYTES.min(facts.disk_bytes / 10) {
        out.warning(
            "clickhouse_disk",
            format!("{shown} has {} free of {}", size(facts.free_bytes), size(facts.disk_bytes)),
            "without room it takes no clicks, which then wait in the outbox of each edge; a merge needs as much \
             as the parts that it merges",
            "make room, or keep clicks for fewer days (clicks.retention_days)",
        );
    } else {
        out.ok("clickhouse_disk", format!("{shown} has {} free", size(facts.free_bytes)));
    }
    for (name, value) in &facts.settings {
        out.error(
            "clickhouse_settings",
            format!("the user of {shown} has {name} = {value}, and may not change it"),
            "Carom sets what it relies on with each statement, and the server refuses that",
            "take the constraint away from the user's settings profile",
        );
    }
    examine_schema(out, facts);
    if let Some(content) = &facts.content {
        examine_content(out, shown, content, now);
    }
}

fn examine_schema(out: &mut Findings, facts: &ClickHouseFacts) {
    let shown = &facts.shown;
    match facts.schema {
        None => out.notice(
            "schema",
            format!("nothing of Carom is in {shown}"),
            "the next start makes the tables",
            "none, if this installation is new",
        ),
        Some(found) if found > facts.known => out.error(
            "schema",
            format!("{shown} has schema {found}, this version knows {}", facts.known),
            "a newer version of Carom wrote it; this one stores nothing in it",
            "use that version",
        ),
        Some(found) if found < facts.known => out.notice(
            "schema",
            format!("{shown} has schema {found}, this version writes {}", facts.known),
            "the next start brings it up to date; it is not copied aside",
            "make a copy first: BACKUP DATABASE",
        ),
        Some(found) => out.ok("schema", format!("{shown} has this version's schema, {found}")),
    }
}

fn examine_content(out: &mut Findings, shown: &str, content: &ClickHouseContent, now: UnixMillis) {
    if let Some(not_served) = &content.not_served {
        out.error(
            "clicks_moved",
            not_served.clone(),
            "carom does not start on this store of clicks",
            "see Moving in docs/OPERATING.md",
        );
    }
    let ClickHouseContent { rows, bytes, parts, parts_max, .. } = content;
    out.ok("clickhouse_clicks", format!("{rows} clicks, {} on its disk", size(*bytes)));
    if *parts_max > 0 && *parts > parts_max / PARTS_SHARE {
        out.warning(
            "clickhouse_parts",
            format!("a month of a table of {shown} has {parts} parts"),
            format!("with {parts_max} of them the server holds up inserts; merges do not keep up with batches"),
            "let edges cut fewer batches (spool.flush_ms), or give the server more threads for merges \
             (background_pool_size)",
        );
    } else {
        out.ok("clickhouse_parts", format!("a month of a table has {parts} parts at most"));
    }
    if content.detached > 0 {
        out.warning(
            "clickhouse_detached",
            format!("{} parts of {shown} are set aside", content.detached),
            "the server found them broken at its start; the clicks in them are not counted",
            "look at system.detached_parts; batches that edges keep still are stored again by themselves",
        );
    }
    if let Some(reason) = &content.mutation_failed {
        out.error(
            "clickhouse_mutations",
            format!("a deletion of {shown} fails: {reason}"),
            "what was to be erased, or is too old, is not gone",
            "look at system.mutations",
        );
    } else if content.mutations > 0 {
        out.ok("clickhouse_mutations", format!("{} deletions are under way", content.mutations));
    }
    if content.leftovers > 0 {
        out.notice(
            "clickhouse_leftovers",
            format!("{shown} has copies of tables for a backup (click_cut)"),
            "a backup is being made, or was cut off; copies keep the room of what is deleted meanwhile",
            "none: the next backup with --clicks removes them",
        );
    }
    examine_sums(out, content, now);
}

fn examine_sums(out: &mut Findings, content: &ClickHouseContent, now: UnixMillis) {
    if content.rollup_off == 0 {
        out.ok("rollup", "sums are those of the clicks, in all that is older than an hour");
    } else {
        let since = content.rollup_off_since.unwrap_or(now);
        let hours = now.get().saturating_sub(since.get()) / HOUR_MS;
        out.warning(
            "rollup",
            format!("sums are off by {} clicks, since {hours} hours ago", content.rollup_off),
            "statistics with and without filters disagree; the control plane that leads puts this right once \
             an hour",
            "none, if it is gone in an hour; otherwise see its log, and that one serves",
        );
    }
    if content.unnoted == 0 {
        out.ok("ledger", "each batch that has clicks is in the ledger");
    } else {
        out.warning(
            "ledger",
            format!("{} batches have clicks and are not in the ledger", content.unnoted),
            "whoever shipped them was stopped in between, and has them in its outbox still; what is there in \
             part is put right when they come again",
            "none, if an edge is away; otherwise see that its spool was not deleted",
        );
    }
    let ahead = content.newest_ms.unwrap_or(0).saturating_sub(now.get());
    if ahead > 60_000 {
        out.warning(
            "future_clicks",
            format!("the last batch was stored {} s in the future", ahead / 1000),
            "the clock of who stored it was ahead then, or this one is behind now",
            "let a time service keep the clock (systemd-timesyncd, chrony)",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn levels(facts: &ClickHouseFacts) -> Vec<(&'static str, Level)> {
        let mut out = Findings::of(Area::Stores);
        examine_facts(&mut out, facts, UnixMillis::new(1_780_272_000_000));
        let bad = out.into_inner().into_iter().filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.check, finding.level)).collect()
    }

    fn well() -> ClickHouseFacts {
        ClickHouseFacts {
            shown: "http://db:8123/carom".to_owned(),
            version: "24.8.1".to_owned(),
            is_new_enough: true,
            free_bytes: 100 << 30,
            disk_bytes: 200 << 30,
            schema: Some(2),
            known: 2,
            content: Some(ClickHouseContent {
                parts: 40,
                parts_max: 1000,
                ..ClickHouseContent::default()
            }),
            ..ClickHouseFacts::default()
        }
    }

    #[test]
    fn each_fault_is_told_and_nothing_else() {
        assert_eq!(levels(&well()), []);
        let with = |change: fn(&mut ClickHouseFacts)| {
            let mut facts = well();
            change(&mut facts);
            levels(&facts)
        };
        let content = |change: fn(&mut ClickHouseContent)| {
            let mut facts = well();
            change(facts.content.as_mut().unwrap());
            levels(&facts)
        };
        use Level::{Error, Notice, Warning};
        assert_eq!(with(|facts| facts.is_new_enough = false), [("clickhouse", Error)]);
        assert_eq!(with(|facts| facts.ahead_ms = -9000), [("clickhouse_clock", Warning)]);
        assert_eq!(with(|facts| facts.free_bytes = 1 << 30), [("clickhouse_disk", Warning)]);
        let pinned = with(|facts| facts.settings.push(("readonly".to_owned(), "1".to_owned())));
        assert_eq!(pinned, [("clickhouse_settings", Error)]);
        assert_eq!(with(|facts| facts.schema = Some(3)), [("schema", Error)]);
        assert_eq!(with(|facts| facts.schema = Some(1)), [("schema", Notice)]);
        let empty = with(|facts| (facts.schema, facts.content) = (None, None));
        assert_eq!(empty, [("schema", Notice)]);
        assert_eq!(content(|content| content.parts = 400), [("clickhouse_parts", Warning)]);
        assert_eq!(content(|content| content.detached = 1), [("clickhouse_detached", Warning)]);
        let failed = content(|content| content.mutation_failed = Some("no room".to_owned()));
        assert_eq!(failed, [("clickhouse_mutations", Error)]);
        assert_eq!(content(|content| content.leftovers = 1), [("clickhouse_leftovers", Notice)]);
        assert_eq!(content(|content| content.rollup_off = 1), [("rollup", Warning)]);
        assert_eq!(content(|content| content.unnoted = 1), [("ledger", Warning)]);
        let ahead = content(|content| content.newest_ms = Some(1_780_272_100_000));
        assert_eq!(ahead, [("future_clicks", Warning)]);
        let moved = content(|content| content.not_served = Some("moved".to_owned()));
        assert_eq!(moved, [("clicks_moved", Error)]);
    }
}
