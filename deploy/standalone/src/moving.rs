//! `carom move`: the links go into another database, with everything that belongs to them.
//!
//! Only while nobody serves: the command holds the data folder's lock. What is moved and why nothing
//! is missed stands in `carom_control::moving`.

use clap::Args;

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
#[command(group = clap::ArgGroup::new("what").required(true).args(["to", "undo"]))]
pub(crate) struct MoveArgs {
    /// The database to move to, as database.url names it: an empty PostgreSQL database, or a file
    /// that is not there yet
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Only say what would be moved, and whether it can be
    #[arg(long, requires = "to")]
    dry_run: bool,
    /// Let this database be served again that was moved, or half moved, elsewhere
    #[arg(long, conflicts_with = "to")]
    undo: bool,
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
            match &self.to {
                None => self.undo(settings).await,
                Some(to) if self.dry_run => self.plan(settings, to).await,
                Some(to) => self.go(settings, to).await,
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

fn plan_text(plan: &Plan) -> String {
    let mut text = format!("from   {}\nto     {}\n", plan.from, plan.to);
    for table in plan.tables.iter().filter(|table| table.rows > 0) {
        text.push_str(&format!("{:>12} rows of {}\n", table.rows, table.table));
    }
    text.push_str(&format!("{:>12} rows\n", plan.rows));
    text.push_str(match plan.state {
        PlanState::New => "",
        PlanState::Interrupted => "An interrupted move goes on where it was.\n",
        PlanState::Done => "This was moved already: there is nothing to do.\n",
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
