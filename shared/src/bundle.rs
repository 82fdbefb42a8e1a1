//! What an edge has to know beside routes, as control gives it to every edge: a [`Bundle`].
//!
//! On the wire and in an edge's own file it is JSON. It holds the salts, by which visitors could be
//! found out: whoever may read it may know them.
//!
//! ```json
//! {"format": 1,
//!  "domains": [{"id": "7", "host": "go.example.com", "is_default": true, "home": "https://..."}],
//!  "salts": [{"day": 20000, "key": "32 hexadecimal digits"}],
//!  "are_clicks_shared": true}
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{DomainId, Host, Salt, Salts};

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
}

impl Bundle {
    #[must_use]
    pub const fn new(domains: Vec<ServedDomain>, salts: Salts) -> Self {
        Self { format: Format, domains, salts, are_clicks_shared: false }
    }

    /// Says whether control planes share their store of clicks.
    #[must_use]
    pub fn with_shared_clicks(self, are_clicks_shared: bool) -> Self {
        Self { are_clicks_shared, ..self }
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
            id: DomainId::try_from(id).unwrap(),
            host: Host::parse(host).unwrap(),
            is_default: id == 7,
            home: home.map(str::to_owned),
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
