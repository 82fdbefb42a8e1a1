//! Everything that comes back on one connection, whatever it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::at;
use crate::failure::Failure;

/// After so long without a byte nothing more is coming: far more than an answer takes here.
const SILENCE: Duration = Duration::from_millis(300);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// More is no answer to any of these requests.
const BYTES_MAX: usize = 256 * 1024;

/// One whole answer; interim ones (1xx) are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<Vec<u8>>,
}

/// Sends bytes from an address, and reads until the end or silence.
pub(super) async fn exchange(
    from: Ipv4Addr,
    to: SocketAddr,
    bytes: &[u8],
) -> Result<Vec<Answer>, Failure> {
    let fail = |error: std::io::Error| Failure::new(format!("from {from} to {to}: {error}"));
    let socket = TcpSocket::new_v4().map_err(fail)?;
    socket.bind(at(from, 0)).map_err(fail)?;
    let connected = timeout(CONNECT_MAX, socket.connect(to)).await;
    let mut stream = match connected {
        // Accepted and refused before this looked.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            return Ok(Vec::new());
        }
        Ok(connected) => connected.map_err(fail)?,
        Err(_elapsed) => return Err(Failure::new(format!("{to} does not accept within 5 s"))),
    };
    // Who refuses early may close before it has read all of it.
    let _cut = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    while heard.len() < BYTES_MAX {
        match timeout(SILENCE, stream.read_buf(&mut heard)).await {
            // A reset is an end too: what came before it counts.
            Err(_) | Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
        }
    }
    answers(&heard)
        .map_err(|what| Failure::new(format!("an answer of {to} cannot be read: {what}")))
}

/// Splits what came into answers.
fn answers(mut bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            return Err(format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)])));
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
        let status = status.and_then(|line| line.get(2..5)).and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("{head:?}"))?;
        bytes = &bytes[end + 4..];
        if status < 200 {
            continue;
        }
        let (mut length, mut is_chunked, mut location) = (None, false, None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "transfer-encoding" => is_chunked = true,
                "location" => location = Some(value.trim().as_bytes().to_vec()),
                _ => {}
            }
        }
        let body = match length {
            _ if is_chunked => find(bytes, b"0\r\n\r\n").map_or(bytes.len(), |at| at + 5),
            Some(length) => length,
            None if matches!(status, 204 | 304) => 0,
            None => bytes.len(),
        };
        bytes = bytes.get(body..).unwrap_or_default();
        answers.push(Answer { status, location });
    }
    Ok(answers)
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_split_into_answers() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: x\r\n\
            Content-Length: 2\r\n\r\nabHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
            1\r\na\r\n0\r\n\r\nHTTP/1.0 400 Bad Request\r\n\r\n<html>";
        let read = answers(bytes).expect("answers");
        let statuses: Vec<_> = read.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [302, 404, 400]);
        assert_eq!(read[0].location.as_deref(), Some(&b"x"[..]));
        assert!(answers(b"SSH-2.0").is_err());
    }
}
