use super::*;
use proptest::prelude::*;

pub(crate) const ZONES: [&str; 8] = [
    "UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York",
    "Europe/Berlin", "Africa/Cairo", "Pacific/Apia",
];
const INTERVALS: [Interval; 6] = [
    Interval::Minute,
    Interval::Hour,
    Interval::Day,
    Interval::Week,
    Interval::Month,
    Interval::Year,
];

/// 2026-01-01T00:00:00Z
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

fn cut(from: &str, to: &str, interval: Interval, zone: &str) -> Vec<String> {
    let zone = Zone::parse(zone).unwrap();
    let span = Span::parse(Some(from), Some(to), &zone, NOW).unwrap();
    let buckets = Buckets::cut(span, interval, &zone).unwrap();
    buckets.starts.iter().map(|start| zone.rfc3339(*start)).collect()
}

#[test]
fn buckets_follow_the_clock_of_the_zone() {
    let hours = |day: &str, zone| cut(day, day, Interval::Hour, zone);
    assert_eq!(hours("2026-03-29", "Europe/Berlin").len(), 23);
    assert_eq!(hours("2026-10-25", "Europe/Berlin").len(), 25);
    let twice = hours("2026-11-01", "America/New_York");
    assert_eq!(twice[1..3], ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"]);
    let half = hours("2026-04-05", "Australia/Lord_Howe");
    assert_eq!(
        half[1..4],
        ["2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30",]
    );
    let days = cut("2026-03-28", "2026-03-30", Interval::Day, "Europe/Berlin");
    assert_eq!(
        days,
        ["2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00",]
    );
    // The clock skips midnight.
    let cairo = cut("2026-04-24", "2026-04-25", Interval::Day, "Africa/Cairo");
    assert_eq!(cairo, ["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]);
    // Samoa went over the date line: there was no 30 December.
    let apia = cut("2011-12-29", "2011-12-31", Interval::Day, "Pacific/Apia");
    assert_eq!(apia, ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"]);
    let weeks = cut("2026-01-01", "2026-01-12", Interval::Week, "Asia/Kathmandu");
    assert_eq!(
        weeks,
        ["2025-12-29T00:00:00+05:45", "2026-01-05T00:00:00+05:45", "2026-01-12T00:00:00+05:45",]
    );
    let minutes =
        cut("2026-01-01T00:00:30Z", "2026-01-01T00:02:00Z", Interval::Minute, "Asia/Kolkata");
    assert_eq!(minutes, ["2026-01-01T05:30:00+05:30", "2026-01-01T05:31:00+05:30"]);
    assert_eq!(
        cut("1970-01-01", "1970-01-02", Interval::Week, "UTC")[0],
        "1970-01-01T00:00:00+00:00"
    );
}

#[test]
fn ranges_have_defaults_and_bounds() {
    let zone = Zone::parse("europe/berlin").unwrap();
    assert_eq!(zone.name, "Europe/Berlin");
    let span = Span::parse(None, None, &zone, NOW).unwrap();
    let shown = (zone.rfc3339(span.from_s), zone.rfc3339(span.to_s));
    assert_eq!(shown.0, "2025-12-03T00:00:00+01:00");
    assert_eq!(shown.1, "2026-01-01T01:15:00+01:00");
    assert_eq!(Interval::for_span(span), Interval::Day);
    assert_eq!(Buckets::cut(span, Interval::Day, &zone).unwrap().starts.len(), 30);
    for (from, to, error) in [
        ("2026-01-02", "2026-01-01", TimeError::Order),
        ("1969-12-31", "2026-01-01", TimeError::Time("from")),
        ("yesterday!", "2026-01-01", TimeError::Time("from")),
        ("2026-01-01", "2106-01-01T00:00:00+00:00[UTC]x", TimeError::Time("to")),
        ("2026-01-01", "2107-01-01", TimeError::Time("to")),
    ] {
        assert_eq!(Span::parse(Some(from), Some(to), &zone, NOW), Err(error), "{from} {to}");
    }
    assert!(matches!(Zone::parse("Mars/Olympus"), Err(TimeError::Zone)));
    assert!(matches!(Zone::parse(""), Err(TimeError::Zone)));
    let all = Span { from_s: 0, to_s: u32::MAX };
    for interval in INTERVALS {
        let buckets = Buckets::cut(all, interval, &zone);
        assert_eq!(buckets.is_ok(), interval == Interval::Year, "{interval:?}");
    }
}

#[test]
fn a_comparison_is_with_whole_days_or_months_before() {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let other = |from: &str, to: &str, compare| {
        let span = Span::parse(Some(from), Some(to), &zone, NOW).unwrap();
        let other = span.compared(compare, &zone).unwrap().unwrap();
        format!("{} {}", zone.rfc3339(other.from_s), zone.rfc3339(other.to_s))
    };
    // March has a day of 23 hours, and February has 28 days.
    assert_eq!(
        other("2026-03-01", "2026-03-31", Compare::Previous),
        "2026-02-01T00:00:00+01:00 2026-03-01T00:00:00+01:00"
    );
    assert_eq!(
        other("2026-03-28", "2026-03-30", Compare::Previous),
        "2026-03-25T00:00:00+01:00 2026-03-28T00:00:00+01:00"
    );
    assert_eq!(
        other("2026-03-28T10:00:00Z", "2026-03-28T12:00:00Z", Compare::Previous),
        "2026-03-28T09:00:00+01:00 2026-03-28T11:00:00+01:00"
    );
    assert_eq!(
        other("2024-02-29", "2024-02-29", Compare::Year),
        "2023-02-28T00:00:00+01:00 2023-03-01T00:00:00+01:00"
    );
    let early = Span::parse(Some("1970-06-01"), Some("1970-07-01"), &zone, NOW).unwrap();
    assert_eq!(early.compared(Compare::Year, &zone), Err(TimeError::Compare));
    assert_eq!(early.compared(Compare::None, &zone), Ok(None));
}

/// What a second's bucket is called, found without any boundary.
pub(crate) fn label(zone: &Zone, interval: Interval, at_s: u32) -> String {
    let local = zone.tz.to_datetime(timestamp(at_s));
    let offset = zone.tz.to_offset(timestamp(at_s));
    let date = local.date();
    match interval {
        Interval::Minute => format!("{date} {}:{} {offset}", local.hour(), local.minute()),
        Interval::Hour => format!("{date} {} {offset}", local.hour()),
        Interval::Day => date.to_string(),
        Interval::Week => {
            let week = date.iso_week_date();
            format!("{} {}", week.year(), week.week())
        }
        Interval::Month => format!("{} {}", date.year(), date.month()),
        Interval::Year => date.year().to_string(),
    }
}

proptest! {
    /// Two seconds are in one bucket just if a calendar and a clock on the wall call them alike.
    #[test]
    fn buckets_are_what_the_calendar_says(
        zone in prop::sample::select(&ZONES[..]),
        interval in prop::sample::select(&INTERVALS[..]),
        from_s in 1_000_000_000_u32..1_900_000_000,
        length in 1_u32..40_000_000,
        seconds in prop::collection::vec(any::<prop::sample::Index>(), 2..50),
    ) {
        let zone = Zone::parse(zone).unwrap();
        let length = match interval {
            Interval::Minute => length % 30_000 + 1,
            Interval::Hour => length % 3_000_000 + 1,
            _ => length,
        };
        let span = Span { from_s, to_s: from_s + length };
        let buckets = Buckets::cut(span, interval, &zone).unwrap();
        prop_assert!(buckets.starts.is_sorted_by(|a, b| a < b));
        prop_assert!(buckets.starts[0] <= from_s);
        prop_assert!(buckets.starts[1..].iter().all(|start| (from_s..span.to_s).contains(start)));
        let second = |index: &prop::sample::Index| {
            from_s + u32::try_from(index.index(length as usize)).unwrap()
        };
        let mut seconds: Vec<u32> = seconds.iter().map(second).collect();
        seconds.sort_unstable();
        for pair in seconds.windows(2) {
            let same = label(&zone, interval, pair[0]) == label(&zone, interval, pair[1]);
            prop_assert_eq!(buckets.at(pair[0]) == buckets.at(pair[1]), same);
        }
    }
}
