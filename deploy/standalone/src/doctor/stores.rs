//! The stores: whether they are whole, of this version, and agree with each other.

use carom_control::DbOpenError;
use carom_control::check::{CheckError, Depth, PostgresFacts, StoreFile, Stores, sqlite_version};
use carom_shared::UnixMillis;
use carom_shared::batch::Token;

use super::finding::{Area, Findings};
use crate::compose::chain;

/// Sums of so many days are compared with their rows.
const ROLLUP_DAYS: i64 = 7;
/// The oldest PostgreSQL that is tested.
const POSTGRES_MIN: i64 = 140_000;
/// Milliseconds by which the store may be ahead of the clock.
const AHEAD_MS: i64 = 60_000;

/// What is looked at, and how.
pub(super) struct Look<'a> {
    pub(super) depth: Depth,
    /// Somebody serves: what is in two files is not of one moment.
    pub(super) is_live: bool,
    /// The batches in the outbox, each with when it was made.
    pub(super) waiting: &'a [(Token, UnixMillis)],
    pub(super) now: UnixMillis,
}

pub(super) async fn examine(stores: &Stores, look: &Look<'_>) -> Findings {
    let mut out = Findings::of(Area::Stores);
    let mut are_whole = true;
    for file in stores.files() {
        are_whole &= examine_file(&mut out, file, look.depth).await;
    }
    if stores.links.is_none() {
        examine_postgres(&mut out, stores).await;
    }
    // What is damaged, missing or of another version cannot be asked more.
    if are_whole {
        if stores.has_clicks {
            examine_ledger(&mut out, stores, look).await;
            examine_sums(&mut out, stores, look).await;
        }
        examine_move(&mut out, stores).await;
    }
    match sqlite_version().await {
        Ok(version) => out.ok("sqlite", format!("SQLite {version} is built in")),
        Err(error) => out.error(
            "sqlite",
            format!("SQLite does not work: {}", chain(&error)),
            "no database can be opened",
            "install Carom again",
        ),
    }
    out
}

/// Whether the file is there, whole, and of this version.
async fn examine_file(out: &mut Findings, file: &StoreFile, depth: Depth) -> bool {
    let (name, known) = (file.name, file.known());
    let version = match file.version().await {
        Ok(Some(version)) => version,
        Ok(None) => {
            out.notice(
                "schema",
                format!("{name} is not there"),
                "the next start makes an empty one",
                "none, if this installation is new; otherwise see that data_dir is right",
            );
            return false;
        }
        Err(error) => {
            failed(out, name, &error);
            return false;
        }
    };
    match file.complaints(depth).await {
        Ok(complaints) if complaints.is_empty() => {
            let looked = match depth {
                Depth::Quick => "every page of it is in order (not its indexes: see --deep)",
                Depth::Deep => "every page, index and reference of it is in order",
            };
            out.ok("integrity", format!("{name}: {looked}"));
        }
        Ok(complaints) => {
            damaged(out, name, &complaints.join("; "));
            return false;
        }
        Err(error) => {
            failed(out, name, &error);
            return false;
        }
    }
    if version < known {
        out.notice(
            "schema",
            format!("{name} has schema {version}, this version writes {known}"),
            "the next start copies it aside (before-upgrade-...) and brings it up to date",
            "none; the copy needs as much room on the disk as the database",
        );
        return false;
    }
    out.ok("schema", format!("{name} has this version's schema, {version}"));
    true
}

fn failed(out: &mut Findings, name: &str, error: &CheckError) {
    match error {
        CheckError::Damaged { complaint, .. } => damaged(out, name, complaint),
        CheckError::Open(DbOpenError::Newer { found, known, .. }) => out.error(
            "schema",
            format!("{name} has schema {found}, this version knows {known}"),
            "a newer version of Carom wrote it; this one does not start on it",
            "use that version, or restore a backup made before the upgrade",
        ),
        error => out.error(
            "integrity",
            format!("{name} cannot be read: {}", chain(error)),
            "it is not known whether it is whole",
            "see who may read it (carom has to run as the folder's owner), and try again",
        ),
    }
}

fn damaged(out: &mut Findings, name: &str, complaint: &str) {
    out.error(
        "integrity",
        format!("{name} is damaged: {complaint}"),
        "what is in it may be wrong or missing, mostly because of a bad disk or a copy of a file \
         in use",
        "stop carom, keep a copy of the folder, and restore the last good backup; look at the disk",
    );
}

async fn examine_postgres(out: &mut Findings, stores: &Stores) {
    let facts = match stores.postgres().await {
        Ok(Some(facts)) => facts,
        Ok(None) => return,
        Err(error) => {
            out.error(
                "postgres",
                format!("PostgreSQL cannot be asked: {}", chain(&error)),
                "links cannot be made or changed; redirects of known links go on",
                "see that the server runs, and that database.url is right",
            );
            return;
        }
    };
    let shown = &facts.shown;
    if facts.version_number < POSTGRES_MIN {
        out.warning(
            "postgres",
            format!("{shown} is PostgreSQL {}", facts.version),
            "Carom is tested with 14 and newer",
            "upgrade the server",
        );
    } else {
        out.ok("postgres", format!("{shown} answers: PostgreSQL {}", facts.version));
    }
    if facts.encoding != "UTF8" {
        out.error(
            "postgres_encoding",
            format!("{shown} has the encoding {}", facts.encoding),
            "it cannot hold every text; Carom does not start on it",
            "create the database with encoding 'UTF8'",
        );
    }
    if !facts.fsync || !facts.full_page_writes {
        out.error(
            "postgres_durability",
            format!("{shown} has fsync or full_page_writes off"),
            "links that were acknowledged, or the whole database, may be lost when the power fails",
            "turn both on in postgresql.conf",
        );
    }
    if facts.is_standby {
        out.error(
            "postgres_standby",
            format!("{shown} is a standby"),
            "nothing can be written to it",
            "name the primary server in database.url",
        );
    }
    examine_postgres_schema(out, &facts);
}

fn examine_postgres_schema(out: &mut Findings, facts: &PostgresFacts) {
    let shown = &facts.shown;
    match facts.schema {
        Some(found) if found > facts.known => out.error(
            "schema",
            format!("{shown} has schema {found}, this version knows {}", facts.known),
            "a newer version of Carom wrote it; this one does not start on it",
            "use that version",
        ),
        Some(found) if found < facts.known => out.notice(
            "schema",
            format!("{shown} has schema {found}, this version writes {}", facts.known),
            "the next start brings it up to date; it is not copied aside",
            "make a copy first: pg_dump",
        ),
        Some(found) => out.ok("schema", format!("{shown} has this version's schema, {found}")),
        None => out.notice(
            "schema",
            format!("nothing of Carom is in {shown}"),
            "the next start makes the tables",
            "none, if this installation is new",
        ),
    }
}

async fn examine_ledger(out: &mut Findings, stores: &Stores, look: &Look<'_>) {
    let ledger = match stores.ledger(look.waiting, look.now).await {
        Ok(ledger) => ledger,
        Err(error) => return failed(out, stores.clicks.name, &error),
    };
    let waiting = look.waiting.len() as u64;
    if ledger.too_old > 0 {
        out.warning(
            "ledger",
            format!("{} of the batches that wait were made over 90 days ago", ledger.too_old),
            "the store does not remember whether it has them, and will refuse them",
            "they go to spool/quarantine at the next start; nothing there is deleted",
        );
    } else if waiting > 0 {
        out.ok(
            "ledger",
            format!("of {waiting} batches that wait, {} are stored already", ledger.known),
        );
    }
    let ahead = ledger.newest_ms.unwrap_or(0).saturating_sub(look.now.get());
    if ahead > AHEAD_MS {
        out.warning(
            "future_clicks",
            format!("the last batch was stored {} s in the future", ahead / 1000),
            "the clock was ahead then, or is behind now; clicks have the time of the clock",
            "let a time service keep the clock (systemd-timesyncd, chrony)",
        );
    }
}

/// Whether a move keeps the links from being served. That they cannot be asked was told above.
async fn examine_move(out: &mut Findings, stores: &Stores) {
    if let Ok(Some(not_served)) = stores.not_served().await {
        out.error(
            "moved",
            not_served.to_string(),
            "carom does not start on this database",
            "see Moving in docs/OPERATING.md",
        );
    }
}

async fn examine_sums(out: &mut Findings, stores: &Stores, look: &Look<'_>) {
    match stores.clicks_not_carried().await {
        Ok(None) => {}
        Ok(Some(0)) => out.ok("carried", "lists of links show every click that is stored"),
        Ok(Some(links)) => out.ok(
            "carried",
            format!("lists do not show the latest clicks of {links} links yet: they will"),
        ),
        Err(error) => failed(out, "clicks of links", &error),
    }
    if look.depth == Depth::Quick {
        return;
    }
    match stores.rollup_differences(look.now, ROLLUP_DAYS).await {
        Ok(Some(0)) => {
            out.ok(
                "rollup",
                format!("sums of the last {ROLLUP_DAYS} days are those of the clicks"),
            );
        }
        Ok(Some(n)) => out.error(
            "rollup",
            format!("{n} sums of the last {ROLLUP_DAYS} days are not those of the clicks"),
            "statistics with and without filters disagree; this is a defect, or a repaired file",
            "keep a copy of clicks.db and report it; restore a backup if it was repaired by hand",
        ),
        Ok(None) => out.ok("rollup", "clicks are being erased: sums are compared another time"),
        Err(error) => failed(out, stores.clicks.name, &error),
    }
    match stores.blocks_that_differ().await {
        Ok(Some(0)) => out.ok("blocks", "breakdowns of past times have the clicks of those times"),
        Ok(Some(n)) => out.error(
            "blocks",
            format!("{n} breakdowns of past times have other clicks than those times"),
            "lists of countries, referrers and the like are wrong for those times; this is a defect, or a \
             repaired file",
            "keep a copy of clicks.db and report it; then stop carom, and empty the tables workspace_block \
             and link_block: they are made again",
        ),
        Ok(None) => out.ok("blocks", "clicks are being erased: breakdowns are compared another time"),
        Err(error) => failed(out, stores.clicks.name, &error),
    }
    if look.is_live {
        return;
    }
    match stores.links_with_other_clicks().await {
        Ok(None) => {}
        Ok(Some(0)) => out.ok("link_clicks", "each link shows the clicks that are stored for it"),
        Ok(Some(links)) => out.warning(
            "link_clicks",
            format!("{links} links show other clicks in lists than are stored for them"),
            "one of the two databases is from another time than the other",
            "restore both from one backup; new clicks put a link right by themselves",
        ),
        Err(error) => failed(out, "clicks of links", &error),
    }
}
