//! Which attacks there are, how strong, and by whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;
use tokio::process::Command;

use super::attacker::AttackerArgs;
use super::script::Kind;

/// One attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) by: By,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// New ones a second, at most.
    pub(crate) rate: u32,
}

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// This program, from one address or from as many as there are connections.
    Own(Kind, Blocks),
    /// A program that others made for it, from an address that no limit counts.
    Tool(Tool),
}

/// Where an attack comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    One,
    Many,
}

/// Another program, and what it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    SlowHeaders,
    SlowBody,
    SlowRead,
    H2load,
}

/// What an attack is aimed at.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// A link that exists.
    pub(crate) code: String,
    pub(crate) certificate: PathBuf,
    pub(crate) seed: u64,
}

const fn own(
    name: &'static str,
    kind: Kind,
    blocks: Blocks,
    connections: usize,
    rate: u32,
) -> Attack {
    Attack { name, by: By::Own(kind, blocks), connections, rate }
}

const fn tool(name: &'static str, tool: Tool, connections: usize, rate: u32) -> Attack {
    Attack { name, by: By::Tool(tool), connections, rate }
}

/// All attacks, the ones that hold connections first.
pub(crate) const ATTACKS: [Attack; 21] = [
    own("slow-headers", Kind::SlowHeaders, Blocks::Many, 2000, 1000),
    own("slow-body", Kind::SlowBody, Blocks::Many, 2000, 1000),
    own("slow-read", Kind::SlowRead, Blocks::Many, 1000, 500),
    tool("slowhttptest-headers", Tool::SlowHeaders, 1000, 500),
    tool("slowhttptest-body", Tool::SlowBody, 1000, 500),
    tool("slowhttptest-read", Tool::SlowRead, 1000, 500),
    own("idle", Kind::Idle, Blocks::Many, 10_000, 5000),
    own("idle-one-block", Kind::Idle, Blocks::One, 10_000, 5000),
    own("silent", Kind::Silent, Blocks::Many, 5000, 5000),
    own("tls-silent", Kind::TlsSilent, Blocks::Many, 5000, 5000),
    own("tls-half-hello", Kind::TlsHalfHello, Blocks::Many, 5000, 5000),
    own("tls-handshakes", Kind::TlsHandshakes, Blocks::Many, 16, 500),
    tool("h2load", Tool::H2load, 16, 0),
    own("h2-rapid-reset", Kind::H2RapidReset, Blocks::Many, 16, 200),
    own("h2-settings", Kind::H2Settings, Blocks::Many, 16, 200),
    own("h2-ping", Kind::H2Ping, Blocks::Many, 16, 200),
    own("h2-continuation", Kind::H2Continuation, Blocks::Many, 16, 200),
    own("random-codes", Kind::RandomCodes, Blocks::One, 64, 5000),
    own("random-codes-of-many", Kind::RandomCodesOfMany, Blocks::Many, 64, 5000),
    own("full-headers", Kind::FullHeaders, Blocks::Many, 64, 5000),
    own("pipelined", Kind::Pipelined, Blocks::Many, 64, 5000),
];

impl Tool {
    const fn program(self) -> &'static str {
        match self {
            Self::SlowHeaders | Self::SlowBody | Self::SlowRead => "slowhttptest",
            Self::H2load => "h2load",
        }
    }

    /// The Debian package that it is in.
    const fn package(self) -> &'static str {
        match self {
            Self::SlowHeaders | Self::SlowBody | Self::SlowRead => "slowhttptest",
            Self::H2load => "nghttp2-client",
        }
    }
}

impl Attack {
    /// Looks for the program that it needs.
    ///
    /// # Errors
    /// What to say of one that is not here.
    pub(crate) async fn find(&self) -> Result<(), String> {
        let By::Tool(tool) = self.by else { return Ok(()) };
        let asked = Command::new(tool.program())
            .arg("-h")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        asked.map(drop).map_err(|_| {
            format!(
                "{}: {} is not installed; apt-get install {}",
                self.name,
                tool.program(),
                tool.package()
            )
        })
    }

    /// Who attacks, for people.
    pub(crate) fn who(&self) -> &'static str {
        match self.by {
            By::Own(_, Blocks::One) => "own, one address",
            By::Own(_, Blocks::Many) => "own, many addresses",
            By::Tool(tool) => tool.program(),
        }
    }

    /// What carries it out, for so many seconds at least, with what the good client leaves of the
    /// processor.
    pub(crate) fn command(&self, aim: &Aim, seconds: u64, idles: bool) -> Command {
        let words = match self.by {
            By::Own(kind, blocks) => own_words(
                &AttackerArgs {
                    kind,
                    target: if kind.is_tls() { aim.tls } else { aim.plain },
                    connections: self.connections,
                    rate: self.rate,
                    of_many: blocks == Blocks::Many,
                    code: aim.code.clone(),
                    certificate: aim.certificate.clone(),
                },
                aim.seed,
            ),
            By::Tool(tool) => self.tool_words(tool, aim, seconds),
        };
        // SCHED_IDLE gives way to all others at once; the lowest niceness takes 1.5 % of them.
        let gently: &[&str] = if idles { &["chrt", "--idle", "0"] } else { &["nice", "-n", "19"] };
        let mut command = Command::new(gently[0]);
        command.args(&gently[1..]).args(words).kill_on_drop(true);
        command
    }

    fn tool_words(&self, tool: Tool, aim: &Aim, seconds: u64) -> Vec<String> {
        let (connections, rate) = (self.connections, self.rate);
        let url = match tool {
            Tool::H2load => format!("https://{}/{}", aim.tls, aim.code),
            _ => format!("http://{}/{}", aim.plain, aim.code),
        };
        let text = match tool {
            Tool::SlowHeaders => {
                format!("-H -c {connections} -r {rate} -i 1 -l {seconds} -u {url}")
            }
            Tool::SlowBody => {
                format!("-B -c {connections} -r {rate} -i 1 -s 100000 -l {seconds} -u {url}")
            }
            Tool::SlowRead => format!(
                "-X -c {connections} -r {rate} -w 1 -y 64 -n 1 -z 5 -k 10 -l {seconds} -u {url}"
            ),
            Tool::H2load => format!("-c {connections} -m 100 -D {seconds} {url}"),
        };
        let words = text.split(' ').map(str::to_owned);
        std::iter::once(tool.program().to_owned()).chain(words).collect()
    }
}

/// This program once more, as the attacker.
fn own_words(args: &AttackerArgs, seed: u64) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    // Not the link itself: who follows it is the program that lowers the attacker's priority.
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let kind = args.kind.to_possible_value();
    let kind = kind.map(|kind| kind.get_name().to_owned()).unwrap_or_default();
    let mut words = vec![path(&program), "attacker".to_owned()];
    for (name, value) in [
        ("--seed", seed.to_string()),
        ("--kind", kind),
        ("--target", args.target.to_string()),
        ("--connections", args.connections.to_string()),
        ("--rate", args.rate.to_string()),
        ("--code", args.code.clone()),
        ("--certificate", path(&args.certificate)),
    ] {
        words.extend([name.to_owned(), value]);
    }
    words.extend(args.of_many.then(|| "--of-many".to_owned()));
    words
}
