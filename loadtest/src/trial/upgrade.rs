//! No. 20: a new program takes over the full spool of an older one that was killed; and what a
//! newer version has written is refused, with nothing changed, or set aside, with nothing deleted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use super::ground::{Ground, clear, installation};
use super::machine::DatabaseLock;
use super::observe::{Metrics, relieved};
use super::report::{Finding, Impossible};
use super::{Stop, TrialArgs};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::population::Rng;

const LINKS: usize = 32;
const RATE: u32 = 5000;
const AWAY: Duration = Duration::from_secs(8);
const RELIEVED_MAX: Duration = Duration::from_secs(60);

/// Says of a database that a later version has changed it.
const NEWER: &str = "import sqlite3, sys\n\
    with sqlite3.connect(sys.argv[1]) as database:\n\
    \x20   database.execute(\"insert into _sqlx_migrations (version, description, success, \
    checksum, execution_time) values (9999, 'later', 1, x'00', 0)\")\n";

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let older = args
        .older
        .as_deref()
        .ok_or_else(|| Impossible("needs an older `carom`: give --older PROGRAM".to_owned()))?;
    let old = installation(args, older, "upgrade", &["spool.flush_ms=200"])?.older();
    let data = old.data_dir();
    let folder = data.parent().unwrap_or(&data);
    let new = args.place.existing(&args.carom, folder)?;
    let mut rng = Rng::new(seed);
    let mut server = old.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&old, LINKS).await?;
    let mut finding = Finding::of(
        "an older program is killed under load while its store is away; the new one starts on its \
         folder; then parts of the folder say that they are of a later version",
    );
    finding.figure("older program", version(older)?);
    finding.figure("program", version(&args.carom)?);

    let visitors = ground.visitors(args.rate.unwrap_or(RATE), &mut rng);
    let lock = DatabaseLock::take(&data.join("clicks.db"))?;
    sleep(AWAY).await;
    server.kill().await?;
    let seen = visitors.end().await?;
    drop(lock);
    let (files, bytes) = full(&data)?;
    finding.figure("batches left by the older program", format!("{files}, {bytes} bytes"));
    finding.happened(files > 1, "the spool of the older program was full of batches");

    let mut server = new.start()?;
    server.ready().await?;
    let metrics = Metrics::read(new.edge_admin()).await;
    let metrics = metrics.map_err(|error| Failure::new(format!("no metrics: {error}")))?;
    let recovered = metrics.get("carom_edge_clicks_recovered_total");
    finding.figure("clicks that were still in its ring", recovered);
    finding.happened(recovered > 0, "its ring was not empty");
    relieved(new.edge_admin(), RELIEVED_MAX).await;
    ground.must_live(&mut finding).await?;
    ground.compare(server, &seen, &mut finding).await?;
    let left = fs::read_dir(data.join("spool/quarantine")).map_or(0, Iterator::count);
    finding.must(left == 0, format!("nothing of it is set aside: {left} files"));

    refusals(&new, &data, &mut finding).await?;
    clear(args, &old, &finding)?;
    Ok(finding)
}

/// A spool, then a database of a later version: the start ends, and says why, and nothing is
/// changed.
async fn refusals(new: &Installation, data: &Path, finding: &mut Finding) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::new(format!("{}: {error}", data.display()));
    let identity = data.join("spool/identity");
    let text = fs::read_to_string(&identity).map_err(fail)?;
    let later = text.replacen("carom spool 1", "carom spool 2", 1);
    finding.happened(later != text, "the spool said that it is of a later version");
    fs::write(&identity, &later).map_err(fail)?;
    must_refuse(new, data, "spool", finding).await?;
    fs::write(&identity, &text).map_err(fail)?;

    for name in ["clicks.db", "carom.db"] {
        let path = data.join(name);
        let copy = data.with_file_name(name);
        fs::copy(&path, &copy).map_err(fail)?;
        let changed = Command::new("python3").args(["-c", NEWER]).arg(&path).status();
        let changed = changed.is_ok_and(|status| status.success());
        finding.happened(changed, format!("{name} said that it is of a later version"));
        must_refuse(new, data, name, finding).await?;
        fs::rename(&copy, &path).map_err(fail)?;
    }
    Ok(())
}

async fn must_refuse(
    new: &Installation,
    data: &Path,
    what: &str,
    finding: &mut Finding,
) -> Result<(), Failure> {
    let before = contents(data)?;
    let mut server = new.start()?;
    let refusal = server.ready().await.err().map(|failure| failure.to_string()).unwrap_or_default();
    let line = refusal.lines().rev().find(|line| line.contains("newer")).unwrap_or_default();
    let said = line.trim().chars().take(160).collect::<String>();
    finding.must(
        refusal.contains("exit status: 1)") && !said.is_empty(),
        format!("a later {what} is refused: {said}"),
    );
    finding.must(contents(data)? == before, format!("and nothing of the {what} is changed"));
    Ok(())
}

/// Length of each file that holds clicks or links, by its name.
fn contents(data: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let mut files = BTreeMap::new();
    for folder in [data.to_owned(), data.join("spool/outbox"), data.join("spool/quarantine")] {
        let entries = fs::read_dir(&folder);
        let entries =
            entries.map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_kept = name.ends_with(".db") || name.ends_with(".clk");
            if let Some(file) = entry.metadata().ok().filter(|_| is_kept) {
                files.insert(name, file.len());
            }
        }
    }
    Ok(files)
}

/// How many batches wait, and their bytes.
fn full(data: &Path) -> Result<(usize, u64), Failure> {
    let batches = contents(data)?.into_iter().filter(|(name, _)| name.ends_with(".clk"));
    Ok(batches.fold((0, 0), |(files, bytes), (_, len)| (files + 1, bytes + len)))
}

fn version(program: &Path) -> Result<String, Failure> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| Failure::new(format!("{}: {error}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(format!("{text} ({})", program.display()))
}
