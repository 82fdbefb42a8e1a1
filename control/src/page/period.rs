//! The times that people ask about: their names, keys, and the range of dates that each is. Pure.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::message::message;
use crate::click::report::time::Interval;

/// A time that has a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preset {
    /// As addresses have it.
    pub(super) name: &'static str,
    /// A message.
    pub(super) label: &'static str,
    /// The key that chooses it.
    pub(super) key: char,
    pub(super) range: Range,
}

/// Which time a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Range {
    /// The first and the last day, both included, from today's date.
    Days(fn(Date) -> Result<(Date, Date), jiff::Error>),
    /// So many hours, the one that is under way among them.
    Hours(u32),
    /// From the first click on.
    All,
}

/// What a page shows unless it says otherwise.
pub(super) const DEFAULT: &str = "30d";

/// In the order of the menu. Each ends today, today included, but those that say otherwise.
pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "today",
        label: message("Today"),
        key: 'D',
        range: Range::Days(|today| Ok((today, today))),
    },
    Preset {
        name: "yesterday",
        label: message("Yesterday"),
        key: 'E',
        range: Range::Days(|today| Ok((today.yesterday()?, today.yesterday()?))),
    },
    Preset { name: "24h", label: message("Last 24 hours"), key: 'H', range: Range::Hours(24) },
    Preset {
        name: "7d",
        label: message("Last 7 days"),
        key: 'W',
        range: Range::Days(|today| days(today, 7)),
    },
    Preset {
        name: "30d",
        label: message("Last 30 days"),
        key: 'T',
        range: Range::Days(|today| days(today, 30)),
    },
    Preset {
        name: "91d",
        label: message("Last 91 days"),
        key: 'R',
        range: Range::Days(|today| days(today, 91)),
    },
    Preset {
        name: "month",
        label: message("This month"),
        key: 'M',
        range: Range::Days(|today| Ok((today.first_of_month(), today))),
    },
    Preset {
        name: "last-month",
        label: message("Last month"),
        key: 'P',
        range: Range::Days(|today| {
            let last = today.first_of_month().yesterday()?;
            Ok((last.first_of_month(), last))
        }),
    },
    Preset {
        name: "year",
        label: message("This year"),
        key: 'Y',
        range: Range::Days(|today| Ok((today.first_of_year(), today))),
    },
    Preset {
        name: "12mo",
        label: message("Last 12 months"),
        key: 'L',
        range: Range::Days(|today| Ok((today.checked_sub(1.year())?.tomorrow()?, today))),
    },
    Preset {
        name: "5y",
        label: message("Last 5 years"),
        key: 'F',
        range: Range::Days(|today| Ok((today.checked_sub(5.years())?.tomorrow()?, today))),
    },
    Preset { name: "all", label: message("All time"), key: 'A', range: Range::All },
];

fn days(today: Date, days: i64) -> Result<(Date, Date), jiff::Error> {
    Ok((today.checked_sub((days - 1).days())?, today))
}

impl Preset {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }
}

/// The range that is as long, right before or right after; `None` after today.
pub(super) fn step((from, to): (Date, Date), back: bool, today: Date) -> Option<(Date, Date)> {
    let is_whole_months = from.day() == 1 && to == to.last_of_month();
    if is_whole_months {
        let months = (i64::from(to.year()) - i64::from(from.year())) * 12
            + i64::from(to.month() - from.month())
            + 1;
        let shift = if back { -months } else { months };
        let from = from.checked_add(shift.months()).ok()?;
        let to = from.checked_add(months.months()).ok()?.yesterday().ok()?;
        return (from <= today).then_some((from, to));
    }
    let length = i64::from(from.until(to).ok()?.get_days()) + 1;
    let shift = if back { -length } else { length }.days();
    let (from, to) = (from.checked_add(shift).ok()?, to.checked_add(shift).ok()?);
    (from <= today).then_some((from, to))
}

/// Steps of a series that make sense for so many days, the best first.
pub(super) const fn intervals(days: i64) -> &'static [Interval] {
    use Interval::{Day, Hour, Month, Week, Year};
    match days {
        ..=1 => &[Hour],
        2..=4 => &[Hour, Day],
        5..=31 => &[Day, Hour, Week],
        32..=120 => &[Day, Week, Month],
        121..=732 => &[Week, Day, Month],
        _ => &[Month, Week, Year],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn names_stand_for_dates() {
        let today = date(2026, 3, 5);
        let range = |name| {
            let Range::Days(days) = Preset::find(name).unwrap().range else { panic!("{name}") };
            let (from, to) = days(today).unwrap();
            format!("{from} {to}")
        };
        for (name, expected) in [
            ("today", "2026-03-05 2026-03-05"),
            ("yesterday", "2026-03-04 2026-03-04"),
            ("7d", "2026-02-27 2026-03-05"),
            ("30d", "2026-02-04 2026-03-05"),
            ("month", "2026-03-01 2026-03-05"),
            ("last-month", "2026-02-01 2026-02-28"),
            ("year", "2026-01-01 2026-03-05"),
            ("12mo", "2025-03-06 2026-03-05"),
        ] {
            assert_eq!(range(name), expected, "{name}");
        }
        let mut keys: Vec<_> = PRESETS.iter().map(|preset| preset.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), PRESETS.len());
    }

    #[test]
    fn a_step_is_as_long() {
        let today = date(2026, 3, 5);
        let week = (date(2026, 2, 27), date(2026, 3, 5));
        assert_eq!(step(week, true, today), Some((date(2026, 2, 20), date(2026, 2, 26))));
        assert_eq!(step(week, false, today), None);
        let february = (date(2026, 2, 1), date(2026, 2, 28));
        assert_eq!(step(february, true, today), Some((date(2026, 1, 1), date(2026, 1, 31))));
        assert_eq!(step(february, false, today), Some((date(2026, 3, 1), date(2026, 3, 31))));
    }
}
