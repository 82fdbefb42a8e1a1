//! Where the control planes' internal planes are: the setting `edge.control_url`.

use std::fmt;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Control planes of one installation, at most.
const PLANES_MAX: usize = 8;

/// An `http` URL without anything but a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlUrl {
    host: String,
    port: u16,
    is_ipv6: bool,
}

impl ControlUrl {
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
        if url.scheme() != "http" {
            return Err(
                "must begin with http://; the internal plane is for private networks".into()
            );
        }
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err("must be a host and a port, such as http://control:8082".into());
        }
        let (host, is_ipv6) = match url.host() {
            Some(Host::Ipv6(address)) => (address.to_string(), true),
            Some(host) => (host.to_string(), false),
            None => return Err("must name a host".into()),
        };
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80), is_ipv6 })
    }

    /// What is looked up, and the port.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The header `Host`.
    pub(super) fn authority(&self) -> HeaderValue {
        let Self { host, port, is_ipv6 } = self;
        let text = if *is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        // A host that was parsed is ASCII.
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("control"))
    }
}

impl Default for ControlUrl {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 8082, is_ipv6: false }
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, is_ipv6 } = self;
        if *is_ipv6 {
            write!(f, "http://[{host}]:{port}")
        } else {
            write!(f, "http://{host}:{port}")
        }
    }
}

/// The control planes of one installation, each named once; at least one. In text there are commas
/// between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlUrls(Vec<ControlUrl>);

impl ControlUrls {
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut urls: Vec<ControlUrl> = Vec::new();
        for text in text.split(',') {
            let url = ControlUrl::parse(text.trim())?;
            if urls.contains(&url) {
                return Err(format!("names {url} twice"));
            }
            urls.push(url);
        }
        if urls.len() > PLANES_MAX {
            return Err(format!("must name at most {PLANES_MAX} control planes"));
        }
        Ok(Self(urls))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ControlUrl> {
        self.0.iter()
    }
}

impl Default for ControlUrls {
    fn default() -> Self {
        Self(vec![ControlUrl::default()])
    }
}

impl fmt::Display for ControlUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.0.iter().enumerate() {
            write!(f, "{}{url}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ControlUrls {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<ControlUrls> for String {
    fn from(urls: ControlUrls) -> Self {
        urls.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (text, host, written) in [
            ("http://control:8082", "control", "http://control:8082"),
            ("http://10.0.0.1:1/", "10.0.0.1", "http://10.0.0.1:1"),
            ("http://[::1]:8082", "::1", "http://[::1]:8082"),
            ("http://control", "control", "http://control:80"),
        ] {
            let url = ControlUrl::parse(text).unwrap();
            assert_eq!((url.host_and_port().0, url.to_string().as_str()), (host, written));
            assert_eq!(ControlUrl::parse(written), Ok(url));
        }
        assert_eq!(ControlUrl::parse("http://127.0.0.1:8082"), Ok(ControlUrl::default()));
        for wrong in [
            "", "control:8082", "https://control:8082", "http://control/internal",
            "http://u:p@control", "http://control?x", "redis://control",
        ] {
            assert!(ControlUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_urls_have_commas_between_them_and_each_stands_once() {
        let urls = ControlUrls::parse("http://a:1, http://b:2,http://[::1]:3/").unwrap();
        assert_eq!(urls.to_string(), "http://a:1,http://b:2,http://[::1]:3");
        assert_eq!(ControlUrls::parse(&urls.to_string()), Ok(urls));
        assert_eq!(ControlUrls::default().to_string(), "http://127.0.0.1:8082");
        let nine: Vec<_> = (1..=9).map(|port| format!("http://a:{port}")).collect();
        for wrong in
            ["", ",", "http://a,", "http://a http://b", "http://a,http://a:80", &nine.join(",")]
        {
            assert!(ControlUrls::parse(wrong).is_err(), "{wrong}");
        }
    }
}
