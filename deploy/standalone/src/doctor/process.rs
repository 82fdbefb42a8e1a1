//! Who has the data folder, and what only the process that serves it knows.
//!
//! `GET /v1/doctor` on the operator's surface.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use carom_control::admin::Addition;
use carom_control::health::{self, Knows, Statement};
use carom_edge::EdgeState;
use carom_edge::process::SteadyClock;
use carom_shared::{Clock, UnixMillis};
use http::{Request, StatusCode};
use http_body_util::Full;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use super::finding::{Area, Finding, Findings, Level};
use crate::backup::Backups;
use carom_control::program::client;

use crate::data_dir::DataDir;

const PATH: &str = "/v1/doctor";
/// The wall clock may be corrected by so much, in milliseconds, before it is told.
const JUMP_TOLD_MS: u64 = 2000;

/// What the process that serves says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) version: String,
    pub(crate) serving_for_s: u64,
    /// 0 to 5, and in words.
    pub(crate) pressure_level: u8,
    pub(crate) pressure: String,
    pub(crate) batches_waiting: usize,
    /// In this run, as the next two.
    pub(crate) batches_quarantined: u64,
    pub(crate) disk_errors: u64,
    pub(crate) threads_lost: u64,
    /// How far the wall clock has gone beyond the time that passed since the start.
    pub(crate) clock_jumped_ms: i64,
    /// Files that it may open, and bytes of a core dump; `None`: any number.
    pub(crate) open_files_max: Option<u64>,
    pub(crate) core_bytes_max: Option<u64>,
    /// Why the last backup failed, and the newest good one.
    pub(crate) backup_concern: Option<String>,
    pub(crate) newest_backup_ms: Option<i64>,
}

/// What the facts are taken from.
#[derive(Clone)]
pub(crate) struct Probe {
    edge: EdgeState,
    backups: Backups,
    clock: Arc<dyn Clock>,
    /// How much time has passed, this says: also while the machine slept.
    steady: Arc<SteadyClock>,
    started: Duration,
    started_at: UnixMillis,
}

impl Probe {
    /// Its time begins now. `clock` is the one that somebody may set.
    pub(crate) fn new(
        edge: EdgeState,
        backups: Backups,
        clock: Arc<dyn Clock>,
        steady: Arc<SteadyClock>,
    ) -> Self {
        let (started, started_at) = (steady.steady(), clock.now());
        Self { edge, backups, clock, steady, started, started_at }
    }

    /// The router; to be merged with the operator's.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route(PATH, get(async |State(probe): State<Self>| Json(probe.facts())))
            .with_state(self)
    }

    fn facts(&self) -> Facts {
        let passed = self.steady.steady().saturating_sub(self.started);
        let expected = self.started_at.saturating_add(passed);
        let pressure = self.edge.pressure();
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving_for_s: passed.as_secs(),
            pressure_level: pressure.level(),
            pressure: pressure.as_str().to_owned(),
            batches_waiting: self.edge.batches_waiting(),
            batches_quarantined: self.edge.batches_quarantined(),
            disk_errors: self.edge.disk_errors(),
            threads_lost: self.edge.threads_lost(),
            clock_jumped_ms: self.clock.now().get().saturating_sub(expected.get()),
            open_files_max: getrlimit(Resource::Nofile).current,
            core_bytes_max: getrlimit(Resource::Core).current,
            backup_concern: self.backups.concern(),
            newest_backup_ms: self.backups.newest().map(UnixMillis::get),
        }
    }
}

/// For the dashboard: what the doctor says of the process, and what it looks up in files.
impl Knows for Probe {
    fn statements(&self) -> Vec<Statement> {
        let facts = self.facts();
        let mut out = Findings::of(Area::Process);
        examine_facts(&mut out, &facts);
        match facts.batches_waiting {
            0 => out.ok("outbox", "no batch of clicks waits to be stored"),
            waiting => out.notice(
                "outbox",
                format!("{waiting} batches of clicks wait to be stored"),
                "statistics are behind by what is in them",
                "none, if the number falls",
            ),
        }
        match (facts.backup_concern, facts.newest_backup_ms) {
            (Some(concern), _) => out.error(
                "backup", concern, "there may be no backup of today",
                "see to the cause; carom backup tries again at once",
            ),
            (None, Some(at)) => {
                let age_s = self.clock.now().get().saturating_sub(at).max(0).unsigned_abs() / 1000;
                out.ok("backup_age", format!("the newest backup is {} old", time(age_s)));
            }
            (None, None) => out.notice(
                "backup",
                "this process knows of no backup",
                "if the disk fails, links and clicks are gone",
                "set backup.dir to a folder on another disk, or run carom backup from a timer",
            ),
        }
        out.into_inner().into_iter().map(stated).collect()
    }
}

fn stated(finding: Finding) -> Statement {
    let level = match finding.level {
        Level::Ok => health::Level::Ok,
        Level::Notice => health::Level::Notice,
        Level::Warning => health::Level::Warning,
        Level::Error => health::Level::Error,
    };
    Statement::new(level, finding.finding, finding.meaning, finding.action)
}

/// Who has a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// There is no such folder.
    Missing,
    Nobody,
    /// A process has its lock and does not answer.
    Silent,
    /// `None`: it serves, and says nothing of itself that is understood.
    Serving(Option<Box<Facts>>),
}

impl Presence {
    pub(super) async fn of(data_dir: &Path) -> Self {
        if !data_dir.exists() {
            return Self::Missing;
        }
        let request = Request::get(PATH).body(Full::<Bytes>::default());
        let socket = DataDir::socket_path(data_dir);
        if let Ok(request) = request
            && let Ok((status, body)) = client::send(&socket, request).await
        {
            let facts = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK);
            return Self::Serving(facts);
        }
        if is_locked(data_dir) { Self::Silent } else { Self::Nobody }
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        match self {
            Self::Serving(facts) => facts.as_deref(),
            _ => None,
        }
    }

    /// Whether files change while they are looked at.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self, Self::Silent | Self::Serving(_))
    }
}

/// Whether somebody has the folder. To find out takes a shared lock for some microseconds; whoever
/// wants the folder then tries again.
fn is_locked(data_dir: &Path) -> bool {
    File::open(data_dir.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

pub(super) fn examine(presence: &Presence) -> Findings {
    let mut out = Findings::of(Area::Process);
    match presence {
        Presence::Missing | Presence::Nobody => {
            out.ok("serving", "nobody serves this folder now: only its files were looked at");
        }
        Presence::Silent => out.warning(
            "serving",
            "a process has the folder's lock, and does not answer on control.sock",
            "another carom is starting, stopping, restoring, or stuck",
            "try again in a moment; if it stays, look at the log of that process",
        ),
        Presence::Serving(None) => out.warning(
            "serving",
            "the process that serves says nothing of itself that this version understands",
            "it is another version of Carom",
            "ask with the version that serves, or restart the service with this one",
        ),
        Presence::Serving(Some(facts)) => examine_facts(&mut out, facts),
    }
    out
}

fn examine_facts(out: &mut Findings, facts: &Facts) {
    let version = env!("CARGO_PKG_VERSION");
    if facts.version == version {
        out.ok("serving", format!("carom {version} serves, for {}", time(facts.serving_for_s)));
    } else {
        out.warning(
            "serving",
            format!("carom {} serves, and this is {version}", facts.version),
            "the program was replaced and the service goes on with the old one",
            "restart the service",
        );
    }
    let level = facts.pressure_level;
    let words = format!("pressure {level} of 5: {}", facts.pressure);
    match level {
        0 => out.ok("pressure", words),
        1..=3 => out.warning(
            "pressure",
            words,
            "redirects go on; clicks wait on disk or in memory, and are stored once that can be",
            "look in the log for the store's or the disk's error, and make room on the disk",
        ),
        _ => out.error(
            "pressure",
            words,
            "redirects go on, and details of clicks, or clicks, are being lost",
            "make room on the disk, or repair the store: the log says which",
        ),
    }
    if facts.threads_lost > 0 {
        out.error(
            "threads",
            format!("{} of its threads ended and do not come back", facts.threads_lost),
            "fewer visitors can be answered, or none; this is a defect of Carom",
            "restart the service, and report the log",
        );
    }
    if facts.disk_errors > 0 {
        out.warning(
            "disk_errors",
            format!("{} writes to the click spool failed in this run", facts.disk_errors),
            "the disk was full or failed; what was recorded was tried again",
            "look in the log for the first error, and at the disk",
        );
    }
    if facts.batches_quarantined > 0 {
        out.warning(
            "refused_batches",
            format!("{} batches of clicks were set aside in this run", facts.batches_quarantined),
            "the store can never take them as they are",
            "see what is in spool/quarantine; the log says why each was refused",
        );
    }
    examine_jumps(out, facts.clock_jumped_ms);
}

fn examine_jumps(out: &mut Findings, jumped: i64) {
    let by = jumped.unsigned_abs();
    if by >= JUMP_TOLD_MS {
        let (level, ahead) = (
            if by >= 60_000 { Level::Warning } else { Level::Notice },
            if jumped > 0 { "forward" } else { "back" },
        );
        out.add(
            level,
            "clock_jumps",
            format!(
                "the clock was set {ahead} by {}.{:03} s since the start",
                by / 1000,
                by % 1000
            ),
            "clicks of that time have the time that the clock showed",
            "let a time service keep the clock (systemd-timesyncd, chrony)",
        );
    }
}

fn time(s: u64) -> String {
    match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}
