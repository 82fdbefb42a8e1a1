//! `carom move`: the links go into another database, with everything that belongs to them.
//!
//! Only while nobody serves: the command holds the data folder's lock. What is moved and why nothing
//! is missed stands in `carom_control::moving`, and for clicks in `carom_control::clicks_moving`.

use clap::Args;

use carom_control::clicks_moving::{self, ClicksMoved, ClicksPlan, ClicksProgress};
use carom_control::moving::{self, Moved, Plan, PlanState, Step};
use carom_shared::{SystemClock, SystemRandom};

use carom_control::program::ProgramError;

use crate::cli::runtime;
use crate::data_dir::DataDir;
use crate::error::CommandError;
use crate::import::progress::Progress;
use crate::output;
use crate::settings::Settings;
use crate::upgrade;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["to", "clicks_to", "undo"]))]
pub(crate) struct MoveArgs {
    /// The database to move to, as database.url names it: an empty PostgreSQL database, or a file
    /// that is not there yet
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The store to move clicks to, as clicks.url names it: an empty database of ClickHouse, or a file
    /// that is not there yet
    #[arg(long, value_name = "URL")]
    clicks_to: Option<String>,
    /// Only say what would be moved, and whether it can be
    #[arg(long, conflicts_with = "undo")]
    dry_run: bool,
    /// Let this database be served again that was moved, or half moved, elsewhere
    #[arg(long)]
    undo: bool,
    /// With --undo: the clicks, not the links
    #[arg(long, requires = "undo")]
    clicks: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl MoveArgs {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let path = &settings.data_dir;
        if !path.exists() {
            return Err(ProgramError::NoFolder(path.clone()).into());
        }
        runtime()?.block_on(async {
            let _locked = DataDir::lock(&settings.data_dir).await?;
            match (&self.to, &self.clicks_to) {
                (Some(to), _) if self.dry_run => self.plan(settings, to).await,
                (Some(to), _) => self.go(settings, to).await,
                (None, Some(to)) if self.dry_run => self.plan_clicks(settings, to).await,
                (None, Some(to)) => self.go_clicks(settings, to).await,
                (None, None) if self.clicks => self.undo_clicks(settings).await,
                (None, None) => self.undo(settings).await,
            }
        })
    }

    async fn plan(&self, settings: &Settings, to: &str) -> Result<(), CommandError> {
        let plan = moving::plan(&settings.control_config(), to).await?;
        if self.json { output::json(&plan) } else { output::text(&plan_text(&plan)) }
    }

    async fn go(&self, settings: &Settings, to: &str) -> Result<(), CommandError> {
        let config = settings.control_config();
        let plan = moving::plan(&config, to).await?;
        if !self.json {
            output::text(&plan_text(&plan))?;
        }
        upgrade::prepare(settings, &SystemClock).await?;
        let mut shown = Progress::new();
        let mut step = Step::Copy;
        let mut tell = |progress: moving::Progress| {
            if progress.step != step {
                // The rate is that of the step.
                shown.end();
                (shown, step) = (Progress::new(), progress.step);
            }
            let things = match step {
                Step::Copy => "rows copied",
                Step::Index => "links indexed",
                Step::Schema => "indexes and references made",
                Step::Check => "rows compared",
            };
            let part = (progress.all > 0).then(|| progress.done as f64 / progress.all as f64);
            shown.show(progress.done, things, part, "");
        };
        let moved = moving::run(&config, to, &SystemClock, &SystemRandom, &mut tell).await;
        shown.end();
        let moved = moved?;
        if self.json { output::json(&moved) } else { output::text(&moved_text(&moved)) }
    }

    async fn undo(&self, settings: &Settings) -> Result<(), CommandError> {
        let other = moving::undo(&settings.control_config(), &SystemClock, &SystemRandom).await?;
        if self.json {
            return output::json(&serde_json::json!({ "undone": other }));
        }
        output::text(&format!(
            "The links are served from here again, as they were before the move to {other}.\n\
             See that nobody serves {other}: what is changed there does not come here, and what is \
             changed here does not go there. To move again, empty it first.\n"
        ))
    }
}

impl MoveArgs {
    async fn plan_clicks(&self, settings: &Settings, to: &str) -> Result<(), CommandError> {
        let plan = clicks_moving::plan(&settings.control_config(), to).await?;
        if self.json { output::json(&plan) } else { output::text(&clicks_plan_text(&plan)) }
    }

    async fn go_clicks(&self, settings: &Settings, to: &str) -> Result<(), CommandError> {
        let config = settings.control_config();
        let plan = clicks_moving::plan(&config, to).await?;
        if !self.json {
            output::text(&clicks_plan_text(&plan))?;
        }
        upgrade::prepare(settings, &SystemClock).await?;
        let mut shown = Progress::new();
        let mut was_check = false;
        let mut tell = |progress: ClicksProgress| {
            if progress.is_check != was_check {
                // The rate is that of the step.
                shown.end();
                (shown, was_check) = (Progress::new(), progress.is_check);
            }
            let things = if was_check { "clicks compared" } else { "clicks copied" };
            let part = (progress.all > 0).then(|| progress.done as f64 / progress.all as f64);
            shown.show(progress.done, things, part, "");
        };
        let moved = clicks_moving::run(&config, to, &SystemClock, &SystemRandom, &mut tell).await;
        shown.end();
        let moved = moved?;
        if self.json { output::json(&moved) } else { output::text(&clicks_moved_text(&moved)) }
    }

    async fn undo_clicks(&self, settings: &Settings) -> Result<(), CommandError> {
        let other = clicks_moving::undo(&settings.control_config(), &SystemClock).await?;
        if self.json {
            return output::json(&serde_json::json!({ "undone": other }));
        }
        output::text(&format!(
            "The clicks are served from here again, as they were before the move to {other}.\n\
             Clicks that were stored in {other} since are not here. To move again, empty it first.\n"
        ))
    }
}

const INTERRUPTED: &str = "An interrupted move goes on where it was.\n";
const DONE: &str = "This was moved already: there is nothing to do.\n";

fn clicks_plan_text(plan: &ClicksPlan) -> String {
    let ClicksPlan { from, to, state, rows } = plan;
    let state = match state {
        PlanState::New => "",
        PlanState::Interrupted => INTERRUPTED,
        PlanState::Done => DONE,
    };
    format!("from   {from}\nto     {to}\n{rows:>12} rows of clicks\n{state}")
}

fn clicks_moved_text(moved: &ClicksMoved) -> String {
    let ClicksMoved { from, to, rows, days, batches, was_done, copy_ms, check_ms, .. } = moved;
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let mut text = String::new();
    if !was_done {
        text = format!(
            "Moved: {rows} rows of {days} days and a ledger of {batches} batches in {:.1} s; compared in \
             {:.1} s: both sides are the same.\n\n",
            seconds(*copy_ms),
            seconds(*check_ms),
        );
    }
    text.push_str(&format!(
        "Set clicks.url to {to} (with its user and password), and start carom.\n\
         {from} is as it was, and is not served any more; carom move --undo --clicks, with clicks.url as \
         it is now, lets it be served again.\n"
    ));
    text
}

fn plan_text(plan: &Plan) -> String {
    let mut text = format!("from   {}\nto     {}\n", plan.from, plan.to);
    for table in plan.tables.iter().filter(|table| table.rows > 0) {
        text.push_str(&format!("{:>12} rows of {}\n", table.rows, table.table));
    }
    text.push_str(&format!("{:>12} rows\n", plan.rows));
    text.push_str(match plan.state {
        PlanState::New => "",
        PlanState::Interrupted => INTERRUPTED,
        PlanState::Done => DONE,
    });
    text
}

fn moved_text(moved: &Moved) -> String {
    let Moved { from, to, rows, was_done, took_ms, .. } = moved;
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let mut text = String::new();
    if !was_done {
        text = format!(
            "Moved: {rows} rows in {:.1} s; indexed in {:.1} s; compared in {:.1} s: both sides are \
             the same.\n\n",
            seconds(took_ms.copy),
            seconds(took_ms.index),
            seconds(took_ms.check),
        );
    }
    text.push_str(&format!(
        "Set database.url to {to}, keep the data folder (clicks are there), and start carom.\n\
         {from} is as it was, and is not served any more; carom move --undo, with database.url as it \
         is now, lets it be served again.\n"
    ));
    text
}
