//! Where a server is, and as whom it is asked: `http://USER:PASSWORD@HOST:8123/DATABASE`, or `https://`.

use std::fmt;

use url::Url;

/// What a server calls `http_port` and `https_port`.
const PORT: u16 = 8123;
const PORT_TLS: u16 = 8443;

/// What it may be when a server that was asked in plain HTTP ends the connection without a word.
pub const MAY_WANT_TLS: &str = "if this port is one for TLS, write https://";

/// A database on a server, reached over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouseAt {
    is_tls: bool,
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
}

/// Without the password.
impl fmt::Debug for ClickHouseAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl ClickHouseAt {
    /// Reads a URL.
    ///
    /// # Errors
    /// Says what to write instead, and repeats nothing of what is there: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "is no address of ClickHouse; write https://USER:PASSWORD@HOST:8443/DATABASE, or \
             http://USER:PASSWORD@HOST:8123/DATABASE";
        let url = Url::parse(text).map_err(|_| SHAPE)?;
        let database = url.path().strip_prefix('/').unwrap_or_default();
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let is_tls = url.scheme() == "https";
        if !is_tls && url.scheme() != "http" || url.query().is_some() || url.fragment().is_some() {
            return Err(SHAPE);
        }
        if !is_name(database) {
            return Err("must name a database of letters, digits and underscores: \
                        http://USER:PASSWORD@HOST:8123/DATABASE");
        }
        let or_default = |text: String| if text.is_empty() { "default".to_owned() } else { text };
        let usual = if is_tls { PORT_TLS } else { PORT };
        let at = Self {
            is_tls,
            host: url.host_str().ok_or(SHAPE)?.to_owned(),
            port: url.port().or_else(|| written_port(text)).unwrap_or(usual),
            user: or_default(decoded(url.username()).ok_or(SHAPE)?),
            password: decoded(url.password().unwrap_or_default()).ok_or(SHAPE)?,
            database: database.to_owned(),
        };
        // Both are sent as headers.
        let is_header = |text: &str| text.chars().all(|c| !c.is_control());
        if is_header(&at.user) && is_header(&at.password) { Ok(at) } else { Err(SHAPE) }
    }

    /// Where it is; never with the password.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}:{}/{}", self.host, self.port, self.database)
    }

    /// Whether the connection is sealed.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A name or an address, an IPv6 one without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the header `Host` says.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }
}

/// The port that is written there; a parsed URL does not know one that is its scheme's own, 80 or 443.
fn written_port(text: &str) -> Option<u16> {
    let (_, rest) = text.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

/// Percent-decoded (RFC 3986, 2.1); `None` if it is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_never_shown() {
        let at = ClickHouseAt::parse("http://carom:hunt%40er2@db.example/clicks").unwrap();
        assert_eq!((at.user(), at.password()), ("carom", "hunt@er2"));
        assert_eq!(format!("{at:?}"), "http://db.example:8123/clicks");
        let at = ClickHouseAt::parse("http://127.0.0.1:9/x_1").unwrap();
        assert_eq!((at.user(), at.password(), at.port()), ("default", "", 9));
        let at = ClickHouseAt::parse("http://[::1]:9/x").unwrap();
        assert_eq!((at.host(), at.authority().as_str()), ("::1", "[::1]:9"));
        for (url, shown) in [
            ("https://a:443@db.example/x", "https://db.example:8443/x"),
            ("https://db.example:443/x", "https://db.example:443/x"),
            ("http://a:80@db.example:80/x", "http://db.example:80/x"),
            ("https://[::1]/x", "https://[::1]:8443/x"),
        ] {
            let at = ClickHouseAt::parse(url).unwrap();
            assert_eq!((at.is_tls(), at.shown().as_str()), (url.starts_with("https"), shown));
        }
        for bad in [
            "http://a:hunter2@db/", "http://a:hunter2@db/a/b", "http://a:hunter2@db/x?y=1",
            "ftp://a:hunter2@db/x", "http://a:hunter2%0a@db/x", "http://a:hunter2@db/a-b",
            "clickhouse",
        ] {
            let error = ClickHouseAt::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{bad}");
        }
    }
}
