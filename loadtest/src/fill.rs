//! `fill`: what a month of clicks costs to store and to keep, and how long the dashboard's questions
//! take over it.
//!
//! Makes links, stops the server, puts batches of generated clicks into the outbox of its spool,
//! where they wait as after a day without a store, and starts it again. From there on everything is
//! Carom's own: it ships the batches, stores them and answers questions about them. Clicks go into its
//! file, or into a ClickHouse ([`clickhouse`]).

mod ask;
mod clickhouse;
mod clicks;
mod pages;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::{Clock, DomainId, LinkId, SystemClock, UnixMillis, WorkspaceId};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::sleep;

use crate::api::{Api, ApiClient};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::lists;
use crate::population::Rng;
use crate::process::{Cost, CpuSample};
use crate::report::{per_second, progress};
use crate::subject::PlaceArgs;
use ask::{Question, ask, ask_page};
use clickhouse::{Engine, EngineArgs, EngineCost, TableSize};
use clicks::{Clicks, Owner};
use pages::{PageTimes, ask_pages, wait_for_rest};

/// Pause between two looks at how much is stored.
const STORED_POLL: Duration = Duration::from_secs(1);
/// How long the number of stored clicks may stand still.
const STORED_STUCK: Duration = Duration::from_secs(60);
/// How long lists may take until they show all clicks of the link that has most.
const LISTS_MAX: Duration = Duration::from_secs(1800);
/// How long merges may go on after the last click was stored.
const MERGES_MAX: Duration = Duration::from_secs(300);
const DAY_S: i64 = 86_400;
/// Clicks of a small and of a middle link.
const SMALL: u64 = 100;
const MIDDLE: u64 = 10_000;
/// Clicks of one of the busy links, whose page is asked for too.
const BUSY: u64 = 150_000;
/// How often pages are asked for, for each time that questions are.
const PAGES_FOR_ONE: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct FillArgs {
    /// The `carom` to start, with an empty data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Links to make.
    #[arg(long, default_value_t = 200_000, value_parser = crate::at_least_one)]
    links: usize,
    /// Clicks to generate.
    #[arg(long, default_value_t = 20_000_000)]
    clicks: u64,
    /// Days over which they spread, the last of which is yesterday.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// Clicks in a batch; an edge cuts one at 50,000, or after 100 ms.
    #[arg(long, default_value_t = 50_000, value_parser = crate::at_least_one)]
    batch: usize,
    /// Exponent of Zipf's law over the links. With 200,000 of them and 0.93, the first gets a
    /// twentieth of all.
    #[arg(long, default_value_t = 0.93)]
    zipf: f64,
    /// How often each question is asked, one after the other.
    #[arg(long, default_value_t = 20, value_parser = crate::at_least_one)]
    runs: usize,
    /// Ask only, of the installation in this folder that an earlier `fill --keep` left behind.
    #[arg(long, value_name = "FOLDER")]
    again: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What was measured. It passes if every click was stored and every question was answered.
#[derive(Debug, Serialize)]
pub(crate) struct FillReport {
    seed: u64,
    links: usize,
    clicks: u64,
    days: u32,
    /// `None` if nothing was stored in this run.
    stored: Option<Stored>,
    /// Of the database of clicks.
    bytes_per_click: f64,
    /// Of ClickHouse, if the clicks are there.
    engine: Option<EngineReport>,
    runs: usize,
    questions: Vec<Question>,
    /// Seconds until the server rested after its start, and of processor time.
    rested: (f64, f64),
    pages: Vec<PageTimes>,
}

#[derive(Debug, Serialize)]
struct Stored {
    batches: u32,
    batch_bytes: u64,
    clicks_per_second: f64,
    cost: Cost,
    /// From the last click stored until lists showed the clicks of the link that has most, which is
    /// about when they show all.
    lists_s: f64,
    /// Microseconds of CPU for each click until then, of all threads.
    with_lists_us: f64,
    /// Of ClickHouse's process, if that is known.
    engine: Option<EngineCost>,
    /// The same until its merges rested.
    engine_with_merges: Option<EngineCost>,
}

#[derive(Debug, Serialize)]
struct EngineReport {
    version: String,
    database: String,
    tables: Vec<TableSize>,
}

impl FillReport {
    pub(crate) const fn passed(&self) -> bool {
        !self.questions.is_empty()
    }
}

pub(crate) async fn run(args: &FillArgs, seed: u64) -> Result<FillReport, Failure> {
    let engine = args.engine.engine().await?;
    let mut installation = match &args.again {
        Some(folder) => args.place.existing(&args.carom, folder)?,
        None => args.place.installation(&args.carom, "fill")?,
    };
    if let Some(engine) = &engine {
        installation = installation.with_settings(&[&engine.setting()]);
    }
    let stored = match &args.again {
        Some(_) => None,
        None => Some(store(args, seed, &installation, engine.as_ref()).await?),
    };
    let (bytes, of_engine) = match &engine {
        None => (file_len(&installation.data_dir().join("clicks.db"))?, None),
        Some(engine) => {
            let tables = engine.sizes().await?;
            let bytes = tables.iter().map(|size| size.bytes).sum();
            let (version, database) = (engine.version().await?, engine.database().to_owned());
            (bytes, Some(EngineReport { version, database, tables }))
        }
    };
    let (questions, rested, pages) = ask_all(args, &installation).await?;
    let report = FillReport {
        seed,
        links: args.links,
        clicks: args.clicks,
        days: args.days,
        stored,
        bytes_per_click: bytes as f64 / args.clicks.max(1) as f64,
        engine: of_engine,
        runs: args.runs,
        questions,
        rested,
        pages,
    };
    if report.passed() && !args.place.keep && args.again.is_none() {
        installation.remove()?;
        if let Some(engine) = &engine {
            engine.drop_database().await?;
        }
    }
    Ok(report)
}

fn file_len(path: &Path) -> Result<u64, Failure> {
    let file = fs::metadata(path);
    Ok(file.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?.len())
}

/// Makes links and clicks, and lets the server store them; it is stopped afterwards.
async fn store(
    args: &FillArgs,
    seed: u64,
    installation: &Installation,
    engine: Option<&Engine>,
) -> Result<Stored, Failure> {
    let mut server = installation.start()?;
    server.ready().await?;
    let api = api(installation).await?;
    lists::make_links(args.links, &api).await?;
    server.stop().await?;

    progress(&format!("generating {} clicks", args.clicks));
    let (batches, batch_bytes) = generate(args, seed, installation).await?;

    progress(&format!("storing {batches} batches"));
    let mut server = installation.start()?;
    let begun = Instant::now();
    let sample = CpuSample::take(server.pid())?;
    let engine_sample = engine.map(Engine::sample).transpose()?.flatten();
    let of_engine = || match engine {
        Some(engine) => engine.cost(engine_sample.as_ref(), args.clicks),
        None => Ok(None),
    };
    server.ready().await?;
    let mut client = ApiClient::new(api);
    let elapsed = wait_until_stored(&mut client, args.clicks, args.days, begun).await?;
    let cost = sample.cost_until_now(server.pid(), args.clicks)?;
    let engine_cost = of_engine()?;
    let stored = Instant::now();
    wait_for_lists(&mut client, args.days).await?;
    let lists_s = stored.elapsed().as_secs_f64();
    let with_lists = sample.cost_until_now(server.pid(), args.clicks)?;
    server.stop().await?;
    if let Some(engine) = engine {
        wait_for_merges(engine).await?;
    }
    let clicks_per_second = per_second(args.clicks, elapsed);
    let with_lists_us = with_lists.edge_us + with_lists.others_us;
    Ok(Stored {
        batches,
        batch_bytes,
        clicks_per_second,
        cost,
        lists_s,
        with_lists_us,
        engine: engine_cost,
        engine_with_merges: of_engine()?,
    })
}

/// Waits until the engine merges nothing any more, for a while.
async fn wait_for_merges(engine: &Engine) -> Result<(), Failure> {
    progress("waiting until merges rest");
    let (begun, mut resting) = (Instant::now(), 0);
    while resting < 3 && begun.elapsed() < MERGES_MAX {
        sleep(STORED_POLL).await;
        resting = if engine.merges().await? == 0 { resting + 1 } else { 0 };
    }
    Ok(())
}

async fn api(installation: &Installation) -> Result<Api, Failure> {
    Ok(Api { control: installation.control(), key: installation.create_key().await? })
}

#[derive(Deserialize)]
struct Links {
    workspace: WorkspaceId,
    domain: DomainId,
    links: Vec<LinkId>,
}

/// The links of a stopped installation.
async fn read_links(database: &Path) -> Result<Links, Failure> {
    #[derive(Deserialize)]
    struct Numbers {
        workspace: i64,
        domain: i64,
        links: Vec<i64>,
    }
    let mut command = Command::new("python3");
    command.arg("-c").arg(include_str!("fill/links.py")).arg(database);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| {
        Failure::new(format!("cannot run python3, which reads the links: {error}"))
    })?;
    let fail = || {
        let text = String::from_utf8_lossy(&output.stderr);
        Failure::new(format!("cannot read the links of {}: {text}", database.display()))
    };
    let read: Numbers = serde_json::from_slice(&output.stdout).map_err(|_| fail())?;
    let links = read.links.into_iter().map(LinkId::try_from).collect::<Result<_, _>>();
    Ok(Links {
        workspace: WorkspaceId::try_from(read.workspace).map_err(|_| fail())?,
        domain: DomainId::try_from(read.domain).map_err(|_| fail())?,
        links: links.map_err(|_| fail())?,
    })
}

/// Writes all batches; how many there are, and of how many bytes.
async fn generate(
    args: &FillArgs,
    seed: u64,
    installation: &Installation,
) -> Result<(u32, u64), Failure> {
    let Links { workspace, domain, mut links } =
        read_links(&installation.data_dir().join("carom.db")).await?;
    let mut rng = Rng::new(seed);
    // Links that are clicked alike are not of the same age.
    rng.shuffle(&mut links);
    let now = SystemClock.now();
    let period = (first_s(now, args.days), args.days);
    let owner = Owner { workspace, domain };
    let spool = rng.next_u64();
    let mut clicks = Clicks::new(rng.next_u64(), owner, &links, args.zipf, period, args.clicks);
    let outbox = installation.data_dir().join("spool/outbox");
    let (mut builder, mut batches, mut bytes) = (BatchBuilder::new(), 0, 0);
    loop {
        while builder.len() < args.batch
            && let Some((_, click)) = clicks.next()
        {
            builder.push(&click);
        }
        if builder.is_empty() {
            return Ok((batches, bytes));
        }
        let batch = builder.finish(now, &[]);
        // Generation 0: cut before anything that this spool has cut itself.
        let token = Token::new(spool, 0, batches, batch.rows, batch.crc);
        let path = outbox.join(format!("{token}.clk"));
        fs::write(&path, &batch.bytes)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        batches += 1;
        bytes += batch.bytes.len() as u64;
    }
}

/// The first second of the days that end with yesterday (UTC).
fn first_s(now: UnixMillis, days: u32) -> u32 {
    let today = now.as_secs().div_euclid(DAY_S);
    u32::try_from((today - i64::from(days)) * DAY_S).unwrap_or_default()
}

/// From `begun` until all clicks were seen.
async fn wait_until_stored(
    client: &mut ApiClient,
    clicks: u64,
    days: u32,
    begun: Instant,
) -> Result<Duration, Failure> {
    let path = format!("/api/v1/stats?interval=year&{}", range(SystemClock.now(), days));
    let (mut last, mut last_change) = (0, begun);
    loop {
        // Where everything is busy storing, an answer may be late.
        let stored = match client.report(&path).await {
            Ok(report) => report.totals.totals.sum(),
            Err(_) if last_change.elapsed() <= STORED_STUCK => last,
            Err(error) => return Err(error),
        };
        if stored >= clicks {
            return if stored == clicks {
                Ok(begun.elapsed())
            } else {
                Err(Failure::new(format!("{stored} clicks are stored, of {clicks}")))
            };
        }
        if stored != last {
            (last, last_change) = (stored, Instant::now());
        }
        if last_change.elapsed() > STORED_STUCK {
            let what = format!("{stored} clicks of {clicks} are stored, and no more come");
            return Err(Failure::new(what));
        }
        sleep(STORED_POLL).await;
    }
}

/// About a link: what it is called, and what follows `/stats?`.
const OF_LINK: [(&str, &str); 8] = [
    ("totals and series by day", "interval=day"),
    ("totals and series by hour", "interval=hour"),
    ("the same in Berlin's time, by day", "interval=day&tz=Europe/Berlin"),
    ("5 breakdowns with uniques", "interval=day&by=referrer,country,browser,os,device"),
    (
        "10 breakdowns with uniques",
        "interval=day&by=referrer,country,city,browser,browser_version,os,device,language,utm_campaign,channel",
    ),
    ("filtered by country and device", "interval=day&filter=country==AA;device==mobile"),
    (
        "5 breakdowns, filtered",
        "interval=day&by=referrer,country,browser,os,device&filter=country==AA,AB;device==mobile",
    ),
    ("filtered by a part of a name", "interval=day&filter=referrer=@site-000"),
];
/// A workspace's breakdowns look through at most 2,000,000 clicks, so they are of a day.
const OF_WORKSPACE: [(&str, Length, &str); 5] = [
    ("totals and series by day", Length::Month, "interval=day"),
    ("totals and series by hour", Length::Month, "interval=hour"),
    ("15 days, compared with those before", Length::HalfMonth, "interval=day&compare=previous"),
    (
        "a day: 5 breakdowns with uniques",
        Length::Day,
        "interval=hour&by=referrer,country,browser,os,device",
    ),
    ("a day: the 10 most clicked links", Length::Day, "interval=hour&by=link"),
];

#[derive(Clone, Copy)]
enum Length {
    Month,
    HalfMonth,
    Day,
}

/// Starts the server again and asks everything.
async fn ask_all(
    args: &FillArgs,
    installation: &Installation,
) -> Result<(Vec<Question>, (f64, f64), Vec<PageTimes>), Failure> {
    let mut server = installation.start()?;
    server.ready().await?;
    let mut client = ApiClient::new(api(installation).await?);
    let links = pick(&mut client, args.days).await?;
    let rested = wait_for_rest(&server).await?;
    let runs = args.runs * PAGES_FOR_ONE;
    let pages = ask_pages(runs, installation, &server, &links).await?;
    let now = SystemClock.now();
    let range = |length| {
        let days = match length {
            Length::Month => args.days,
            Length::HalfMonth => args.days.div_ceil(2),
            Length::Day => 1,
        };
        range(now, days)
    };
    let mut questions = Vec::new();
    for (about, id, clicks) in links {
        progress(&format!("asking about {about}: {clicks} clicks"));
        for (what, parameters) in OF_LINK {
            let path = format!("/api/v1/links/{id}/stats?{}&{parameters}", range(Length::Month));
            questions.push(ask(&mut client, args.runs, &about, clicks, what, &path).await?);
        }
        let half = range(Length::HalfMonth);
        let path = format!("/api/v1/links/{id}/stats?{half}&interval=day&compare=previous");
        let what = "15 days, compared with those before";
        questions.push(ask(&mut client, args.runs, &about, clicks, what, &path).await?);
        for (what, limit) in [("a page of 100 clicks", 100), ("a page of 1,000 clicks", 1000)] {
            let path = format!("/api/v1/links/{id}/clicks?{}&limit={limit}", range(Length::Month));
            questions.push(ask_page(&mut client, args.runs, &about, clicks, what, &path).await?);
        }
    }
    progress("asking about the workspace");
    for (what, length, parameters) in OF_WORKSPACE {
        let path = format!("/api/v1/stats?{}&{parameters}", range(length));
        let about = "the workspace";
        questions.push(ask(&mut client, args.runs, about, args.clicks, what, &path).await?);
    }
    server.stop().await?;
    Ok((questions, rested, pages))
}

/// A small link, a middle one, a busy one and the hottest: what, id and clicks of each.
async fn pick(client: &mut ApiClient, days: u32) -> Result<Vec<(String, String, u64)>, Failure> {
    let ranked = ranked(client, days).await?;
    let nearest = |wanted: u64| {
        let link = ranked.iter().min_by_key(|(_, clicks)| clicks.abs_diff(wanted));
        link.cloned().ok_or_else(|| Failure::new("there are no links"))
    };
    let mut picked = Vec::new();
    let wanted = [("small", SMALL), ("middle", MIDDLE), ("busy", BUSY), ("hottest", u64::MAX)];
    for (name, wanted) in wanted {
        let (id, clicks) = nearest(wanted)?;
        picked.push((format!("the {name} link"), id, clicks));
    }
    Ok(picked)
}

/// Waits until lists show the clicks of the link that was clicked most on the last day. What is
/// carried over to lists goes by when a link was clicked last, so that one is among the last.
async fn wait_for_lists(client: &mut ApiClient, days: u32) -> Result<(), Failure> {
    let now = SystemClock.now();
    let by_link = format!("/api/v1/stats?{}&interval=day&by=link&limit=1", range(now, 1));
    let top = client.report(&by_link).await?.top;
    let hottest = top.get("link").and_then(|links| links.first());
    let hottest = hottest.ok_or_else(|| Failure::new("no link has clicks of yesterday"))?;
    let all = format!("/api/v1/links/{}/stats?{}&interval=year", hottest.value, range(now, days));
    let clicks = client.report(&all).await?.totals.totals.clicks;
    let since = Instant::now();
    while client.most_clicks().await? < clicks {
        if since.elapsed() > LISTS_MAX {
            return Err(Failure::new(format!("lists do not show the {clicks} clicks of a link")));
        }
        sleep(STORED_POLL).await;
    }
    Ok(())
}

/// Links and their clicks, most first, down to those that have fewer than a small one.
async fn ranked(client: &mut ApiClient, days: u32) -> Result<Vec<(String, u64)>, Failure> {
    wait_for_lists(client, days).await?;
    let (mut ranked, mut cursor) = (Vec::new(), None);
    loop {
        let (links, next) = client.links_by_clicks(cursor.as_deref()).await?;
        let is_enough = links.last().is_none_or(|(_, clicks)| *clicks < SMALL);
        ranked.extend(links);
        if is_enough || next.is_none() {
            return Ok(ranked);
        }
        cursor = next;
    }
}

/// Parameters for the days that end with yesterday.
fn range(now: UnixMillis, days: u32) -> String {
    format!("from={}&to={}", midnight(now, days), midnight(now, 0))
}

/// Midnight (UTC), so many days before the day of `now`.
fn midnight(now: UnixMillis, days_ago: u32) -> String {
    let day = now.as_secs().div_euclid(DAY_S) - i64::from(days_ago);
    jiff::Timestamp::from_second(day * DAY_S).unwrap_or_default().to_string()
}

impl fmt::Display for FillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clicks, links, days, seed, .. } = self;
        writeln!(f, "fill: {clicks} clicks of {links} links in {days} days (seed {seed})")?;
        if let Some(stored) = &self.stored {
            let Stored { batches, batch_bytes, clicks_per_second, cost, .. } = stored;
            let each = *batch_bytes as f64 / (*clicks).max(1) as f64;
            writeln!(f, "  batches               {batches}, {each:.1} bytes a click")?;
            writeln!(f, "  stored                {clicks_per_second:.0} clicks a second")?;
            write!(f, "{cost}")?;
            writeln!(
                f,
                "  lists                 {:.0} s later; until then {:.2} us each",
                stored.lists_s, stored.with_lists_us
            )?;
            let until = [("stored", &stored.engine), ("merged", &stored.engine_with_merges)];
            for (until, cost) in until {
                if let Some(EngineCost { cpu_us, memory }) = cost {
                    writeln!(
                        f,
                        "  engine, until {until}   {cpu_us:.2} us each, {:.0} MiB",
                        memory.rss_mib
                    )?;
                }
            }
        }
        writeln!(f, "  database              {:.1} bytes a click", self.bytes_per_click)?;
        if let Some(EngineReport { version, database, tables }) = &self.engine {
            writeln!(f, "  ClickHouse {version}, database {database}")?;
            for TableSize { table, rows, bytes, parts } in tables {
                let each = *bytes as f64 / (*clicks).max(1) as f64;
                writeln!(f, "    {table:<20} {rows} rows, {parts} parts, {each:.2} bytes a click")?;
            }
        }
        writeln!(f, "  questions             each first once, then {} times", self.runs)?;
        let mut about = "";
        for question in &self.questions {
            if question.about != about {
                about = &question.about;
                writeln!(f, "  {about}: {} clicks", question.clicks)?;
            }
            let Question { what, first_ms, latency, .. } = question;
            writeln!(f, "    {what:<38} {latency}; first {first_ms:.2} ms")?;
        }
        let (rested_s, used_s) = self.rested;
        writeln!(
            f,
            "  rested                {rested_s:.0} s after its start, {used_s:.1} s of CPU"
        )?;
        let asked = self.runs * PAGES_FOR_ONE;
        writeln!(f, "  pages                 each first once, then {asked} times")?;
        self.pages.iter().try_for_each(|page| page.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_end_with_yesterday() {
        let now = UnixMillis::new((20_454 * DAY_S + 5) * 1000);
        assert_eq!(i64::from(first_s(now, 30)), (20_454 - 30) * DAY_S);
        assert_eq!(midnight(now, 0), "2026-01-01T00:00:00Z");
    }
}
