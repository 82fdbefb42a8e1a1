//! What an edge has to know beside routes, as control gives it to every edge: a [`Bundle`].
//!
//! On the wire and in an edge's own file it is JSON. It holds the salts, by which visitors could be
//! found out: whoever may read it may know them.
//!
//! ```json
//! {"format": 1,
//!  "domains": [{"id": "7", "host": "go.example.com", "is_default": true, "home": "https://..."}],
//!  "salts": [{"day": 20000, "key": "32 hexadecimal digits"}],
//!  "are_clicks_shared": true, "are_clicks_watched": true,
//!  "report_url": "https://carom.example.com/report", "disabled_workspaces": ["9"]}
//! ```
//!
//! A domain may also have `not_found` and `expired`, URLs as `home` is, and `folds_case`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{DomainId, Host, Salt, Salts, WorkspaceId};

const FORMAT: u8 = 1;

/// The hosts that are answered, and what visitors' numbers are made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    format: Format,
    pub domains: Vec<ServedDomain>,
    pub salts: Salts,
    /// All control planes store clicks in one place, which recognises a batch whoever brings it: any
    /// of them may be asked. Missing: clicks go where they went before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub are_clicks_shared: bool,
    /// Somebody watches clicks as this control plane stores them: an edge that stores clicks itself
    /// brings them to it meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub are_clicks_watched: bool,
    /// Where the public reports a link as abuse; previews of links lead there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_url: Option<String>,
    /// Workspaces that are out of service: whatever their links' routes say, they answer 410.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_workspaces: Vec<WorkspaceId>,
}

/// A host on which codes are unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedDomain {
    pub id: DomainId,
    pub host: Host,
    /// Its host is that of `public_url`.
    pub is_default: bool,
    /// Where `/` leads, as [`TargetUrl`](crate::TargetUrl) serialises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Where codes lead that do not exist, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found: Option<String>,
    /// Where links lead that have ended and have no fallback of their own, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// Codes here are in lower case, and visitors may write them in any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folds_case: bool,
}

impl ServedDomain {
    /// One that sends nobody anywhere but to its links.
    #[must_use]
    pub const fn new(id: DomainId, host: Host, is_default: bool) -> Self {
        Self { id, host, is_default, home: None, not_found: None, expired: None, folds_case: false }
    }
}

impl Bundle {
    #[must_use]
    pub const fn new(domains: Vec<ServedDomain>, salts: Salts) -> Self {
        Self {
            format: Format,
            domains,
            salts,
            are_clicks_shared: false,
            are_clicks_watched: false,
            report_url: None,
            disabled_workspaces: Vec::new(),
        }
    }

    /// Says whether control planes share their store of clicks.
    #[must_use]
    pub fn with_shared_clicks(self, are_clicks_shared: bool) -> Self {
        Self { are_clicks_shared, ..self }
    }

    /// Says whether somebody watches clicks as they are stored.
    #[must_use]
    pub fn with_watched_clicks(self, are_clicks_watched: bool) -> Self {
        Self { are_clicks_watched, ..self }
    }

    /// Says which workspaces are out of service.
    #[must_use]
    pub fn with_disabled_workspaces(self, disabled_workspaces: Vec<WorkspaceId>) -> Self {
        Self { disabled_workspaces, ..self }
    }

    /// Says where links are reported.
    #[must_use]
    pub fn with_report_url(self, report_url: Option<String>) -> Self {
        Self { report_url, ..self }
    }
}

/// The format that this version writes, and the only one that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format;

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FORMAT.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            FORMAT => Ok(Self),
            other => Err(de::Error::custom(format_args!(
                "bundle of unknown format {other}: written by another version of Carom"
            ))),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SaltText {
    day: i32,
    key: String,
}

impl Serialize for Salts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|salt| SaltText {
            day: salt.day,
            key: format!("{:032x}", u128::from_be_bytes(salt.key)),
        }))
    }
}

impl<'de> Deserialize<'de> for Salts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<SaltText>::deserialize(deserializer)?;
        let salts = texts.into_iter().map(|SaltText { day, key }| {
            let is_hex = key.len() == 32 && key.bytes().all(|digit| digit.is_ascii_hexdigit());
            let number = u128::from_str_radix(&key, 16).ok().filter(|_| is_hex);
            // The text is a secret: the error does not repeat it.
            let number = number.ok_or_else(|| de::Error::custom("a salt has 32 hex digits"))?;
            Ok(Salt { day, key: number.to_be_bytes() })
        });
        Ok(Self::new(salts.collect::<Result<Vec<_>, D::Error>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_the_json_that_is_written_down() {
        let domain = |id, host: &str, home: Option<&str>| ServedDomain {
            home: home.map(str::to_owned),
            ..ServedDomain::new(
                DomainId::try_from(id).unwrap(),
                Host::parse(host).unwrap(),
                id == 7,
            )
        };
        let salts = Salts::new([Salt { day: 20_000, key: *b"\x01bcdefghijklmno\xff" }]);
        let domains =
            vec![domain(7, "go.example.com", Some("https://e.com/")), domain(8, "b.example", None)];
        let bundle = Bundle::new(domains, salts);
        let json = r#"{"format":1,"domains":[{"id":"7","host":"go.example.com","is_default":true,"home":"https://e.com/"},{"id":"8","host":"b.example","is_default":false}],"salts":[{"day":20000,"key":"0162636465666768696a6b6c6d6e6fff"}]}"#;
        assert_eq!(serde_json::to_string(&bundle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Bundle>(json).unwrap(), bundle);
        let json = json.replace("]}", r#"],"are_clicks_shared":true}"#);
        let bundle = bundle.with_shared_clicks(true);
        assert_eq!(serde_json::to_string(&bundle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap(), bundle);
        let bundle = bundle.with_watched_clicks(true);
        let json = json.replace("true}", r#"true,"are_clicks_watched":true}"#);
        assert_eq!(serde_json::to_string(&bundle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap(), bundle);

        let own = ServedDomain {
            not_found: Some("https://e.com/404".into()),
            expired: Some("https://e.com/over".into()),
            folds_case: true,
            ..domain(9, "c.example", None)
        };
        let bundle = Bundle::new(vec![own], Salts::default());
        let bundle = bundle.with_report_url(Some("https://carom.example/report".into()));
        let json = r#"{"format":1,"domains":[{"id":"9","host":"c.example","is_default":false,"not_found":"https://e.com/404","expired":"https://e.com/over","folds_case":true}],"salts":[],"report_url":"https://carom.example/report"}"#;
        assert_eq!(serde_json::to_string(&bundle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Bundle>(json).unwrap(), bundle);
        let bundle = bundle.with_disabled_workspaces(vec![WorkspaceId::try_from(5).unwrap()]);
        let json = json.replace("report\"}", r#"report","disabled_workspaces":["5"]}"#);
        assert_eq!(serde_json::to_string(&bundle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap(), bundle);
    }

    #[test]
    fn what_is_no_bundle_is_refused_without_its_secrets() {
        let bundle = |format: &str, key: &str| {
            let json = format!(
                r#"{{"format":{format},"domains":[],"salts":[{{"day":1,"key":"{key}"}}]}}"#
            );
            serde_json::from_str::<Bundle>(&json).map(drop).map_err(|error| error.to_string())
        };
        let key = "0123456789abcdef0123456789abcdef";
        assert_eq!(bundle("1", key), Ok(()));
        assert!(bundle("2", key).unwrap_err().contains("unknown format 2"));
        for wrong in ["", "0123", "+123456789abcdef0123456789abcdef", &"g".repeat(32)] {
            let error = bundle("1", wrong).unwrap_err();
            assert!(error.starts_with("a salt has 32 hex digits"), "{error}");
        }
    }
}
