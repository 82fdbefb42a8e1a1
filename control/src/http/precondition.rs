//! Conditional requests (RFC 9110, 13): entity tags are versions.

use http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};

use super::problem::ApiError;

/// Entity tags in one header, at most.
const TAGS_MAX: usize = 16;

/// Which versions a client will have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Any: there was no condition, or `*`.
    #[default]
    Any,
    /// One of these. Tags that no version has are left out, so there may be none.
    Versions(Vec<u64>),
}

impl IfMatch {
    /// Reads the header `If-Match`.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(match read(headers, &IF_MATCH)? {
            None | Some(Tags::Any) => Self::Any,
            // A weak tag never matches (RFC 9110, 13.1.1).
            Some(Tags::List(tags)) => Self::Versions(
                tags.into_iter().filter(|tag| !tag.is_weak).filter_map(|tag| tag.version).collect(),
            ),
        })
    }

    pub(crate) fn accepts(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// Whether a client that asks with `If-None-Match` has this version already.
pub(crate) fn is_known(headers: &HeaderMap, version: u64) -> Result<bool, ApiError> {
    Ok(match read(headers, &IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::List(tags)) => tags.iter().any(|tag| tag.version == Some(version)),
    })
}

/// The entity tag of a version.
pub(crate) fn tag_of(version: u64) -> String {
    format!("\"{version}\"")
}

/// The header that names a version.
pub(crate) fn etag(version: u64) -> (HeaderName, HeaderValue) {
    (ETAG, HeaderValue::try_from(tag_of(version)).expect("digits and quotes are a header value"))
}

enum Tags {
    Any,
    List(Vec<Tag>),
}

struct Tag {
    is_weak: bool,
    /// `None` for a tag that is well formed and was never given out.
    version: Option<u64>,
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let mut tags = Vec::new();
    let mut is_any = false;
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| malformed(name))?;
        for part in value.split(',').map(|part| part.trim_matches([' ', '\t'])) {
            if part == "*" {
                is_any = true;
            } else if tags.len() < TAGS_MAX {
                tags.push(tag(part).ok_or_else(|| malformed(name))?);
            } else {
                return Err(malformed(name));
            }
        }
    }
    match (is_any, tags.is_empty()) {
        (false, true) => Ok(None),
        (true, true) => Ok(Some(Tags::Any)),
        (false, false) => Ok(Some(Tags::List(tags))),
        (true, false) => Err(malformed(name)),
    }
}

/// An entity tag (RFC 9110, 8.8.3). One with a comma in it is cut apart and found malformed: none
/// that was given out has one.
fn tag(text: &str) -> Option<Tag> {
    let (is_weak, text) = text.strip_prefix("W/").map_or((false, text), |text| (true, text));
    let opaque = text.strip_prefix('"')?.strip_suffix('"')?;
    if opaque.contains(['"', ' ', '\t']) {
        return None;
    }
    // One spelling per version: no sign, no leading zero.
    let version = opaque.parse().ok().filter(|version: &u64| version.to_string() == opaque);
    Some(Tag { is_weak, version })
}

fn malformed(name: &HeaderName) -> ApiError {
    ApiError::Request(format!(
        "{name} is a star, or the ETag of an answer with its quotes; at most {TAGS_MAX} of them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_if_match_accepts() {
        let accepts = |values: &[&str]| {
            let if_match = IfMatch::from_headers(&headers(&IF_MATCH, values)).ok()?;
            Some([1, 2, 3].map(|version| if_match.accepts(version)))
        };
        for (values, expected) in [
            (&[][..], Some([true; 3])),
            (&["*"], Some([true; 3])),
            (&["\"2\""], Some([false, true, false])),
            (&["\"1\" , \"3\""], Some([true, false, true])),
            (&["\"1\"", "\"3\""], Some([true, false, true])),
            (&["W/\"2\""], Some([false; 3])),
            (&["\"02\",\"+2\",\"x\",\"\""], Some([false; 3])),
            (&["2"], None),
            (&["\"2"], None),
            (&[""], None),
            (&["*, \"2\""], None),
            (&["w/\"2\""], None),
            (&["\"2\"\"3\""], None),
        ] {
            assert_eq!(accepts(values), expected, "{values:?}");
        }
        assert_eq!(accepts(&[&*vec!["\"1\""; 16].join(",")]), Some([true, false, false]));
        assert_eq!(accepts(&[&*vec!["\"1\""; 17].join(",")]), None);
    }

    #[test]
    fn what_if_none_match_knows() {
        let known = |value: &str| is_known(&headers(&IF_NONE_MATCH, &[value]), 2).ok();
        assert!(!is_known(&HeaderMap::new(), 2).unwrap());
        for (value, expected) in [
            ("\"2\"", Some(true)),
            ("W/\"2\"", Some(true)),
            ("\"1\", \"2\"", Some(true)),
            ("*", Some(true)),
            ("\"1\"", Some(false)),
            ("2", None),
        ] {
            assert_eq!(known(value), expected, "{value}");
        }
    }
}
