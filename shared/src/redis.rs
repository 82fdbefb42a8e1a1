//! Redis in a fleet: what control and edges keep there for each other. Names, values, scripts and
//! times, no I/O. It is the second cache of routes (L2) and the quick way of the change feed.
//!
//! Nothing is true because it is in Redis. It may be slow, stop, lose what it was told last, come
//! back with older data or with none; the database of control is the truth. What a **lease** in
//! Redis allows is to take the *absence* of a route for the answer that there is none, so that
//! requests for random codes reach no database.
//!
//! # Keys
//!
//! `E` is the feed's epoch in decimals. One installation has a database number of Redis to itself.
//!
//! ```text
//! carom:E:route:DOMAIN:CODE  8 bytes version (big endian), then the RouteRecord's bytes;
//!                            tombstones too. Never expires. Written by COMPARE_AND_SET only
//! carom:E:upto               decimal: L2 was filled with all routes, and has every change with a
//!                            number up to this one. Missing: it was never filled
//! carom:E:filling            who fills L2: it is gone if Redis was emptied meanwhile
//! carom:E:lease              the run_id of the server that it was given for; expires at a time of
//!                            that server's clock
//! carom:E:changes            stream; the field `p` of an entry is a FeedPage. Pages with changes
//!                            come from whoever committed them, pages without, which say how far
//!                            the feed goes, from the keeper
//! ```
//!
//! # Why a valid lease makes absence an answer
//!
//! One control at a time is the **keeper**; two at once do the same work twice and no harm. In a
//! round, and on one connection, the keeper (1) reads the server's time `t`, its `run_id` and `upto`,
//! then (2) reads the head `h` of the feed from the database, (3) writes all changes in
//! `(upto, h]` to L2 (or, if it was never filled, all routes), and (4) sets `upto` to `h` and the
//! lease, which ends at `t + LEASE_MAX`. An edge that finds the lease valid and, at the same moment
//! (one command), no route concludes that there is none. Take a change that was acknowledged before
//! the edge asked. Either its number is at most `h`: then it was in L2 before the lease was set. Or
//! it was committed after (2), so after `t`, and acknowledged before `t + LEASE_MAX`: that is
//! sooner after its commit than [`ACK_WAIT`], and sooner than that control acknowledges only what
//! it has written to L2 itself.
//!
//! - *Control stops* between a commit and its write to L2: it has not acknowledged it, and the next
//!   lease is given for a head with this change in it.
//! - *A lease is set late*, because somebody was held up: its end is a time, so it is over.
//! - *Redis restarts*, with older data or as another server behind the same address: connections
//!   break, the `run_id` is another, and the lease that it may have brought back counts for nobody.
//!   What a server keeps is a beginning of what was done, so an older `upto` is true of it. Step 4
//!   happens on the connection of step 1, so it never speaks of another server.
//! - *Redis is emptied* while it runs: the lease is gone too, and [`ADVANCE`] and [`FILLED`] do
//!   nothing if `upto` or `filling` are not what they were in step 1.
//! - *Redis throws keys away* to make room: no lease is given unless its policy is `noeviction`,
//!   and L2 is filled again after it threw something away.
//! - *The clock of Redis is set back*: the next round, in a third of a second, replaces the lease by
//!   one of the new time. What remains: within that time the keeper stops *and* a control that
//!   cannot reach Redis acknowledges a create.

use std::time::Duration;

use crate::{Code, DomainId, RouteRecord, RouteRecordError};

/// How long a lease is valid, at most, since the keeper began the round that gives it.
pub const LEASE_MAX: Duration = Duration::from_secs(1);
/// How long after its commit a change is acknowledged that may not be in L2.
///
/// Every lease that was given without it is over by then. What it has beyond [`LEASE_MAX`] allows for clocks of which
/// one runs a fifth faster than the other.
pub const ACK_WAIT: Duration = Duration::from_millis(1200);
/// How often the keeper begins a round.
pub const ROUND_EVERY: Duration = Duration::from_millis(300);
/// How often the keeper adds a page without changes to the stream.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// Entries of the stream, at most, give or take a hundred.
pub const STREAM_ENTRIES: usize = 10_000;
/// How long entries of the stream are kept, at least, if they are not too many: the keeper removes
/// older ones. Who was away longer asks control.
pub const STREAM_AGE: Duration = Duration::from_secs(60);
/// The field of the stream's entries that holds the page.
pub const PAGE_FIELD: &str = "p";

/// Writes each route of which nothing newer is held; says how many it wrote.
///
/// `KEYS`: of routes. `ARGV`: as many values, [`RouteValue::to_bytes`]. Versions are compared byte
/// by byte: Lua's own comparison of texts follows the server's locale, and its numbers are exact
/// only up to 2^53.
pub const COMPARE_AND_SET: &str = "\
local written = 0
for i, key in ipairs(KEYS) do
  local given = ARGV[i]
  local held = redis.call('GETRANGE', key, 0, 7)
  local newer = #held < 8
  for at = 1, newer and 0 or 8 do
    local a, b = given:byte(at), held:byte(at)
    if a ~= b then
      newer = a > b
      break
    end
  end
  if newer then
    redis.call('SET', key, given)
    written = written + 1
  end
end
return written
";

/// Sets `upto` and, unless `ARGV[3]` is empty, the lease, if `upto` is still what it was; says 1 if
/// so and 0 if not.
///
/// `KEYS`: upto, lease. `ARGV`: upto as it was read, upto from now on, `run_id`, the end of the lease
/// in milliseconds of the server's clock.
pub const ADVANCE: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[1] ~= ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2])
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], ARGV[3], 'PXAT', ARGV[4])
end
return 1
";

/// Sets `upto` once L2 was filled, if nobody emptied it meanwhile; says 1 if so and 0 if not.
///
/// `KEYS`: filling, upto. `ARGV`: filling as it was when the filling began, upto from now on.
pub const FILLED: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
";

/// The names of an epoch's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisKeys {
    /// `carom:E:`
    prefix: String,
}

impl RedisKeys {
    /// What every key begins with, of whatever epoch.
    pub const ALL: &'static str = "carom:";

    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self { prefix: format!("{}{epoch}:", Self::ALL) }
    }

    #[must_use]
    pub fn route(&self, domain: DomainId, code: &Code) -> String {
        format!("{}route:{domain}:{}", self.prefix, code.as_str())
    }

    #[must_use]
    pub fn upto(&self) -> String {
        format!("{}upto", self.prefix)
    }

    #[must_use]
    pub fn filling(&self) -> String {
        format!("{}filling", self.prefix)
    }

    #[must_use]
    pub fn lease(&self) -> String {
        format!("{}lease", self.prefix)
    }

    #[must_use]
    pub fn changes(&self) -> String {
        format!("{}changes", self.prefix)
    }

    /// The epoch that a key belongs to; `None` if it is not one of Carom's.
    #[must_use]
    pub fn epoch_of(key: &str) -> Option<u64> {
        let (epoch, _) = key.strip_prefix(Self::ALL)?.split_once(':')?;
        epoch.parse().ok()
    }
}

/// What L2 holds of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteValue(pub RouteRecord);

/// Why bytes are not a route of L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteValueError {
    #[error("route in Redis has the wrong length")]
    Length,
    #[error("route in Redis is of another version than its record")]
    Version,
    #[error(transparent)]
    Record(#[from] RouteRecordError),
}

impl RouteValue {
    const VERSION_LEN: usize = 8;

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.version.to_be_bytes().to_vec();
        bytes.extend(self.0.to_bytes());
        bytes
    }

    /// Reads what [`RouteValue::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`RouteValueError`] for a wrong length, a version that is not the record's, and whatever
    /// [`RouteRecord::from_bytes`] refuses.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RouteValueError> {
        let (version, record) =
            bytes.split_first_chunk::<{ Self::VERSION_LEN }>().ok_or(RouteValueError::Length)?;
        let record = RouteRecord::from_bytes(record)?;
        if record.version != u64::from_be_bytes(*version) {
            return Err(RouteValueError::Version);
        }
        Ok(Self(record))
    }
}

/// A field of what `INFO` answers: lines of `name:value`.
#[must_use]
pub fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{LinkId, QueryPolicy, RedirectStatus, RouteState, WorkspaceId};

    fn value(version: u64) -> RouteValue {
        RouteValue(RouteRecord {
            version,
            state: RouteState::Active,
            link: LinkId::try_from(7).unwrap(),
            workspace: WorkspaceId::try_from(9).unwrap(),
            status: RedirectStatus::Found,
            target_revision: 1,
            not_before: None,
            expires_at: None,
            target: "https://e.com/".into(),
            fallback: None,
            query: QueryPolicy::default(),
            max_age_s: 0,
        })
    }

    #[test]
    fn golden_names() {
        let keys = RedisKeys::new(1_700_000_000_000);
        let (domain, code) = (DomainId::try_from(3).unwrap(), Code::parse("aB_-9").unwrap());
        let names =
            [keys.route(domain, &code), keys.upto(), keys.filling(), keys.lease(), keys.changes()];
        let golden = ["route:3:aB_-9", "upto", "filling", "lease", "changes"];
        assert_eq!(names, golden.map(|name| format!("carom:1700000000000:{name}")));
        for name in names {
            assert_eq!(RedisKeys::epoch_of(&name), Some(1_700_000_000_000));
        }
        for other in ["", "carom:", "carom:x:upto", "carom:5", "other:5:upto"] {
            assert_eq!(RedisKeys::epoch_of(other), None, "{other}");
        }
    }

    #[test]
    fn golden_bytes() {
        let mut golden = b"\x01\x02\x03\x04\x05\x06\x07\x08".to_vec();
        golden.extend(value(0x0102_0304_0506_0708).0.to_bytes());
        assert_eq!(value(0x0102_0304_0506_0708).to_bytes(), golden);
        assert_eq!(RouteValue::from_bytes(&golden), Ok(value(0x0102_0304_0506_0708)));
    }

    #[test]
    fn what_is_no_route_is_refused_by_name() {
        let bytes = value(5).to_bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            RouteValue::from_bytes(&bytes).unwrap_err()
        };
        assert_eq!(with(7, 6), RouteValueError::Version);
        assert_eq!(with(8, 2), RouteValueError::Record(RouteRecordError::Format(2)));
        assert_eq!(RouteValue::from_bytes(&bytes[..7]), Err(RouteValueError::Length));
        let record = Err(RouteValueError::Record(RouteRecordError::Length));
        assert_eq!(RouteValue::from_bytes(&bytes[..8]), record);
    }

    #[test]
    fn fields_of_info() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Memory\r\n\
                    maxmemory_policy:noeviction\r\n";
        assert_eq!(info_field(info, "run_id"), Some("abc"));
        assert_eq!(info_field(info, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(info_field(info, "maxmemory"), None);
    }

    /// What the argument above rests on, if somebody changes a number.
    #[test]
    fn times_fit_together() {
        assert!(ACK_WAIT >= LEASE_MAX + LEASE_MAX / 5);
        assert!(ROUND_EVERY * 3 < LEASE_MAX);
    }

    proptest! {
        #[test]
        fn greater_versions_have_greater_bytes(a in 1_u64.., b in 1_u64..) {
            prop_assert_eq!(a.cmp(&b), value(a).to_bytes()[..8].cmp(&value(b).to_bytes()[..8]));
        }
    }
}
