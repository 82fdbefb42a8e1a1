//! The time of an answer, as HTTP writes it (RFC 9110 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.

use carom_shared::UnixMillis;

const LEN: usize = 29;
const DAY_S: i64 = 86_400;
const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// The last second that has four digits for its year.
const LAST_S: i64 = 253_402_300_799;

/// A date, written once for all answers of a second.
#[derive(Clone, Debug)]
pub struct HttpDate {
    second: i64,
    text: [u8; LEN],
}

impl HttpDate {
    /// The date of a time.
    #[must_use]
    pub fn of(time: UnixMillis) -> Self {
        let second = time.as_secs();
        Self { second, text: text(second.clamp(0, LAST_S)) }
    }

    /// Makes this the date of a time: nothing to do if it is one of the same second.
    #[inline]
    pub fn set(&mut self, time: UnixMillis) -> &Self {
        if time.as_secs() != self.second {
            *self = Self::of(time);
        }
        self
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

fn text(second: i64) -> [u8; LEN] {
    let part = |n: i64| usize::try_from(n).unwrap_or_default();
    let (day, of_day) = (second.div_euclid(DAY_S), second.rem_euclid(DAY_S));
    let (year, month, month_day) = civil(day);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut digits = |at: usize, number: i64| {
        for (place, digit) in [(at, number / 10 % 10), (at + 1, number % 10)] {
            text[place] = b'0' + u8::try_from(digit).unwrap_or_default();
        }
    };
    digits(5, month_day);
    digits(12, year / 100);
    digits(14, year % 100);
    digits(17, of_day / 3600);
    digits(20, of_day / 60 % 60);
    digits(23, of_day % 60);
    let week_day = part(day.rem_euclid(7)) * 3;
    text[..3].copy_from_slice(&DAYS[week_day..week_day + 3]);
    let name = part(month - 1) * 3;
    text[8..11].copy_from_slice(&MONTHS[name..name + 3]);
    text
}

/// Year, month and day of the month of a day since 1970. Years are counted from March, so that what is
/// irregular, the end of February, is the end of a year.
const fn civil(day: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    // From the first of March of the year 0.
    let day = day + 719_468;
    let era = day.div_euclid(DAYS_OF_400_YEARS);
    let of_era = day.rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era =
        (of_era - of_era / 1460 + of_era / 36_524 - of_era / (DAYS_OF_400_YEARS - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month_day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, month_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(second: i64) -> String {
        let date = HttpDate::of(UnixMillis::new(second * 1000 + 999));
        String::from_utf8(date.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn dates_are_written_as_http_wants_them() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (1_767_225_600, "Thu, 01 Jan 2026 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MAX / 1_000_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(written(second), text);
        }
    }

    /// Each day follows the one before, in names and numbers.
    #[test]
    fn days_follow_each_other() {
        let lens = |year: i64| {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for since in 0..200_000 {
            assert_eq!(civil(since), (year, month, day));
            day += 1;
            if day > lens(year)[usize::try_from(month - 1).unwrap()] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn a_date_is_set_when_the_second_is_another() {
        let mut date = HttpDate::of(UnixMillis::new(0));
        assert_eq!(
            date.set(UnixMillis::new(999)).as_bytes(),
            HttpDate::of(UnixMillis::new(0)).as_bytes()
        );
        let next = UnixMillis::new(1000);
        assert_eq!(date.set(next).as_bytes(), b"Thu, 01 Jan 1970 00:00:01 GMT");
    }
}
