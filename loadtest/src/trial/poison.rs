//! No. 19: requests that nobody should send, and batches that are not what they say.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ground::{Ground, clear, installation, must_be_answered};
use super::machine::DatabaseLock;
use super::observe::relieved;
use super::report::Finding;
use super::{Stop, TrialArgs};
use crate::api::Link;
use crate::failure::Failure;
use crate::population::Rng;

const LINKS: usize = 16;
const RATE: u32 = 2000;
const FUZZERS: usize = 8;
const FUZZ: Duration = Duration::from_secs(30);
const AWAY: Duration = Duration::from_secs(5);
/// From the last answer until its click is in a batch.
const DRAIN: Duration = Duration::from_secs(3);
const RELIEVED_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A batch's version, and a place in its body whatever its ranges are.
const FORMAT_AT: usize = 8;
const FROM_THE_END: usize = 16;

/// What a fuzzer was answered, by status; 0 is a connection that was closed without an answer.
type Answers = std::collections::BTreeMap<u16, u64>;

pub(super) async fn run(args: &TrialArgs, seed: u64) -> Result<Finding, Stop> {
    let installation = installation(args, &args.carom, "poison", &["spool.flush_ms=200"])?;
    let mut rng = Rng::new(seed);
    let mut server = installation.start()?;
    server.ready().await?;
    let mut ground = Ground::prepare(&installation, LINKS).await?;
    let mut finding = Finding::of(format!(
        "{} s of requests with bytes that do not belong there; then two waiting batches are \
         damaged",
        FUZZ.as_secs()
    ));

    // Beside the fuzzers come visitors, whom nothing of it may touch.
    let (watched, fuzzed) = ground.links.split_at(LINKS / 2);
    let (watched, fuzzed) = (watched.to_vec(), fuzzed.to_vec());
    ground.links = watched;
    let visitors = ground.visitors(args.rate.unwrap_or(RATE), &mut rng);
    let answers = fuzz(installation.edge(), &fuzzed, &mut rng).await?;
    let lock = DatabaseLock::take(&installation.data_dir().join("clicks.db"))?;
    sleep(AWAY).await;
    let seen = visitors.end().await?;
    sleep(DRAIN).await;
    server.kill().await?;
    drop(lock);

    let rows = damage(&installation.data_dir().join("spool/outbox"))?;
    let mut server = installation.start()?;
    server.ready().await?;
    relieved(installation.edge_admin(), RELIEVED_MAX).await;
    ground.must_live(&mut finding).await?;
    let aside = std::fs::read_dir(installation.data_dir().join("spool/quarantine"));
    let aside = aside.map_err(|error| Failure::new(format!("the quarantine: {error}")))?.count();

    let sent: u64 = answers.values().sum();
    let redirects = answers.get(&302).copied().unwrap_or_default();
    let failed: u64 = answers.range(500..).map(|(_, n)| n).sum();
    finding.figure("bad requests, by the status of their answer (0: none)", format!("{answers:?}"));
    finding.figure("clicks in the two damaged batches", rows);
    finding.happened(sent > redirects, format!("{} requests were refused", sent - redirects));
    finding.happened(redirects > 0, format!("{redirects} were odd and were redirected"));
    finding.must(failed == 0, format!("no answer is a failure of the server: {failed} with 5xx"));
    finding.must(aside == 2, format!("both damaged batches are in quarantine: {aside} files"));
    must_be_answered(&seen, &mut finding);
    let mut counted = seen;
    counted.answered += redirects;
    let stored = ground.compare_with(server, &counted, rows, &mut finding).await?;
    let of_fuzzed: u64 = fuzzed.iter().map(|link| stored.of(&link.id)).sum();
    let least = redirects.saturating_sub(rows);
    let text = format!("odd requests are counted as answered: {of_fuzzed} of {redirects}");
    finding.must((least..=redirects).contains(&of_fuzzed), text);
    clear(args, &installation, &finding)?;
    Ok(finding)
}

async fn fuzz(
    edge: std::net::SocketAddr,
    links: &[Link],
    rng: &mut Rng,
) -> Result<Answers, Failure> {
    let mut fuzzers = JoinSet::new();
    for n in 0..FUZZERS {
        let (code, mut rng) = (links[n % links.len()].code.clone(), rng.fork());
        fuzzers.spawn(async move {
            let (begun, mut answers) = (Instant::now(), Answers::new());
            while begun.elapsed() < FUZZ {
                let request = bad_request(&code, &edge.to_string(), &mut rng);
                let status = timeout(ANSWER_MAX, ask(edge, &request)).await.ok().flatten();
                *answers.entry(status.unwrap_or(0)).or_default() += 1;
            }
            answers
        });
    }
    let mut sum = Answers::new();
    while let Some(answers) = fuzzers.join_next().await {
        let answers = answers.map_err(|error| Failure::new(format!("a fuzzer died: {error}")))?;
        answers.into_iter().for_each(|(status, n)| *sum.entry(status).or_default() += n);
    }
    Ok(sum)
}

/// The status of the answer to these bytes, on a connection of their own.
async fn ask(edge: std::net::SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(edge).await.ok()?;
    // The server may answer and close before all is sent.
    drop(stream.write_all(request).await);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while answer.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut part).await {
            Ok(read) if read > 0 => answer.extend_from_slice(&part[..read]),
            _ => break,
        }
    }
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// A request with something in it that nobody should send; its connection ends with the answer.
fn bad_request(code: &str, host: &str, rng: &mut Rng) -> Vec<u8> {
    let mut noise = |len: usize, any: bool| -> Vec<u8> {
        let byte = |rng: &mut Rng| u8::try_from(rng.below(256)).unwrap_or_default();
        let mut bytes: Vec<u8> = (0..len).map(|_| byte(rng)).collect();
        if !any {
            // Of those that a header's value may have (RFC 9110, 5.5): the upper half among them.
            bytes.iter_mut().for_each(|byte| {
                if *byte < 0x20 || *byte == 0x7f {
                    *byte = 0xff;
                }
            });
        }
        bytes
    };
    let (kind, len) = (noise(1, true)[0] % 10, usize::from(noise(1, true)[0]) + 1);
    let mut target = format!("/{code}").into_bytes();
    let mut header = b"User-Agent: x".to_vec();
    match kind {
        0 => header = [&b"User-Agent: "[..], &noise(len, false)].concat(),
        1 => header = [&b"Referer: https://"[..], &noise(len, false)].concat(),
        2 => header = [&b"Accept-Language: "[..], &noise(len, false)].concat(),
        3 => header = [&b"User-Agent: "[..], &vec![b'a'; 64 * 1024]].concat(),
        4 => header = [&b"User-Agent: a\0b"[..], &noise(len, true)].concat(),
        5 => {
            target = [&target[..], b"?utm_source=%ff%00%0a&utm_medium=", &hex(&noise(len, true))]
                .concat()
        }
        6 => target = [&target[..], b"?", &noise(len, true)].concat(),
        7 => target = [&target[..], b"?utm_campaign=", &vec![b'%'; 4096]].concat(),
        8 => return noise(len * 4, true),
        _ => {
            header =
                [&b"Sec-GPC: "[..], &noise(3, false), b"\r\nPurpose: ", &noise(len, false)].concat()
        }
    }
    let [get, version] = [&b"GET "[..], &b" HTTP/1.1\r\nHost: "[..]];
    let end = &b"\r\nConnection: close\r\n\r\n"[..];
    [get, &target, version, host.as_bytes(), b"\r\n", &header, end].concat()
}

/// Percent-encoded.
fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect()
}

/// Damages the body of one batch that waits, and lets another be of a version to come. Returns how
/// many clicks they hold, which their names say.
fn damage(outbox: &Path) -> Result<u64, Failure> {
    let fail = |error: std::io::Error| Failure::new(format!("{}: {error}", outbox.display()));
    let files = std::fs::read_dir(outbox).map_err(fail)?;
    let mut batches: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    batches.retain(|path| path.extension().is_some_and(|extension| extension == "clk"));
    batches.sort();
    // The last two were never sent: nobody can have stored them already.
    let [.., body, version] = &batches[..] else {
        return Err(Failure::new("fewer than two batches wait"));
    };
    let mut rows = 0;
    for path in [body, version] {
        let mut bytes = std::fs::read(path).map_err(fail)?;
        let at = if path == version { FORMAT_AT } else { bytes.len() - FROM_THE_END };
        bytes[at] ^= 0x40;
        std::fs::write(path, bytes).map_err(fail)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let row_count = name.split('-').nth(3).and_then(|rows| rows.parse::<u64>().ok());
        rows += row_count.ok_or_else(|| Failure::new(format!("no rows in the name {name}")))?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_requests_are_of_many_kinds_and_some_are_whole() {
        let mut rng = Rng::new(7);
        let requests: Vec<_> = (0..500).map(|_| bad_request("code", "host", &mut rng)).collect();
        let whole = requests.iter().filter(|request| request.starts_with(b"GET /code")).count();
        assert!((300..500).contains(&whole), "{whole}");
        assert!(requests.iter().any(|request| request.len() > 64 * 1024));
        assert!(requests.iter().any(|request| request.contains(&0)));
    }
}
