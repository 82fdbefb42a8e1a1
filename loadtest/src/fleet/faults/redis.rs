//! What the experiment itself asks of Redis.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::failure::Failure;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Sends one command; gives the first line of the answer, without its end.
pub(super) async fn ask(address: SocketAddr, command: &str) -> Result<String, Failure> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    let failed = |what: &str| Failure::new(format!("Redis at {address}, {command}: {what}"));
    match timeout(ANSWER_MAX, asked).await {
        Ok(Ok(line)) if line.is_empty() || line.starts_with('-') => Err(failed(&line)),
        Ok(Ok(line)) => Ok(line),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_elapsed) => Err(failed("no answer within 10 s")),
    }
}

/// How many keys it has.
pub(super) async fn keys(address: SocketAddr) -> Result<u64, Failure> {
    let answer = ask(address, "DBSIZE").await?;
    let number = answer.strip_prefix(':').and_then(|number| number.parse().ok());
    number.ok_or_else(|| Failure::new(format!("Redis at {address}: DBSIZE is {answer}")))
}

/// Whether it answers within a time.
pub(super) async fn answers(address: SocketAddr, within: Duration) -> bool {
    matches!(timeout(within, ask(address, "PING")).await, Ok(Ok(_)))
}

/// Waits until it has loaded what it was started with.
pub(super) async fn loaded(address: SocketAddr) -> Result<(), Failure> {
    let answers = async {
        while ask(address, "PING").await.is_err() {
            sleep(POLL).await;
        }
    };
    timeout(ANSWER_MAX, answers)
        .await
        .map_err(|_| Failure::new(format!("Redis at {address} did not load within 10 s")))
}
