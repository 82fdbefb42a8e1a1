//! Clicks as a busy installation has them: links by Zipf's law, more by day than by night, names
//! by Zipf's law too. Names are made up, but as many and as long as real ones.

use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, DomainId, LinkId, WorkspaceId};

use crate::population::{Rng, Zipf};

const DAY_S: u32 = 86_400;
/// Clicks of each hour of a day (UTC), of 100.
const HOURS: [u32; 24] = [1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5, 4, 3, 3];
/// People who click, of whom each day draws its own.
const PEOPLE: usize = 4_000_000;

/// Names of a detail, the frequent ones first.
struct Names {
    names: Vec<String>,
    zipf: Zipf,
}

impl Names {
    fn new(count: usize, name: impl Fn(usize) -> String) -> Self {
        Self { names: (0..count).map(name).collect(), zipf: Zipf::new(count, 1.0) }
    }

    fn draw(&self, rng: &mut Rng) -> &str {
        &self.names[self.zipf.draw(rng)]
    }
}

/// Whose clicks these are.
pub(super) struct Owner {
    pub(super) workspace: WorkspaceId,
    pub(super) domain: DomainId,
}

/// Draws clicks, in the order of time.
pub(super) struct Clicks<'l> {
    rng: Rng,
    owner: Owner,
    links: &'l [LinkId],
    by_link: Zipf,
    from_s: u32,
    days: u32,
    count: u64,
    drawn: u64,
    details: [Option<Names>; Detail::ALL.len()],
}

impl<'l> Clicks<'l> {
    /// `count` clicks of `days` days from `from_s` on; the first of `links` is clicked most.
    pub(super) fn new(
        seed: u64,
        owner: Owner,
        links: &'l [LinkId],
        exponent: f64,
        (from_s, days): (u32, u32),
        count: u64,
    ) -> Self {
        let details = std::array::from_fn(|at| names_of(Detail::ALL[at]));
        let by_link = Zipf::new(links.len(), exponent);
        Self { rng: Rng::new(seed), owner, links, by_link, from_s, days, count, drawn: 0, details }
    }

    /// The next click and the place of its link; `None` after the last.
    pub(super) fn next(&mut self) -> Option<(usize, Click<'_>)> {
        if self.drawn == self.count {
            return None;
        }
        let at_s = self.from_s + self.offset();
        self.drawn += 1;
        let rng = &mut self.rng;
        let link = self.by_link.draw(rng);
        let kind = match rng.below(100) {
            0..88 => Kind::Human,
            88..96 => Kind::Bot,
            96..98 => Kind::Preview,
            98 => Kind::Prefetch,
            _ => Kind::Head,
        };
        let is_private = rng.below(100) < 3;
        let privacy = Privacy { do_not_track: is_private, global_privacy_control: is_private };
        let mut details = Details::default();
        // A third comes from nowhere; one of five with a campaign.
        let has_referrer = rng.below(3) > 0;
        let has_campaign = rng.below(5) == 0;
        for (detail, names) in Detail::ALL.iter().zip(&self.details) {
            let has_it = match detail {
                Detail::Referrer => has_referrer,
                Detail::UtmSource | Detail::UtmMedium | Detail::UtmCampaign => has_campaign,
                _ => true,
            };
            if let Some(names) = names.as_ref().filter(|_| has_it) {
                details.set(*detail, names.draw(rng));
            }
        }
        let click = Click {
            workspace: self.owner.workspace,
            link: self.links[link],
            domain: self.owner.domain,
            at_s,
            n: 1,
            kind,
            via: if rng.below(20) == 0 { Via::Qr } else { Via::Link },
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: if is_private { 0 } else { visitor(rng, at_s) },
            privacy,
            channel: if has_referrer { Channel::Referral } else { Channel::Direct },
            device: Device::ALL[1 + rng.below(3)],
            details,
        };
        Some((link, click))
    }

    /// Seconds from the beginning to the next click: the share of the days that is its share of all.
    fn offset(&self) -> u32 {
        let day = u64::from(self.days) * self.drawn;
        let (day, rest) = (day / self.count, day % self.count);
        // Hundredths of the day's clicks, and what is beyond them in a millionth of one.
        let place = rest * 100_000_000 / self.count;
        let (mut left, mut hour) = (place, 0);
        while left >= u64::from(HOURS[hour]) * 1_000_000 {
            left -= u64::from(HOURS[hour]) * 1_000_000;
            hour += 1;
        }
        let in_hour = left * 3600 / (u64::from(HOURS[hour]) * 1_000_000);
        let seconds = day * u64::from(DAY_S) + hour as u64 * 3600 + in_hour;
        u32::try_from(seconds).expect("days within 136 years")
    }
}

/// Somebody's number of a day: as even over 64 bits as the hash that makes real ones.
fn visitor(rng: &mut Rng, at_s: u32) -> u64 {
    let person = rng.below(PEOPLE) as u64;
    Rng::new(person << 20 | u64::from(at_s / DAY_S)).next_u64().max(1)
}

fn names_of(detail: Detail) -> Option<Names> {
    let of = |count, name: fn(usize) -> String| Some(Names::new(count, name));
    match detail {
        Detail::Referrer => of(300, |n| format!("www.site-{n:04}.example")),
        Detail::Country => of(80, |n| format!("{}{}", letter(n / 26), letter(n % 26))),
        Detail::Region => of(400, |n| format!("R{n}")),
        Detail::City => of(3000, |n| format!("City number {n}")),
        Detail::Browser => of(15, |n| format!("Browser {n}")),
        Detail::BrowserVersion => of(60, |n| (80 + n).to_string()),
        Detail::Os => of(8, |n| format!("System {n}")),
        Detail::OsVersion => of(30, |n| format!("{}.{}", n / 3, n % 3)),
        Detail::Language => of(25, |n| format!("{}{}", letter(n).to_lowercase(), "x")),
        Detail::UtmSource => of(20, |n| format!("source-{n}")),
        Detail::UtmMedium => of(6, |n| format!("medium-{n}")),
        Detail::UtmCampaign => of(50, |n| format!("campaign of week {n}")),
        Detail::ReferrerPath | Detail::UtmTerm | Detail::UtmContent => None,
    }
}

fn letter(n: usize) -> String {
    char::from(b'A' + u8::try_from(n % 26).unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_are_as_many_as_asked_for_in_order_and_within_their_days() {
        let links: Vec<_> = (1..=100).map(|n| LinkId::try_from(n).unwrap()).collect();
        let owner = Owner {
            workspace: WorkspaceId::try_from(1).unwrap(),
            domain: DomainId::try_from(2).unwrap(),
        };
        let from_s = 20_000 * DAY_S;
        let mut clicks = Clicks::new(1, owner, &links, 1.0, (from_s, 3), 30_000);
        let (mut last, mut by_day, mut at_night, mut of_first) = (from_s, [0; 3], 0, 0);
        while let Some((link, click)) = clicks.next() {
            assert!(click.at_s >= last && click.link == links[link]);
            last = click.at_s;
            by_day[((last - from_s) / DAY_S) as usize] += 1;
            at_night += u32::from(last % DAY_S < 5 * 3600);
            of_first += u32::from(link == 0);
        }
        assert_eq!(by_day, [10_000; 3]);
        assert_eq!(HOURS.iter().sum::<u32>(), 100);
        assert!((1_490..=1_510).contains(&at_night), "{at_night}");
        assert!((5_000..6_500).contains(&of_first), "{of_first}");
    }
}
