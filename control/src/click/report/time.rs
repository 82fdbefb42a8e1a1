//! Ranges, zones, buckets: where each hour, day or month of a zone begins, as instants.
//!
//! - A minute or an hour begins when the zone's clock shows a full one, and where the clock is
//!   changed. So an hour that is passed through twice is two buckets, and where the clock changes
//!   by half an hour there is a bucket of half an hour.
//! - A day begins with its first instant, which is 01:00 where the clock skips midnight; a day has
//!   23 to 25 hours. Weeks begin on Monday. A day that a zone left out has no bucket.

use carom_shared::UnixMillis;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span as CivilSpan, Timestamp, ToSpan as _};
use serde::Deserialize;
use utoipa::ToSchema;

/// Buckets of a series, at most: more than a screen has columns for, and an answer of 100 KB.
pub(crate) const BUCKETS_MAX: usize = 1000;
/// Days that the default range covers, today among them.
const DEFAULT_DAYS: i64 = 30;

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3600;
const DAY_S: u32 = 24 * HOUR_S;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Interval {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Interval {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// One that gives a series of some 30 to 120 buckets.
    pub(crate) const fn for_span(span: Span) -> Self {
        match span.to_s - span.from_s {
            0..=7_200 => Self::Minute,
            7_201..=345_600 => Self::Hour,
            345_601..=10_368_000 => Self::Day,
            10_368_001..=63_244_800 => Self::Week,
            63_244_801..=631_152_000 => Self::Month,
            _ => Self::Year,
        }
    }
}

/// Seconds since 1970, from the first up to but without the last; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_s: u32,
    pub(crate) to_s: u32,
}

/// Which other time to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compare {
    None,
    /// As long, right before: as many months or days, if the range is whole ones.
    Previous,
    /// The same dates, a year before.
    Year,
}

/// Why a time cannot be asked for; each begins with the parameter's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeError {
    #[error("tz is not a time zone of the IANA database, such as Europe/Berlin")]
    Zone,
    #[error(
        "{0} is not a time: write a date such as 2026-01-31, or RFC 3339 such as \
         2026-01-31T12:00:00Z, from 1970 to 2105"
    )]
    Time(&'static str),
    #[error("from must be before to")]
    Order,
    #[error(
        "interval {0} gives more than {BUCKETS_MAX} buckets for this range; choose a longer \
         interval or a shorter range"
    )]
    Buckets(&'static str),
    #[error("compare: the other period begins before 1970")]
    Compare,
}

/// A time zone by its name.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) name: String,
    tz: TimeZone,
}

impl Zone {
    /// From the database in the program, so that every installation gives the same answer.
    pub(crate) fn parse(name: &str) -> Result<Self, TimeError> {
        let tz = TimeZoneDatabase::bundled().get(name).map_err(|_| TimeError::Zone)?;
        let name = tz.iana_name().ok_or(TimeError::Zone)?.to_owned();
        Ok(Self { name, tz })
    }

    /// RFC 3339 with the zone's offset at that time.
    pub(crate) fn rfc3339(&self, at_s: u32) -> String {
        let at = timestamp(at_s);
        at.display_with_offset(self.tz.to_offset(at)).to_string()
    }

    /// The date that it is.
    pub(crate) fn today(&self, now: UnixMillis) -> Date {
        self.date(u32::try_from(now.as_secs()).unwrap_or_default())
    }

    /// The day of the week, from 0 for Monday, and the hour.
    pub(crate) fn weekday_and_hour(&self, at_s: u32) -> (usize, usize) {
        let at = self.tz.to_datetime(timestamp(at_s));
        let (day, hour) = (at.weekday().to_monday_zero_offset(), at.hour());
        (usize::from(day.unsigned_abs()), usize::from(hour.unsigned_abs()))
    }

    fn date(&self, at_s: u32) -> Date {
        self.tz.to_datetime(timestamp(at_s)).date()
    }

    /// The first second of a date.
    fn start_of(&self, date: Date) -> Option<u32> {
        let start = date.to_zoned(self.tz.clone()).ok()?.timestamp().as_second();
        u32::try_from(start).ok()
    }

    fn offset_s(&self, at_s: u32) -> i64 {
        self.tz.to_offset(timestamp(at_s)).seconds().into()
    }
}

fn timestamp(at_s: u32) -> Timestamp {
    Timestamp::from_second(at_s.into()).unwrap_or(Timestamp::MAX)
}

impl Span {
    /// Reads the range. Without a start it is the last 30 days, today included; without an end it
    /// ends now, at the next full quarter of an hour. A date means its first second as the start,
    /// and all of it as the end.
    pub(crate) fn parse(
        from: Option<&str>,
        to: Option<&str>,
        zone: &Zone,
        now: UnixMillis,
    ) -> Result<Self, TimeError> {
        let to_s = match to {
            Some(text) => instant(text, zone, true).ok_or(TimeError::Time("to"))?,
            None => {
                u32::try_from((now.as_secs() / 900 + 1) * 900).map_err(|_| TimeError::Time("to"))?
            }
        };
        let from_s = match from {
            Some(text) => instant(text, zone, false).ok_or(TimeError::Time("from"))?,
            None => {
                let today = zone.date(to_s.saturating_sub(1));
                let first = today.checked_sub((DEFAULT_DAYS - 1).days()).ok();
                first.and_then(|first| zone.start_of(first)).unwrap_or_default()
            }
        };
        if from_s < to_s { Ok(Self { from_s, to_s }) } else { Err(TimeError::Order) }
    }

    /// The other period of a comparison.
    pub(crate) fn compared(self, compare: Compare, zone: &Zone) -> Result<Option<Self>, TimeError> {
        let back = match compare {
            Compare::None => return Ok(None),
            Compare::Year => 1.year(),
            Compare::Previous => match self.whole(zone) {
                Some(span) => span,
                None => {
                    let length = self.to_s - self.from_s;
                    let from_s = self.from_s.checked_sub(length).ok_or(TimeError::Compare)?;
                    return Ok(Some(Self { from_s, to_s: self.from_s }));
                }
            },
        };
        let shift = |at_s: u32| {
            let before = zone.tz.to_datetime(timestamp(at_s)).checked_sub(back).ok()?;
            u32::try_from(before.to_zoned(zone.tz.clone()).ok()?.timestamp().as_second()).ok()
        };
        let other = shift(self.from_s).zip(shift(self.to_s));
        let (from_s, to_s) = other.ok_or(TimeError::Compare)?;
        if from_s < to_s { Ok(Some(Self { from_s, to_s })) } else { Err(TimeError::Compare) }
    }

    /// How many months or days it is, if it is whole ones.
    fn whole(self, zone: &Zone) -> Option<CivilSpan> {
        let is_midnight = |at_s| zone.start_of(zone.date(at_s)) == Some(at_s);
        if !is_midnight(self.from_s) || !is_midnight(self.to_s) {
            return None;
        }
        let (from, to) = (zone.date(self.from_s), zone.date(self.to_s));
        if from.day() == 1 && to.day() == 1 {
            let months = 12 * (i64::from(to.year()) - i64::from(from.year()))
                + i64::from(to.month() - from.month());
            return Some(months.months());
        }
        Some(from.until(to).ok()?.get_days().days())
    }
}

/// `None` if the text is no time, or one outside of 1970 to 2105.
fn instant(text: &str, zone: &Zone, is_end: bool) -> Option<u32> {
    // A date is digits and hyphens alone: jiff's own parser takes the date of a longer text.
    if text.len() == 10 {
        let date: Date = text.parse().ok()?;
        return zone.start_of(if is_end { date.tomorrow().ok()? } else { date });
    }
    let at: Timestamp = text.parse().ok()?;
    let at_s = at.as_second() + i64::from(is_end && at.subsec_nanosecond() > 0);
    u32::try_from(at_s).ok()
}

/// A span cut into an interval's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    pub(crate) span: Span,
    /// Where each begins, in order. The first begins with the minute, hour, day... that holds the
    /// span's start, so maybe before it; only what is in the span is counted.
    pub(crate) starts: Vec<u32>,
}

impl Buckets {
    pub(crate) fn cut(span: Span, interval: Interval, zone: &Zone) -> Result<Self, TimeError> {
        let starts = match interval {
            Interval::Minute => of_clock(span, MINUTE_S, zone),
            Interval::Hour => of_clock(span, HOUR_S, zone),
            Interval::Day | Interval::Week | Interval::Month | Interval::Year => {
                of_calendar(span, interval, zone)
            }
        };
        match starts {
            Some(starts) => Ok(Self { span, starts }),
            None => Err(TimeError::Buckets(interval.as_str())),
        }
    }

    /// Which bucket a second of the span is in.
    pub(crate) fn at(&self, at_s: u32) -> usize {
        self.starts.partition_point(|start| *start <= at_s).saturating_sub(1)
    }
}

/// `None` if there are too many.
fn of_clock(span: Span, unit_s: u32, zone: &Zone) -> Option<Vec<u32>> {
    if ((span.to_s - span.from_s) / unit_s) as usize > BUCKETS_MAX {
        return None;
    }
    let unit = i64::from(unit_s);
    // From where no clock change can hide: a day before, then on to the bucket that holds `from`.
    let mut at_s = span.from_s.saturating_sub(DAY_S);
    at_s -= u32::try_from((i64::from(at_s) + zone.offset_s(at_s)).rem_euclid(unit)).ok()?.min(at_s);
    let mut starts = vec![at_s];
    loop {
        let offset = zone.offset_s(at_s);
        let into = (i64::from(at_s) + offset).rem_euclid(unit);
        let full = at_s.saturating_add(u32::try_from(unit - into).ok()?);
        at_s = change_within(zone, at_s, full, offset).unwrap_or(full);
        if at_s <= span.from_s {
            starts.clear();
        } else if at_s >= span.to_s {
            return Some(starts);
        }
        starts.push(at_s);
        if at_s >= span.from_s && starts.len() > BUCKETS_MAX {
            return None;
        }
    }
}

/// When the clock is changed after `from_s` and before `to_s`.
fn change_within(zone: &Zone, from_s: u32, to_s: u32, offset: i64) -> Option<u32> {
    if zone.offset_s(to_s - 1) == offset {
        return None;
    }
    let change = zone.tz.following(timestamp(from_s)).next()?;
    u32::try_from(change.timestamp().as_second()).ok().filter(|at_s| *at_s < to_s)
}

/// `None` if there are too many.
fn of_calendar(span: Span, interval: Interval, zone: &Zone) -> Option<Vec<u32>> {
    let date = zone.date(span.from_s);
    let mut date = match interval {
        Interval::Week => {
            let days = date.weekday().to_monday_zero_offset();
            date.checked_sub(i64::from(days).days()).ok()?
        }
        Interval::Month => date.first_of_month(),
        Interval::Year => date.first_of_year(),
        Interval::Minute | Interval::Hour | Interval::Day => date,
    };
    let step = match interval {
        Interval::Week => 1.week(),
        Interval::Month => 1.month(),
        Interval::Year => 1.year(),
        Interval::Minute | Interval::Hour | Interval::Day => 1.day(),
    };
    // A week or a year may begin before 1970, where no second is known.
    let mut starts = vec![zone.start_of(date).unwrap_or_default()];
    loop {
        date = date.checked_add(step).ok()?;
        // Beyond 2105: nothing can be asked for there.
        let Some(start) = zone.start_of(date) else { return Some(starts) };
        if start >= span.to_s {
            return Some(starts);
        }
        // A date that the zone left out begins when the next one does.
        if starts.last().is_some_and(|last| *last < start) {
            starts.push(start);
        }
        if starts.len() > BUCKETS_MAX {
            return None;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
