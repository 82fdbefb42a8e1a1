//! `once`: requests with one `Idempotency-Key`, sent at once and through `kill -9`, make one link.
//!
//! In each round many connections send the same request at the same moment to a server that has
//! just started. In the first rounds, the calm ones, nothing happens to it: they show how long the
//! answers take. In the others it is killed in turn before the first answer, between the first and
//! the last, and a little after, as far as the times of the calm rounds can tell. What a kill really met is known
//! from what was answered ([`verdict`]). Then the request is sent once more, alone, as a client
//! does that heard nothing. At the end all links are read and compared with what was answered.

mod ask;
mod report;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::ask::Request;
pub(crate) use self::report::OnceReport;
use self::verdict::{Answer, Created, Round};
use crate::api::{Api, ApiClient, Link};
use crate::failure::Failure;
use crate::installation::{Installation, Server};
use crate::population::Rng;
use crate::report::progress;
use crate::subject::PlaceArgs;

/// How long the last request of a round is repeated until it has its answer. With PostgreSQL the
/// transaction of a killed server ends only when the database has noticed.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Pause before it is repeated.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// Links that are read at the end, at most: more than this is more than any run makes.
const LINKS_MAX: usize = 1_000_000;

#[derive(Debug, Args)]
pub(crate) struct OnceArgs {
    /// The `carom` to start, kill and start again, with a data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Rounds in which the server is killed.
    #[arg(long, default_value_t = 50, value_parser = crate::at_least_one)]
    kills: usize,
    /// Rounds before them in which it is not.
    #[arg(long, default_value_t = 20, value_parser = crate::at_least_one)]
    calm: usize,
    /// Connections that send the same request at once.
    #[arg(long, default_value_t = 50, value_parser = crate::at_least_one)]
    parallel: usize,
}

pub(crate) async fn run(args: &OnceArgs, seed: u64) -> Result<OnceReport, Failure> {
    let installation = args.place.installation(&args.carom, "once")?;
    let mut server = installation.start()?;
    server.ready().await?;
    let api = Api { control: installation.control(), key: installation.create_key().await? };
    let mut client = ApiClient::new(api.clone());
    if !read_links(&mut client).await?.is_empty() {
        return Err(Failure::new("the database of --database-url is not empty: give a new one"));
    }

    let experiment = Experiment { args, seed, api, installation: &installation };
    let mut rounds = Vec::with_capacity(args.calm + args.kills);
    let mut times = Vec::with_capacity(args.calm);
    for _ in 0..args.calm {
        // A server that has just started is slower, and all that are killed have just started.
        server = experiment.restart(server).await?;
        let (round, its_times) = experiment.calm_round(rounds.len()).await?;
        rounds.push(round);
        times.extend(its_times);
    }
    server = experiment.restart(server).await?;
    let mut moments = Moments::new(Rng::new(seed), &times)?;
    for kill in 1..=args.kills {
        let round;
        (server, round) = experiment.kill_round(rounds.len(), server, moments.draw(kill)).await?;
        progress(&format!("kill {kill} of {}: {}", args.kills, round.tell()));
        rounds.push(round);
    }
    progress("reading all links");
    let links = read_links(&mut ApiClient::new(experiment.api)).await?;
    server.stop().await?;

    let report = OnceReport::new(args, seed, &rounds, &links);
    if report.passed() && !args.place.keep {
        installation.remove()?;
    }
    Ok(report)
}

/// All links there are, page after page.
async fn read_links(client: &mut ApiClient) -> Result<Vec<Link>, Failure> {
    let mut links = Vec::new();
    let mut cursor = None;
    loop {
        let page = client.links(cursor.as_deref()).await;
        let page = page.map_err(|error| Failure::new(format!("cannot read the links: {error}")))?;
        links.extend(page.data);
        if links.len() > LINKS_MAX {
            return Err(Failure::new("the list of links has no end"));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(links);
        }
    }
}

/// An answer, and when it came.
type Answered = (Answer, Instant);

/// When the first link and the last answer of a round came, since its requests were sent.
#[derive(Clone, Copy, Debug)]
struct Times {
    first: Duration,
    last: Duration,
}

/// Draws when to kill, since the requests were sent.
struct Moments {
    rng: Rng,
    first: Duration,
    last: Duration,
}

impl Moments {
    /// Calibrated with the medians of calm rounds.
    fn new(rng: Rng, times: &[Times]) -> Result<Self, Failure> {
        let median = |time: fn(&Times) -> Duration| {
            let mut all: Vec<_> = times.iter().map(time).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        match (median(|times| times.first), median(|times| times.last)) {
            (Some(first), Some(last)) => Ok(Self { rng, first, last }),
            _ => Err(Failure::new("no calm round had a link, so nobody knows when to kill")),
        }
    }

    /// In turn before the first link, from it to the last answer, and up to half that time later.
    fn draw(&mut self, kill: usize) -> Duration {
        let Self { first, last, .. } = *self;
        let (from, to) = match kill % 3 {
            1 => (Duration::ZERO, first),
            2 => (first, last),
            _ => (last, last + last / 2),
        };
        let span = usize::try_from((to - from).as_micros()).unwrap_or(usize::MAX - 1);
        from + Duration::from_micros(self.rng.below(span + 1) as u64)
    }
}

/// One run on one installation.
struct Experiment<'a> {
    args: &'a OnceArgs,
    seed: u64,
    api: Api,
    installation: &'a Installation,
}

impl<'a> Experiment<'a> {
    /// Target and request of a round; no other has the same.
    fn request(&self, number: usize) -> (String, Arc<Request>) {
        let name = format!("once-{}-{number}", self.seed);
        let target = format!("https://www.example.com/{name}");
        let request = Request::new(self.api.clone(), &name, &target);
        (target, Arc::new(request))
    }

    /// Kills the server and starts it again.
    async fn restart(&self, server: Server<'a>) -> Result<Server<'a>, Failure> {
        server.kill().await?;
        let mut server = self.installation.start()?;
        server.ready().await?;
        Ok(server)
    }

    /// A round in which nothing happens to the server; `None` for times if no link was made.
    async fn calm_round(&self, number: usize) -> Result<(Round, Option<Times>), Failure> {
        let (target, request) = self.request(number);
        let (asking, begun) = self.ask_at_once(&request).await?;
        let answered = answers(asking).await?;
        let since = |at: &Instant| at.saturating_duration_since(begun);
        let made = answered.iter().filter(|(answer, _)| matches!(answer, Answer::Created(_)));
        let first = made.map(|(_, at)| since(at)).min();
        let last = answered.iter().map(|(_, at)| since(at)).max();
        let times = first.zip(last).map(|(first, last)| Times { first, last });
        let answers = answered.into_iter().map(|(answer, _)| answer).collect();
        let settled = settle(&request).await;
        Ok((Round { target, kill_after: None, answers, settled }, times))
    }

    /// A round in which the server is killed `moment` after the requests were sent.
    async fn kill_round(
        &self,
        number: usize,
        server: Server<'a>,
        moment: Duration,
    ) -> Result<(Server<'a>, Round), Failure> {
        let (target, request) = self.request(number);
        let (asking, begun) = self.ask_at_once(&request).await?;
        // Not the runtime's own sleep: that is as coarse as the whole matter takes, a millisecond.
        let slept = tokio::task::spawn_blocking(move || {
            std::thread::sleep(moment.saturating_sub(begun.elapsed()));
            begun.elapsed()
        });
        let kill_after = slept.await.map_err(|error| Failure::new(format!("no sleep: {error}")))?;
        let server = self.restart(server).await?;
        let answers = answers(asking).await?.into_iter().map(|(answer, _)| answer).collect();
        let settled = settle(&request).await;
        Ok((server, Round { target, kill_after: Some(kill_after), answers, settled }))
    }

    /// Sends the request on all connections at once, and says when.
    async fn ask_at_once(
        &self,
        request: &Arc<Request>,
    ) -> Result<(JoinSet<Answered>, Instant), Failure> {
        let start = Arc::new(Barrier::new(self.args.parallel + 1));
        let mut asking = JoinSet::new();
        for _ in 0..self.args.parallel {
            let (request, start) = (Arc::clone(request), Arc::clone(&start));
            let connection = request.connect().await;
            let mut connection =
                connection.map_err(|error| Failure::new(format!("cannot connect: {error}")))?;
            asking.spawn(async move {
                start.wait().await;
                let answer = request.ask(&mut connection).await;
                (answer, Instant::now())
            });
        }
        start.wait().await;
        Ok((asking, Instant::now()))
    }
}

async fn answers(mut asking: JoinSet<Answered>) -> Result<Vec<Answered>, Failure> {
    let mut answers = Vec::with_capacity(asking.len());
    while let Some(answer) = asking.join_next().await {
        answers.push(answer.map_err(|error| Failure::new(format!("a client died: {error}")))?);
    }
    Ok(answers)
}

/// Asks alone until the link is answered, as a client does that waits and tries again.
async fn settle(request: &Request) -> Result<Created, String> {
    let begun = Instant::now();
    loop {
        let answer = match request.connect().await {
            Ok(mut connection) => request.ask(&mut connection).await,
            Err(error) => Answer::Cut(error.to_string()),
        };
        match answer {
            Answer::Created(created) => return Ok(created),
            Answer::UnderWay | Answer::Busy if begun.elapsed() < SETTLE_MAX => {
                sleep(SETTLE_PAUSE).await;
            }
            other => return Err(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_come_in_turn_before_between_and_after() {
        let times = |first, last| Times {
            first: Duration::from_millis(first),
            last: Duration::from_millis(last),
        };
        // Medians: 2 ms and 10 ms.
        let all = [times(2, 90), times(1, 10), times(70, 9)];
        let mut moments = Moments::new(Rng::new(5), &all).expect("there are times");
        let mut drawn = [const { Vec::new() }; 3];
        for kill in 1..=3000 {
            drawn[kill % 3].push(moments.draw(kill).as_micros());
        }
        for (drawn, (from, to)) in drawn.iter().zip([(10_000, 15_000), (0, 2000), (2000, 10_000)]) {
            let (min, max) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
            let edge = (to - from) / 20;
            assert!(min >= from && max <= to, "{min} to {max}, not {from} to {to}");
            assert!(min < from + edge && max > to - edge, "{min} to {max}, not {from} to {to}");
        }
        assert!(Moments::new(Rng::new(5), &[]).is_err());
    }
}
