//! Where the store of clicks is: the setting `edge.clicks_url`.

use std::fmt;
use std::path::Path;

use carom_process::Tls;
use carom_shared::clickhouse::ClickHouseAt;
use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

/// Servers of one cluster, at most.
const HOSTS_MAX: usize = 8;

/// Databases of one cluster of ClickHouse that hold the same clicks; none: control stores clicks. In
/// text there are commas between them, and the text is a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClicksUrls {
    text: String,
    hosts: Vec<ClickHouseAt>,
}

impl ClicksUrls {
    /// Nothing is no host.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and repeats nothing: there may be a password in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        let hosts: Vec<ClickHouseAt> = parts.map(ClickHouseAt::parse).collect::<Result<_, _>>()?;
        if hosts.len() > HOSTS_MAX {
            return Err(format!("must name at most {HOSTS_MAX} servers"));
        }
        if hosts.iter().any(|host| host.database() != hosts[0].database()) {
            return Err("must name the same database on each server: they are one cluster's".into());
        }
        Ok(Self { text: text.to_owned(), hosts })
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whose certificates the servers with `https://` have to have: those of the authorities of this file,
    /// or, with an empty path, of this machine's. `None`: no server has TLS.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a file that cannot be used, or for which there is no use.
    pub(crate) fn tls(&self, ca_path: &Path) -> Result<Option<Tls>, InvalidSetting> {
        const SETTING: &str = "edge.clicks_ca_path";
        if self.hosts.iter().any(ClickHouseAt::is_tls) {
            return Tls::new(ca_path, SETTING).map(Some);
        }
        if ca_path.as_os_str().is_empty() {
            return Ok(None);
        }
        let problem = "is of no use without TLS: write https:// in edge.clicks_url";
        Err(InvalidSetting::new(SETTING, problem))
    }

    pub(super) fn hosts(&self) -> &[ClickHouseAt] {
        &self.hosts
    }
}

/// Without passwords.
impl fmt::Debug for ClicksUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.hosts).finish()
    }
}

impl TryFrom<String> for ClicksUrls {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<ClicksUrls> for String {
    fn from(urls: ClicksUrls) -> Self {
        urls.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls_with_tls() -> ClicksUrls {
        ClicksUrls::parse("http://a/carom,https://b/carom").unwrap()
    }

    #[test]
    fn hosts_are_one_clusters_and_passwords_are_not_shown() {
        assert!(ClicksUrls::parse("").unwrap().is_empty());
        assert_eq!(ClicksUrls::parse(" ").unwrap().hosts().len(), 0);
        let text = "http://e:s3cret@a:8123/carom, http://e:s3cret@b/carom";
        let urls = ClicksUrls::parse(text).unwrap();
        assert_eq!(format!("{urls:?}"), "[http://a:8123/carom, http://b:8123/carom]");
        assert_eq!(ClicksUrls::parse(&String::from(urls.clone())), Ok(urls));
        let unread = urls_with_tls().tls(Path::new("/nowhere")).unwrap_err();
        assert_eq!(unread.setting, "edge.clicks_ca_path");
        let plain = ClicksUrls::parse(text).unwrap();
        assert!(plain.tls(Path::new("")).unwrap().is_none());
        assert!(plain.tls(Path::new("/nowhere")).unwrap_err().problem.contains("of no use"));
        let nine = ["http://a/x"; 9].join(",");
        for bad in [
            "http://e:s3cret@a/one,http://e:s3cret@b/two", "http://e:s3cret@a/one,",
            "https://e:s3cret@a", "http://e:s3cret@a", &nine,
        ] {
            let error = ClicksUrls::parse(bad).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
