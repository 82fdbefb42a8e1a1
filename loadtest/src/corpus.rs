//! `corpus`: requests that two servers could read in two ways, sent to Carom directly and through
//! proxies that are set up as `deploy/proxy` says.
//!
//! Each request is followed by a second one on the same connection, for another link. Where everybody
//! reads one request, both are answered; where what follows could be read as part of the first, the
//! second must not be answered ([`requests`]). In all cases each link has as many clicks as it was
//! redirected to, and nobody else's answer changes: after each request a visitor on a connection of
//! their own must get their own link. That is what smuggling breaks (RFC 9112 11.2): the backend
//! would have seen a request that the client never got an answer to, or an answer would go to the next.
//!
//! Then visitors who say in headers that they are somebody else: only what a trusted proxy adds counts.

mod answers;
mod front;
mod report;
mod requests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::answers::{Answer, exchange};
use self::front::Front;
pub(crate) use self::report::CorpusReport;
use self::report::{CaseReport, FrontReport, Identity};
use self::requests::{Case, HOST, cases};
use crate::api::{Api, ApiClient, Link, Totals};
use crate::count::{read_link_totals, wait_for_totals};
use crate::failure::Failure;
use crate::http::{Connection, HttpError};
use crate::installation::Installation;
use crate::report::progress;
use crate::subject::PlaceArgs;
use crate::traffic::ONE_USER_AGENT;

/// Longest wait for the totals.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// The proxy, and who asks Carom without one.
const TRUSTED: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Visitors, whom nobody trusts.
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

#[derive(Debug, Args)]
pub(crate) struct CorpusArgs {
    /// The `carom` to ask.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    /// What stands before it; may be repeated [default: all that is installed].
    #[arg(long, value_enum, value_name = "WHAT")]
    behind: Vec<Behind>,
    /// The folder with nginx.conf and haproxy.cfg.
    #[arg(long, value_name = "FOLDER", default_value = "deploy/proxy")]
    proxies: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What stands between a visitor and Carom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Behind {
    Nothing,
    Nginx,
    Haproxy,
    /// `HAProxy` that passes bytes on, and says whose they are with the PROXY protocol.
    HaproxyTcp,
}

const ALL: [Behind; 4] = [Behind::Nothing, Behind::Nginx, Behind::Haproxy, Behind::HaproxyTcp];

impl Behind {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::HaproxyTcp => "haproxy-tcp",
        }
    }
}

pub(crate) async fn run(args: &CorpusArgs) -> Result<CorpusReport, Failure> {
    let wanted = if args.behind.is_empty() { &ALL[..] } else { &args.behind };
    let mut report = CorpusReport::default();
    for &behind in wanted {
        match Front::find(behind).await {
            Ok(version) => {
                progress(&format!("behind {}", behind.name()));
                report.fronts.push(front(args, behind, version).await?);
            }
            Err(missing) if args.behind.is_empty() => report.missing.push(missing),
            Err(missing) => return Err(Failure::new(missing)),
        }
    }
    Ok(report)
}

async fn front(args: &CorpusArgs, behind: Behind, version: String) -> Result<FrontReport, Failure> {
    let installation =
        args.place.installation(&args.carom, &format!("corpus-{}", behind.name()))?;
    let mut settings =
        vec![format!("public_url=http://{HOST}"), format!("edge.trusted_proxies=[\"{TRUSTED}\"]")];
    if behind == Behind::HaproxyTcp {
        settings.push("edge.proxy_protocol=true".to_owned());
    }
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let installation = installation.with_settings(&settings);
    let mut server = installation.start()?;
    server.ready().await?;
    let folder = installation.data_dir().with_file_name("proxy");
    let front = Front::start(behind, &args.proxies, &folder, &installation).await?;
    let api = Api { control: installation.control(), key: installation.create_key().await? };
    let asked = Asked { front: &front, installation: &installation, api: &api, behind };
    let report = asked.all(version).await?;
    drop(front);
    server.stop().await?;
    if report.passed() && !args.place.keep {
        installation.remove()?;
    }
    Ok(report)
}

struct Asked<'a> {
    front: &'a Front,
    installation: &'a Installation,
    api: &'a Api,
    behind: Behind,
}

/// Links that are counted, and how often each was redirected to.
struct Tally {
    links: Vec<Link>,
    redirects: Vec<u64>,
}

impl Tally {
    /// Makes links, first to last.
    async fn new(api: &Api, codes: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut client = ApiClient::new(api.clone());
        let mut links = Vec::new();
        for code in codes {
            let url = format!("https://www.example.com/{code}");
            let created = client.create(&url, Some(&code)).await;
            let fail = |error| Failure::new(format!("cannot create a link: {error}"));
            links.push(created.map_err(fail)?);
        }
        let redirects = vec![0; links.len()];
        Ok(Self { links, redirects })
    }

    /// How many of the answers redirect to link `index`; they are counted for it.
    fn count(&mut self, index: usize, answers: &[Answer]) -> u64 {
        let url = self.links[index].url.as_bytes();
        let redirects = answers.iter().filter(|answer| answer.location.as_deref() == Some(url));
        let redirects = redirects.count() as u64;
        self.redirects[index] += redirects;
        redirects
    }
}

const PROBE: usize = 0;
const CLAIMS: usize = 1;
const TOLD: usize = 2;
/// The first of a case's two links.
const fn of_case(case: usize) -> usize {
    3 + 2 * case
}

impl Asked<'_> {
    async fn all(&self, version: String) -> Result<FrontReport, Failure> {
        let cases = cases();
        let pairs = (0..cases.len()).flat_map(|n| [format!("one-{n}"), format!("two-{n}")]);
        let names = ["probe", "claims", "told"].map(str::to_owned).into_iter().chain(pairs);
        let mut tally = Tally::new(self.api, names).await?;
        let mut reports = Vec::with_capacity(cases.len());
        for (index, case) in cases.iter().enumerate() {
            reports.push(self.case(case, index, &mut tally).await?);
        }
        let strangers = self.claims(&mut tally).await?;

        let sum = tally.redirects.iter().sum();
        let mut client = ApiClient::new(self.api.clone());
        wait_for_totals(&mut client, &Totals::default(), sum, DRAIN_MAX).await?;
        let totals = read_link_totals(self.api, &tally.links).await?;
        for (index, report) in reports.iter_mut().enumerate() {
            let at = of_case(index);
            report.clicks = [totals[at].sum(), totals[at + 1].sum()];
        }
        let mut identity = Identity { stranger_answers: strangers, ..Identity::default() };
        identity.visitors = self.visitors(&mut client, &tally.links[CLAIMS]).await?;
        identity.visitors_told = self.visitors(&mut client, &tally.links[TOLD]).await?;
        Ok(FrontReport {
            name: self.behind.name(),
            version,
            is_direct: self.behind == Behind::Nothing,
            is_told: self.behind == Behind::Nothing,
            probes: [cases.len() as u64, tally.redirects[PROBE], totals[PROBE].sum()],
            cases: reports,
            identity,
        })
    }

    async fn case(
        &self,
        case: &Case,
        index: usize,
        tally: &mut Tally,
    ) -> Result<CaseReport, Failure> {
        let bytes = case.bytes(&format!("one-{index}"), &format!("two-{index}"));
        let before = self.answered().await?;
        let answers = exchange(ONE, self.front.address, &bytes).await?;
        let by_carom = self.answered().await? - before;
        let at = of_case(index);
        let redirects = [tally.count(at, &answers), tally.count(at + 1, &answers)];
        let probe = get("probe", &[]);
        let probed = exchange(OTHER, self.front.address, &probe).await?;
        let is_probe_right = probed.len() == 1 && tally.count(PROBE, &probed) == 1;
        Ok(CaseReport {
            name: case.name,
            reads: case.reads,
            direct: case.statuses,
            statuses: answers.iter().map(|answer| answer.status).collect(),
            redirects,
            by_carom,
            clicks: [0; 2],
            is_probe_right,
        })
    }

    /// Requests that Carom has understood and answered until now, with whatever status.
    async fn answered(&self) -> Result<u64, Failure> {
        let admin = self.installation.edge_admin();
        let ask = async {
            let mut connection = Connection::open(admin).await?;
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
            connection.send(request.as_bytes()).await?;
            let head = connection.read_head().await?;
            let response = connection.read_body(&head).await?;
            Ok::<_, HttpError>(String::from_utf8_lossy(response.body).into_owned())
        };
        let fail = |error| Failure::new(format!("http://{admin}/metrics: {error}"));
        let text = ask.await.map_err(fail)?;
        let answers = text.lines().filter(|line| line.starts_with("carom_edge_answers_total{"));
        let counts = answers.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Visitors who claim to be others; how many answers a stranger got who spoke as a proxy.
    async fn claims(&self, tally: &mut Tally) -> Result<Option<u64>, Failure> {
        for (from, claim) in [
            (ONE, Some("198.51.100.1")),
            (ONE, Some("198.51.100.2")),
            (ONE, None),
            (OTHER, Some("198.51.100.1")),
        ] {
            let header = claim.map(|claim| format!("X-Forwarded-For: {claim}\r\n"));
            let request = get("claims", header.as_slice());
            let answers = exchange(from, self.front.address, &request).await?;
            tally.count(CLAIMS, &answers);
        }
        let edge = self.installation.edge();
        match self.behind {
            Behind::Nothing => {
                for claim in ["198.51.100.1", "198.51.100.2", "10.0.0.1, 198.51.100.2"] {
                    let request = get("told", &[format!("X-Forwarded-For: {claim}\r\n")]);
                    let answers = exchange(TRUSTED, edge, &request).await?;
                    tally.count(TOLD, &answers);
                }
                Ok(None)
            }
            Behind::HaproxyTcp => {
                let mut request = b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n".to_vec();
                request.extend(get("told", &[]));
                Ok(Some(exchange(ONE, edge, &request).await?.len() as u64))
            }
            Behind::Nginx | Behind::Haproxy => Ok(None),
        }
    }

    async fn visitors(&self, client: &mut ApiClient, link: &Link) -> Result<u64, Failure> {
        let report = client.report(&format!("/api/v1/links/{}/stats", link.id)).await?;
        Ok(report.totals.visitors)
    }
}

/// A request of a browser that asks for nothing more.
fn get(code: &str, headers: &[String]) -> Vec<u8> {
    let headers = headers.concat();
    format!(
        "GET /{code} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {ONE_USER_AGENT}\r\n\
         Accept-Language: en\r\n{headers}Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// An address on this machine.
const fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip), port)
}
