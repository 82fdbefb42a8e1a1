//! The cookie that names a session, and from where browsers may send it.

use std::sync::{Arc, Mutex};

use carom_shared::UnixMillis;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::Session;
use crate::secret::token::Token;

/// The cookie's name. Browsers take a cookie of this prefix only with `Secure`, for `/`, and for no
/// other host (RFC 6265bis, 4.1.3.2). They take it over plain HTTP from `localhost` alone.
pub(crate) const COOKIE: &str = "__Host-carom_session";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the answer to a request sets, whoever in the request's way decides it; the last one counts.
/// It is an extension of every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseCookie(Arc<Mutex<Option<HeaderValue>>>);

impl ResponseCookie {
    /// The browser has this session from now on.
    pub(crate) fn set(&self, session: &Session, token: &Token, now: UnixMillis) {
        let life = match session.is_remembered {
            true => format!("; Max-Age={}", (session.expires_at.get() - now.get()).max(0) / 1000),
            false => String::new(),
        };
        self.put(&format!("{}{life}", token.reveal()));
    }

    /// The browser has no session any more.
    pub(crate) fn clear(&self) {
        self.put("; Max-Age=0");
    }

    fn put(&self, value: &str) {
        let (token, life) =
            value.split_once(';').map_or((value, ""), |(token, life)| (token, life));
        let life = if life.is_empty() { String::new() } else { format!(";{life}") };
        let text = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Lax{life}");
        let Ok(mut value) = HeaderValue::from_str(&text) else { return };
        value.set_sensitive(true);
        if let Ok(mut cookie) = self.0.lock() {
            *cookie = Some(value);
        }
    }

    /// Writes the header, if there is anything to say.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.0.lock().ok().and_then(|mut cookie| cookie.take()) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// The value of a cookie; `None` if there is none, or more than one of its name.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether a browser sent this from a page of `origin`. A method that changes nothing is answered to
/// anybody: who sends it from elsewhere cannot read the answer.
pub(crate) fn is_of_this_site(method: &Method, headers: &HeaderMap, origin: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) || named_site(headers, origin) == Some(true)
}

/// Whether a browser says that this was sent from a page of another site. Programs say nothing.
pub(crate) fn is_of_other_site(headers: &HeaderMap, origin: &str) -> bool {
    named_site(headers, origin) == Some(false)
}

/// `None`: the request does not say from where it was sent.
fn named_site(headers: &HeaderMap, origin: &str) -> Option<bool> {
    // Origin first: over plain HTTP browsers send no Sec-Fetch-Site.
    match (headers.get(header::ORIGIN), headers.get(SEC_FETCH_SITE)) {
        (Some(sent), _) => Some(sent.as_bytes() == origin.as_bytes()),
        (None, Some(site)) => Some(site.as_bytes() == b"same-origin"),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::{AccountId, SeededRandom, SessionId};

    const ORIGIN: &str = "https://admin.example";

    #[test]
    fn a_browser_says_from_where_it_sends() {
        type Sent = &'static [(&'static str, &'static str)];
        let cases: [(Sent, Option<bool>); 9] = [
            (&[], None),
            (&[("origin", ORIGIN)], Some(true)),
            (&[("origin", "http://admin.example")], Some(false)),
            (&[("origin", "https://admin.example:444")], Some(false)),
            (&[("origin", "null")], Some(false)),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], Some(false)),
            (&[("sec-fetch-site", "same-origin")], Some(true)),
            (&[("sec-fetch-site", "same-site")], Some(false)),
            (&[("sec-fetch-site", "none")], Some(false)),
        ];
        for (sent, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(named_site(&headers, ORIGIN), expected, "{sent:?}");
            let is_change_taken = is_of_this_site(&Method::POST, &headers, ORIGIN);
            assert_eq!(is_change_taken, expected == Some(true), "{sent:?}");
            assert!(is_of_this_site(&Method::GET, &headers, ORIGIN));
            assert_eq!(is_of_other_site(&headers, ORIGIN), expected == Some(false), "{sent:?}");
        }
    }

    #[test]
    fn one_cookie_counts_and_two_of_a_name_do_not() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; __Host-carom_session=token;b=2".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE), Some("token"));
        headers.append("cookie", "__Host-carom_session=other".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE), None);
        assert_eq!(cookie(&headers, "b"), Some("2"));
    }

    #[test]
    fn the_cookie_is_for_this_host_and_no_script() {
        let now = UnixMillis::new(1_000_000);
        let mut session = Session {
            id: SessionId::try_from(1).unwrap(),
            account: AccountId::try_from(2).unwrap(),
            auth_at: now,
            token_at: now,
            last_seen_at: now,
            expires_at: UnixMillis::new(1_060_000),
            is_remembered: false,
        };
        let token = Token::generate(&SeededRandom::new(1));
        let jar = ResponseCookie::default();
        let written = |jar: &ResponseCookie| {
            let mut headers = HeaderMap::new();
            jar.write(&mut headers);
            headers.get("set-cookie").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(written(&jar), None);
        jar.clear();
        jar.set(&session, &token, now);
        let flags = "Path=/; Secure; HttpOnly; SameSite=Lax";
        let plain = format!("{COOKIE}={}; {flags}", token.reveal());
        assert_eq!(written(&jar), Some(plain.clone()));
        session.is_remembered = true;
        jar.set(&session, &token, now);
        assert_eq!(written(&jar), Some(format!("{plain}; Max-Age=60")));
        jar.clear();
        assert_eq!(written(&jar), Some(format!("{COOKIE}=; {flags}; Max-Age=0")));
    }
}
