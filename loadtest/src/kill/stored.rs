//! What a stopped Carom has stored: read by another program, from its database.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde::Deserialize;
use tokio::process::Command;

use super::verdict::StoredCount;
use crate::failure::Failure;
use crate::report::progress;

/// What stored clicks are counted by.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    /// The host of the referrer, which is the request's id.
    Referrer,
    Link,
}

/// Clicks of people and of bots, by the hour in which they were, in seconds since 1970. Hours
/// without clicks are not among them.
pub(super) type Hours = BTreeMap<i64, [u64; 2]>;

/// What is stored.
pub(super) struct Stored {
    /// Rows in which the rollups differ from the clicks.
    pub(super) rollup_differences: u64,
    pub(super) hours: Hours,
    pub(super) counts: Vec<StoredCount>,
}

/// Reads the clicks in `database`.
pub(super) async fn read_stored(database: &Path, by: By) -> Result<Stored, Failure> {
    #[derive(Deserialize)]
    struct First {
        rollup_differences: u64,
        hours: Hours,
    }
    let begun = Instant::now();
    let mut command = Command::new("python3");
    command.arg("-c").arg(include_str!("stored_clicks.py")).arg(database);
    command.arg(match by {
        By::Referrer => "referrer",
        By::Link => "link",
    });
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| {
        Failure::new(format!("cannot run python3, which reads the click database: {error}"))
    })?;
    let fail = |what: &str| {
        let text = String::from_utf8_lossy(&output.stderr);
        Failure::new(format!("{what} from {}: {text}", database.display()))
    };
    if !output.status.success() {
        return Err(fail("cannot read the stored clicks"));
    }
    let mut lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let first = lines.next().and_then(|line| serde_json::from_slice(line).ok());
    let First { rollup_differences, hours } = first.ok_or_else(|| fail("no answer"))?;
    let counts = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
    let counts: Vec<_> = counts.map_err(|error| fail(&error.to_string()))?;
    progress(&format!("read {} counts in {:.1?}", counts.len(), begun.elapsed()));
    Ok(Stored { rollup_differences, hours, counts })
}
