//! The faults: each is carried out, shown to have happened, and taken back.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::super::member::Member;
use super::Stage;
use super::counts::{Judged, Purpose};
use super::edges::Asker;
use super::model::Verdict;
use super::redis;
use crate::failure::Failure;

/// Between two lives of an edge that is killed again and again, beside its start.
const LIFE: Duration = Duration::from_millis(300);
/// How long PostgreSQL may take until the remains of its last life are gone.
const POSTGRES_STARTS: usize = 50;
const POLL: Duration = Duration::from_millis(200);
/// A server that does not answer in this time is away.
const AWAY: Duration = Duration::from_millis(300);

/// What can happen to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fault {
    /// Redis is killed and comes back empty.
    RedisKilled,
    /// Redis is emptied while it runs, three times.
    RedisFlushed,
    /// Redis is killed and comes back with what it had a moment ago, and then with what it had before.
    RedisOlder,
    /// Redis is stopped (SIGSTOP): connections stay open and nobody answers.
    RedisPaused,
    /// Redis answers 30, 200 and 1,000 ms later.
    RedisSlow,
    /// PostgreSQL is killed, all of its processes, and started again.
    PostgresKilled,
    /// PostgreSQL is stopped (SIGSTOP), all of its processes.
    PostgresPaused,
    /// Each control plane in turn is killed and started again.
    ControlKilled,
    /// All control planes are killed at once.
    ControlsKilled,
    /// One edge after the other is killed and started again.
    EdgeKilled,
    /// An edge starts with everything else down, and answers what its snapshot knows.
    ColdStart,
    /// An edge on another host has 100 ms, then 500 ms to everything else.
    NetworkDelayed,
    /// An edge on another host has no way to everything else.
    NetworkCut,
}

/// That it happened: whether, and what shows it.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) happened: bool,
    pub(super) text: String,
    /// When it was over.
    pub(super) over: Instant,
}

impl Proof {
    fn of(happened: bool, text: impl Into<String>) -> Self {
        Self { happened, text: text.into(), over: Instant::now() }
    }
}

impl Stage {
    pub(super) async fn carry_out(&mut self, fault: Fault) -> Result<Proof, Failure> {
        match fault {
            Fault::RedisKilled => self.redis_killed().await,
            Fault::RedisFlushed => self.redis_flushed().await,
            Fault::RedisOlder => self.redis_older().await,
            Fault::RedisPaused => self.redis_paused().await,
            Fault::RedisSlow => self.redis_slow().await,
            Fault::PostgresKilled => self.postgres_killed().await,
            Fault::PostgresPaused => self.postgres_paused().await,
            Fault::ControlKilled => self.control_killed().await,
            Fault::ControlsKilled => self.controls_killed().await,
            Fault::EdgeKilled => self.edge_killed().await,
            Fault::ColdStart => self.cold_start().await,
            Fault::NetworkDelayed => self.network_delayed().await,
            Fault::NetworkCut => self.network_cut().await,
        }
    }

    /// Without what it may have saved.
    async fn start_redis_empty(&mut self) -> Result<(), Failure> {
        fs::remove_file(self.fleet.folder.join("dump.rdb")).ok();
        let redis = self.redis()?;
        redis.start_again()?;
        redis.ready().await
    }

    async fn redis_killed(&mut self) -> Result<Proof, Failure> {
        let (hold, redis) = (self.times.redis_killed, self.redis()?);
        let address = redis.address();
        redis.kill().await?;
        sleep(hold / 2).await;
        let is_away = !redis::answers(address, AWAY).await;
        sleep(hold / 2).await;
        self.start_redis_empty().await?;
        Ok(Proof::of(is_away, format!("away for {hold:.0?}")))
    }

    async fn redis_flushed(&mut self) -> Result<Proof, Failure> {
        let address = self.redis()?.address();
        let mut fewest = u64::MAX;
        for _ in 0..3 {
            // Once it was filled again, so that there is something to lose.
            sleep(Duration::from_secs(1)).await;
            fewest = fewest.min(redis::keys(address).await?);
            redis::ask(address, "FLUSHALL").await?;
        }
        Ok(Proof::of(fewest > 0, format!("emptied 3 times of at least {fewest} keys")))
    }

    /// First at once, while the lease that was saved would still be valid; then later.
    async fn redis_older(&mut self) -> Result<Proof, Failure> {
        let address = self.redis()?.address();
        let mut texts = Vec::new();
        let mut happened = true;
        for (grows, away) in [(AWAY, Duration::ZERO), (self.times.hold, self.times.hold)] {
            redis::ask(address, "SAVE").await?;
            let saved = redis::keys(address).await?;
            // So that there is something that it does not bring back.
            for control in 0..self.world.controls() {
                self.world.create(control, None).await;
            }
            sleep(grows).await;
            let killed = redis::keys(address).await?;
            let redis = self.redis()?;
            redis.kill().await?;
            sleep(away).await;
            redis.start_again()?;
            redis.ready().await?;
            redis::loaded(address).await?;
            let back = redis::keys(address).await?;
            happened &= saved > 0 && killed > saved && back + 2 >= saved;
            texts.push(format!("{saved} keys saved, {killed} when killed, {back} when back"));
        }
        fs::remove_file(self.fleet.folder.join("dump.rdb")).ok();
        Ok(Proof::of(happened, texts.join("; ")))
    }

    async fn redis_paused(&mut self) -> Result<Proof, Failure> {
        let (hold, redis) = (self.times.pause, self.redis()?);
        redis.pause()?;
        let is_away = !redis::answers(redis.address(), AWAY).await;
        sleep(hold).await;
        redis.resume()?;
        Ok(Proof::of(is_away, format!("stopped for {hold:.0?}")))
    }

    async fn redis_slow(&mut self) -> Result<Proof, Failure> {
        let mut happened = true;
        for ms in [30, 200, 1000] {
            let delay = Duration::from_millis(ms);
            self.redis_wire.set_delay(delay);
            let begun = Instant::now();
            redis::ask(self.redis_wire.address(), "PING").await?;
            happened &= begun.elapsed() >= delay;
            sleep(self.times.hold).await;
        }
        self.redis_wire.set_delay(Duration::ZERO);
        let hold = self.times.hold;
        Ok(Proof::of(happened, format!("30, 200 and 1,000 ms for {hold:.0?} each")))
    }

    async fn postgres_killed(&mut self) -> Result<Proof, Failure> {
        let (hold, postgres) = (self.times.hold, self.postgres()?);
        kill_postgres(postgres).await?;
        sleep(hold).await;
        let is_away = is_away(postgres.address()).await;
        start_postgres(postgres).await?;
        Ok(Proof::of(is_away, format!("away for {hold:.0?}")))
    }

    async fn postgres_paused(&mut self) -> Result<Proof, Failure> {
        let hold = self.times.pause;
        let pid = self.postgres()?.pid();
        // The parent first: it would make new ones.
        signal(pid, Signal::STOP)?;
        let children = children(pid);
        children.iter().try_for_each(|&child| signal(child, Signal::STOP))?;
        let before = self.world.counts().creates.acknowledged;
        sleep(hold).await;
        let made = self.world.counts().creates.acknowledged - before;
        children.iter().try_for_each(|&child| signal(child, Signal::CONT))?;
        signal(pid, Signal::CONT)?;
        let text = format!("{} processes stopped for {hold:.0?}", children.len() + 1);
        // What was committed just before is acknowledged.
        Ok(Proof::of(made <= 64, format!("{text}; {made} links acknowledged meanwhile")))
    }

    async fn control_killed(&mut self) -> Result<Proof, Failure> {
        let hold = self.times.hold;
        let mut happened = true;
        for control in &mut self.fleet.controls {
            control.kill().await?;
            happened &= is_away(control.address()).await;
            sleep(hold).await;
            control.start_again()?;
            control.ready().await?;
        }
        let count = self.fleet.controls.len();
        Ok(Proof::of(happened, format!("{count} in turn, each away for {hold:.0?}")))
    }

    async fn controls_killed(&mut self) -> Result<Proof, Failure> {
        let hold = self.times.hold;
        self.kill_controls().await?;
        sleep(hold).await;
        let mut happened = true;
        for control in &mut self.fleet.controls {
            happened &= is_away(control.address()).await;
            control.start_again()?;
        }
        for control in &mut self.fleet.controls {
            control.ready().await?;
        }
        Ok(Proof::of(happened, format!("all away for {hold:.0?}")))
    }

    async fn kill_controls(&mut self) -> Result<(), Failure> {
        for control in &mut self.fleet.controls {
            control.kill().await?;
        }
        Ok(())
    }

    async fn edge_killed(&mut self) -> Result<Proof, Failure> {
        let kills = self.times.edge_kills;
        let mut slowest = Duration::ZERO;
        for n in 0..kills {
            let edge = n % self.near;
            self.world.edges[edge].set_down();
            let member = &mut self.fleet.edges[edge];
            member.kill().await?;
            let begun = Instant::now();
            member.start_again()?;
            member.ready().await?;
            slowest = slowest.max(begun.elapsed());
            self.world.edges[edge].set_up();
            sleep(LIFE).await;
        }
        let cut = self.world.counts().cut;
        let text = format!("{kills} kills, {cut} requests cut, slowest start {slowest:.1?}");
        Ok(Proof::of(kills > 0, text))
    }

    async fn cold_start(&mut self) -> Result<Proof, Failure> {
        let hold = self.times.hold;
        self.world.edges[0].set_down();
        // Until those who asked have their answers.
        sleep(AWAY).await;
        self.fleet.edges[0].stop().await?;
        self.kill_controls().await?;
        kill_postgres(self.postgres()?).await?;
        self.redis()?.kill().await?;
        let begun = Instant::now();
        let edge = &mut self.fleet.edges[0];
        edge.start_again()?;
        edge.ready().await?;
        let took = begun.elapsed();
        self.world.edges[0].set_up();
        let mut asker = Asker::of(self.world.edges[0].address);
        let mut right = 0;
        for code in self.world.known() {
            let judged = self.world.ask(&mut asker, 0, code, Purpose::Known).await;
            right += usize::from(judged == Some(Judged::Answer(Verdict::Right)));
        }
        sleep(hold).await;
        let mut happened = true;
        for control in &self.fleet.controls {
            happened &= is_away(control.address()).await;
        }
        start_postgres(self.postgres()?).await?;
        self.start_redis_empty().await?;
        for control in &mut self.fleet.controls {
            control.start_again()?;
        }
        for control in &mut self.fleet.controls {
            control.ready().await?;
        }
        let text = format!("ready after {took:.1?}; all of {right} known links answered");
        Ok(Proof::of(happened && right == self.world.known().len(), text))
    }

    async fn network_delayed(&mut self) -> Result<Proof, Failure> {
        let hold = self.times.hold;
        let far = self.far()?;
        for ms in [100, 500] {
            far.set_delay(Duration::from_millis(ms));
            sleep(hold).await;
        }
        far.set_delay(Duration::ZERO);
        Ok(Proof::of(true, format!("100 and 500 ms for {hold:.0?} each, by proxies")))
    }

    async fn network_cut(&mut self) -> Result<Proof, Failure> {
        let hold = self.times.cut;
        let far = self.far()?;
        far.set_cut(true)?;
        sleep(hold).await;
        let age = self.world.edges[self.near].look().await.unwrap_or_default();
        far.set_cut(false)?;
        let text = format!("for {hold:.0?}, by {}; its feed was {age:.1?} old", far.means());
        Ok(Proof::of(age >= hold / 2, text))
    }
}

async fn is_away(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

/// All of its processes: what is left of them would hold up the next start.
async fn kill_postgres(postgres: &mut Member) -> Result<(), Failure> {
    let children = children(postgres.pid());
    postgres.kill().await?;
    // They may have ended with their parent.
    children.into_iter().for_each(|child| drop(signal(child, Signal::KILL)));
    Ok(())
}

/// It refuses to start while a process of its last life is left.
async fn start_postgres(postgres: &mut Member) -> Result<(), Failure> {
    for _ in 1..POSTGRES_STARTS {
        postgres.start_again()?;
        if postgres.ready().await.is_ok() {
            return Ok(());
        }
        sleep(POLL).await;
    }
    postgres.start_again()?;
    postgres.ready().await
}

fn signal(pid: u32, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::new("there is no such process"))?;
    kill_process(pid, signal)
        .map_err(|error| Failure::new(format!("process {pid:?} cannot be signalled: {error}")))
}

/// Processes that this one has started, by proc(5).
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|of| of.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may hold blanks: state, parent.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1).and_then(|field| field.parse().ok()) == Some(parent)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children(std::process::id()).contains(&child.id()));
    }
}
