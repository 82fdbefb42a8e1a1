//! Whoever entered the password of a share: the cookie that says so.
//!
//! Nothing of a visit is kept here. The cookie has the time at which it ends, signed together with the
//! share and its password's hash, and browsers send it to the share's own address alone.

use carom_shared::UnixMillis;
use http::{HeaderMap, HeaderValue};
use std::time::Duration;

use super::Share;
use crate::http::cursor::CursorKey;
use crate::session::api::cookie;

/// Browsers take a cookie of this prefix only with `Secure` (RFC 6265bis, 4.1.3.1), and over plain HTTP
/// from `localhost` alone.
const COOKIE: &str = "__Secure-carom_share";
/// How long the password is not asked for again.
const LIFE: Duration = Duration::from_hours(12);

/// What the signature is of, beside the time.
fn subject(share: &Share) -> Vec<u8> {
    let id = share.id.get().to_be_bytes();
    [b"share".as_slice(), &id, share.password_hash.as_bytes()].concat()
}

/// The cookie of a visit that begins now. `token` is the one in the share's address.
pub(crate) fn begin(
    share: &Share,
    token: &str,
    now: UnixMillis,
    key: &CursorKey,
) -> Option<HeaderValue> {
    let ends_at = now.saturating_add(LIFE).get();
    let place = u128::from(ends_at.unsigned_abs()).to_be_bytes();
    let value = key.sign(place, &subject(share));
    let life = LIFE.as_secs();
    let text = format!(
        "{COOKIE}={value}; Path=/share/{token}; Secure; HttpOnly; SameSite=Lax; Max-Age={life}"
    );
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether somebody may read it: it asks for no password, or they have entered it.
pub(crate) fn is_open(
    share: &Share,
    headers: &HeaderMap,
    now: UnixMillis,
    key: &CursorKey,
) -> bool {
    if share.password_hash.is_empty() {
        return true;
    }
    let place = cookie(headers, COOKIE).and_then(|value| key.read(value, &subject(share)));
    place.is_some_and(|place| u128::from_be_bytes(place) > u128::from(now.get().unsigned_abs()))
}
