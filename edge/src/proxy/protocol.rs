//! The PROXY protocol (of `HAProxy`, versions 1 and 2): what a proxy says of its client before the client's
//! first byte.
//!
//! It is required where it is switched on, never recognised: a port that takes both lets everybody
//! choose an address. Who may send it, the caller has checked. Nothing beyond the header is read.
//!
//! ```text
//! version 1   "PROXY" " " ("TCP4" | "TCP6") 4 x (" " field) CRLF    at most 107 bytes
//!             "PROXY UNKNOWN" anything CRLF                         no address
//! version 2   12 bytes signature, version and command, family, u16 length, addresses, extensions
//!             command LOCAL: the proxy's own connection, no address
//! ```

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a proxy may take for it.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a header, at most; of version 2 with the longest addresses and 304 bytes of extensions.
const BYTES_MAX: usize = 536;
/// Bytes of version 1 with its line end, at most, by the specification.
const LINE_MAX: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE_BEGIN: &[u8] = b"PROXY ";
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// Why a connection has no client that could be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("a PROXY header is needed, and edge.trusted_proxies does not hold who connected")]
    Stranger,
    #[error("no PROXY header within {} ms", TIMEOUT.as_millis())]
    Slow,
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    #[error("a PROXY header that is not valid")]
    Invalid,
    #[error("a PROXY header of more than {BYTES_MAX} bytes")]
    TooLong,
    #[error("the PROXY header could not be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header; `None`: the proxy speaks for itself.
pub(crate) async fn read(stream: &TcpStream) -> Result<Option<IpAddr>, ProxyError> {
    let mut header = [0; BYTES_MAX];
    let client = timeout(TIMEOUT, read_into(stream, &mut header)).await;
    // An address stands in it.
    header.fill(0);
    black_box(&mut header);
    client.unwrap_or(Err(ProxyError::Slow))
}

async fn read_into(
    stream: &TcpStream,
    header: &mut [u8; BYTES_MAX],
) -> Result<Option<IpAddr>, ProxyError> {
    // The shortest header of version 1 has 15 bytes.
    fill(stream, &mut header[..SIGNATURE.len()]).await?;
    if header.starts_with(SIGNATURE) {
        fill(stream, &mut header[SIGNATURE.len()..FIXED]).await?;
        let len = FIXED + usize::from(u16::from_be_bytes([header[14], header[15]]));
        let rest = header.get_mut(FIXED..len).ok_or(ProxyError::TooLong)?;
        fill(stream, rest).await?;
        return binary(&header[..len]).ok_or(ProxyError::Invalid);
    }
    if !header.starts_with(LINE_BEGIN) {
        return Err(ProxyError::Missing);
    }
    let mut len = SIGNATURE.len();
    while !header[..len].ends_with(b"\r\n") {
        // Looked at before it is taken: what follows the line is the client's.
        let room = header.get_mut(len..LINE_MAX).filter(|room| !room.is_empty());
        let room = room.ok_or(ProxyError::Invalid)?;
        let seen = stream.peek(room).await?;
        let end = room[..seen].iter().position(|&b| b == b'\n').map_or(seen, |at| at + 1);
        if end == 0 {
            return Err(ProxyError::Missing);
        }
        fill(stream, &mut room[..end]).await?;
        len += end;
        if header[len - 1] == b'\n' && !header[..len].ends_with(b"\r\n") {
            return Err(ProxyError::Invalid);
        }
    }
    line(&header[..len - 2]).ok_or(ProxyError::Invalid)
}

/// Reads so many bytes, and no more.
async fn fill(stream: &TcpStream, mut bytes: &mut [u8]) -> Result<(), ProxyError> {
    while !bytes.is_empty() {
        stream.readable().await?;
        match stream.try_read(bytes) {
            Ok(0) => return Err(ProxyError::Missing),
            Ok(len) => bytes = &mut bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Version 1 without its line end. The outer `None`: not valid.
fn line(line: &[u8]) -> Option<Option<IpAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?;
    let mut fields = line.split(' ');
    let family = fields.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (from, to) = (fields.next()?, fields.next()?);
    let is_port = |port: &str| {
        !port.starts_with('+')
            && (port == "0" || !port.starts_with('0'))
            && port.parse::<u16>().is_ok()
    };
    if !is_port(fields.next()?) || !is_port(fields.next()?) || fields.next().is_some() {
        return None;
    }
    let client: IpAddr = match family {
        "TCP4" => {
            to.parse::<Ipv4Addr>().ok()?;
            from.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            to.parse::<Ipv6Addr>().ok()?;
            from.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some(Some(client.to_canonical()))
}

/// Version 2, whole. The outer `None`: not valid.
fn binary(header: &[u8]) -> Option<Option<IpAddr>> {
    let (fixed, addresses) = header.split_at_checked(FIXED)?;
    match fixed[12] {
        // LOCAL: a health check of the proxy's.
        0x20 => return Some(None),
        // PROXY
        0x21 => {}
        _ => return None,
    }
    let client: IpAddr = match fixed[13] {
        // AF_UNSPEC, and sockets of a file system: there is no address.
        0x00 | 0x31 | 0x32 => return Some(None),
        // TCP or UDP over IPv4: two addresses, two ports.
        0x11 | 0x12 => {
            let from = addresses.get(..12)?.first_chunk::<4>()?;
            Ipv4Addr::from(*from).into()
        }
        0x21 | 0x22 => {
            let from = addresses.get(..36)?.first_chunk::<16>()?;
            Ipv6Addr::from(*from).into()
        }
        _ => return None,
    };
    Some(Some(client.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1() {
        for (text, client) in [
            ("PROXY TCP4 198.51.100.1 192.0.2.1 4711 80", Some(Some("198.51.100.1"))),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535", Some(Some("2001:db8::1"))),
            ("PROXY TCP6 ::ffff:198.51.100.1 ::1 0 80", Some(Some("198.51.100.1"))),
            ("PROXY UNKNOWN", Some(None)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2", Some(None)),
            ("PROXY TCP4 198.51.100.1 192.0.2.1 4711", None),
            ("PROXY TCP4 198.51.100.1 192.0.2.1 4711 80 x", None),
            ("PROXY TCP4 198.51.100.1 192.0.2.1 4711 65536", None),
            ("PROXY TCP4 198.51.100.1 192.0.2.1 +1 80", None),
            ("PROXY TCP4 198.51.100.1 192.0.2.1 01 80", None),
            ("PROXY TCP4 198.51.100.1 ::1 1 80", None),
            ("PROXY TCP4 ::1 ::1 1 80", None),
            ("PROXY TCP4  198.51.100.1 192.0.2.1 1 80", None),
            ("PROXY TCP5 198.51.100.1 192.0.2.1 1 80", None),
            ("PROXY ", None),
            ("GET / HTTP/1.1", None),
        ] {
            let expected = client.map(|client| client.map(|text| text.parse().unwrap()));
            assert_eq!(line(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn version_2() {
        let header = |command: u8, family: u8, addresses: &[u8]| {
            let len = u16::try_from(addresses.len()).unwrap().to_be_bytes();
            [&SIGNATURE[..], &[command, family], &len, addresses].concat()
        };
        let v4 = [198, 51, 100, 1, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 1, 0, 80]].concat();
        let mapped = [&[0; 10][..], &[0xff, 0xff, 198, 51, 100, 1], &[0; 20]].concat();
        let known = |text: &str| Some(Some(text.parse().unwrap()));
        assert_eq!(binary(&header(0x21, 0x11, &v4)), known("198.51.100.1"));
        let extended = [&v4[..], &[0x04, 0, 1, 0]].concat();
        assert_eq!(binary(&header(0x21, 0x12, &extended)), known("198.51.100.1"));
        assert_eq!(binary(&header(0x21, 0x21, &v6)), known("2001:db8::1"));
        assert_eq!(binary(&header(0x21, 0x21, &mapped)), known("198.51.100.1"));
        assert_eq!(binary(&header(0x20, 0x11, &v4)), Some(None));
        assert_eq!(binary(&header(0x21, 0x00, &[])), Some(None));
        assert_eq!(binary(&header(0x21, 0x31, &[0; 216])), Some(None));
        for invalid in [
            header(0x11, 0x11, &v4),
            header(0x22, 0x11, &v4),
            header(0x21, 0x13, &v4),
            header(0x21, 0x11, &v4[..11]),
            header(0x21, 0x21, &v4),
        ] {
            assert_eq!(binary(&invalid), None, "{invalid:?}");
        }
    }
}
