//! A link's target and a visitor's query → where the visitor is sent. Pure.
//!
//! ```text
//! target    https://shop.example/p?id=1&utm_source=mail#size
//! query     utm_source=qr&colour=red&via=qr
//! target's wins     https://shop.example/p?id=1&utm_source=mail&colour=red#size
//! visitor's wins    https://shop.example/p?id=1&utm_source=qr&colour=red#size
//! ```
//!
//! - Everything before the target's `?`, and its fragment, stay as they are: a query changes neither
//!   scheme, host nor path.
//! - The target's parameters come first, then the visitor's, each in their order; a name that occurs
//!   several times is passed on as often. Where both have a name, all that one side has of it stays
//!   and all of the other goes.
//! - Names are compared as they are decoded (`%61` is `a`, `+` a space), and passed on as they were
//!   written. Bytes that the URL standard does not let stand in a query are percent-encoded.
//! - `via` is Carom's own ([`record`](crate::record) reads it from QR codes) and is never passed on. A
//!   target may have one: it stays.
//! - What would be longer than [`TargetUrl::MAX_LEN`] is the target alone.

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderValue;
use url::form_urlencoded;

use carom_shared::{Forward, QueryPolicy, TargetUrl};

/// The parameter that Carom adds to short URLs for itself.
const OWN: &str = "via";

/// Where a visitor with this query is sent by a link with this target.
///
/// One pass over both, in time proportional to their length; the work of a link with a policy only.
#[must_use]
pub fn pass_on(target: &HeaderValue, query: &str, policy: &QueryPolicy) -> HeaderValue {
    target
        .to_str()
        .ok()
        .and_then(|text| joined(text, query, policy))
        .and_then(|url| HeaderValue::try_from(url).ok())
        .unwrap_or_else(|| target.clone())
}

/// `None` if nothing is added, or too much.
fn joined(target: &str, query: &str, policy: &QueryPolicy) -> Option<String> {
    let (url, fragment) = match target.split_once('#') {
        Some((url, fragment)) => (url, Some(fragment)),
        None => (target, None),
    };
    let (base, own_query) = url.split_once('?').unwrap_or((url, ""));

    let mut theirs = passed(query, &policy.forward);
    let mut ours: Vec<&str> = own_query.split('&').collect();
    if policy.visitor_wins {
        let names: HashSet<_> = theirs.iter().map(|pair| name(pair)).collect();
        ours.retain(|pair| pair.is_empty() || !names.contains(&name(pair)));
    } else {
        let names: HashSet<_> =
            ours.iter().filter(|pair| !pair.is_empty()).map(|pair| name(pair)).collect();
        theirs.retain(|pair| !names.contains(&name(pair)));
    }
    if theirs.is_empty() {
        return None;
    }

    let mut joined = String::with_capacity(target.len() + query.len() + 2);
    joined.push_str(base);
    let mut separator = '?';
    // A target without a query has one piece of it, which is empty.
    for pair in ours.into_iter().filter(|_| !own_query.is_empty()) {
        joined.push(separator);
        joined.push_str(pair);
        separator = '&';
    }
    for pair in theirs {
        joined.push(separator);
        push_encoded(&mut joined, pair);
        separator = '&';
    }
    if let Some(fragment) = fragment {
        joined.push('#');
        joined.push_str(fragment);
    }
    (joined.len() <= TargetUrl::MAX_LEN).then_some(joined)
}

/// The visitor's parameters that the policy lets through, as they were written.
fn passed<'a>(query: &'a str, forward: &Forward) -> Vec<&'a str> {
    let only: Option<HashSet<_>> = match forward {
        Forward::None => return Vec::new(),
        Forward::All => None,
        Forward::Only(names) => Some(names.iter().collect()),
    };
    let is_passed = |pair: &&str| {
        let name = name(pair);
        name != OWN && only.as_ref().is_none_or(|only| only.contains(&*name))
    };
    query.split('&').filter(|pair| !pair.is_empty()).filter(is_passed).collect()
}

/// The decoded name of `name=value` or `name`.
fn name(pair: &str) -> Cow<'_, str> {
    form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name).unwrap_or_default()
}

/// Appends a parameter with the URL standard's special-query percent-encode set encoded: controls,
/// space, `"`, `#`, `'`, `<`, `>` and what is not ASCII. A `%` stays: what is encoded stays encoded.
fn push_encoded(url: &mut String, pair: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in pair.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'\'' | b'<' | b'>') {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(char::from(HEX[usize::from(byte >> 4)]));
            url.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests;
