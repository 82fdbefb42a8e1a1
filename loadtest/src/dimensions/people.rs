//! Visitors of whom is known what Carom must find out: what each sends, and what it must count as.
//!
//! The answers do not come from Carom's code. What browser and system a user agent names comes from a
//! file whose answers are those of the makers of uap-core; of these user agents only those are taken
//! whose device is beyond doubt. The rest is written down here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::failure::Failure;
use crate::population::Rng;
use crate::traffic::Ask;

/// User agents of people: so few that an edge takes all their names in a minute, and that a report
/// shows them all.
const AGENTS_MAX: usize = 60;
const AGENTS_MIN: usize = 30;
/// People: pairs of an address and a user agent.
const PEOPLE: usize = 6000;
/// Requests that differ.
const ASKS: usize = 20_000;

/// A referrer, the host that is kept of it, and its channel.
const REFERRERS: [(&str, &str, &str); 16] = [
    ("", "", "direct"),
    ("https://www.google.com/search?q=carom", "www.google.com", "search"),
    ("https://www.bing.com/", "www.bing.com", "search"),
    ("https://duckduckgo.com/", "duckduckgo.com", "search"),
    ("https://l.facebook.com/l.php?u=x", "l.facebook.com", "social"),
    ("https://t.co/abc", "t.co", "social"),
    ("https://old.reddit.com/r/rust/", "old.reddit.com", "social"),
    ("https://mail.google.com/mail/u/0/", "mail.google.com", "mail"),
    ("https://web.whatsapp.com/", "web.whatsapp.com", "messenger"),
    ("https://m.youtube.com/watch?v=x", "m.youtube.com", "video"),
    ("https://chatgpt.com/", "chatgpt.com", "ai"),
    ("https://News.Example.org:8443/a/b?c#d", "news.example.org", "referral"),
    ("http://user:pw@blog.example.net/", "blog.example.net", "referral"),
    ("android-app://com.google.android.gm/", "android-app://com.google.android.gm", "mail"),
    ("android-app://com.Slack/", "android-app://com.slack", "messenger"),
    ("javascript:alert(1)", "", "direct"),
];

/// `Accept-Language`, and the language that is kept of it.
const LANGUAGES: [(&str, &str); 8] = [
    ("", ""),
    ("en-GB,en;q=0.9", "en"),
    ("de-DE,de;q=0.9,en;q=0.8", "de"),
    ("fr;q=0.8, es;q=0.9", "es"),
    ("fil-PH", "fil"),
    ("zh_CN", "zh"),
    ("*, pt;q=0.1", "pt"),
    ("ja,en-US;q=0.7,en;q=0.3", "ja"),
];

/// A query, its source, medium and campaign, term and content, and the channel they stand for.
const CAMPAIGNS: [(&str, [&str; 5], &str); 6] = [
    (
        "utm_source=News+Letter&utm_medium=email&utm_campaign=spring%2026",
        ["News Letter", "email", "spring 26", "", ""],
        "mail",
    ),
    (
        "fbclid=x&utm_source=google&utm_medium=cpc&utm_term=short+url",
        ["google", "cpc", "", "short url", ""],
        "paid",
    ),
    ("utm_medium=social&utm_content=%C3%A4", ["", "social", "", "", "ä"], "social"),
    ("utm_source=flyer", ["flyer", "", "", "", ""], "campaign"),
    ("utm_medium=poster&utm_campaign=spring%2026", ["", "poster", "spring 26", "", ""], "campaign"),
    ("a=b&utm_source=x&utm_source=y", ["x", "", "", "", ""], "campaign"),
];

/// Programs, and what kind they are.
const PROGRAMS: [(&str, &str); 8] = [
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot"),
    ("curl/8.5.0", "bot"),
    ("python-requests/2.32.3", "bot"),
    ("Go-http-client/2.0", "bot"),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "preview"),
    ("WhatsApp/2.23.20.0", "preview"),
    ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "preview"),
    ("Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", "preview"),
];

/// A person's user agent, and what it says.
#[derive(Clone, Debug)]
struct Agent {
    text: String,
    browser: String,
    browser_version: String,
    os: String,
    os_version: String,
    device: &'static str,
}

/// What a request must count as.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) kind: &'static str,
    /// Who it is, as far as visitors are told apart; `None` if they asked not to be.
    pub(crate) visitor: Option<u32>,
    /// Dimensions and their values; those of people count.
    pub(crate) values: Vec<(&'static str, String)>,
}

/// Draws what visitors send, and what each must count as.
pub(crate) fn draw(agents: &Path, rng: &mut Rng) -> Result<(Vec<Ask>, Vec<Expected>), Failure> {
    let mut agents = read_agents(agents)?;
    rng.shuffle(&mut agents);
    agents.truncate(AGENTS_MAX);
    let people: Vec<(usize, usize)> =
        (0..PEOPLE).map(|person| (person * 2 / 3, rng.below(agents.len()))).collect();
    // Two of them may be alike: the same address, the same user agent.
    let different: BTreeSet<_> = people.iter().copied().collect();
    let number = |person| {
        let at = different.iter().position(|other| *other == person);
        at.and_then(|at| u32::try_from(at).ok())
    };
    let numbers: Vec<_> = people.iter().map(|person| number(*person)).collect();
    let ask = |_| {
        let at = rng.below(people.len());
        let (place, agent) = people[at];
        one(rng, &agents[agent], place, numbers[at])
    };
    Ok((0..ASKS).map(ask).unzip())
}

/// One request of a person, or of a program at their address.
fn one(rng: &mut Rng, agent: &Agent, place: usize, person: Option<u32>) -> (Ask, Expected) {
    let (referrer, host, mut channel) = REFERRERS[rng.below(REFERRERS.len())];
    let (accept_language, language) = LANGUAGES[rng.below(LANGUAGES.len())];
    let has_campaign = rng.below(4) == 0;
    let (utm_query, utm, utm_channel) = CAMPAIGNS[rng.below(CAMPAIGNS.len())];
    let (utm_query, utm) = if has_campaign { (utm_query, utm) } else { ("", [""; 5]) };
    if has_campaign {
        channel = utm_channel;
    }
    let is_qr = rng.below(10) == 0;
    let query = match (is_qr, utm_query) {
        (false, "") => String::new(),
        (true, "") => "?via=qr".to_owned(),
        (false, utm) => format!("?{utm}"),
        (true, utm) => format!("?via=qr&{utm}"),
    };

    // What is asked comes before who asks.
    let program = (rng.below(8) == 0).then(|| PROGRAMS[rng.below(PROGRAMS.len())]);
    let is_head = rng.below(30) == 0;
    let is_prefetch = rng.below(30) == 0;
    let kind = match (is_head, is_prefetch, program) {
        (true, ..) => "head",
        (_, true, _) => "prefetch",
        (.., Some((_, kind))) => kind,
        _ => "human",
    };
    let user_agent = program.map_or(&*agent.text, |(text, _)| text);
    let privacy = rng.below(20);
    let mut headers = format!("User-Agent: {user_agent}\r\n");
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            write!(headers, "{name}: {value}\r\n").expect("a string takes what it is given");
        }
    };
    line("Referer", referrer);
    line("Accept-Language", accept_language);
    line("Sec-Purpose", if is_prefetch { "prefetch;prerender" } else { "" });
    line("DNT", if privacy == 0 { "1" } else { "" });
    line("Sec-GPC", if privacy == 1 { "1" } else { "" });
    line("X-Forwarded-For", &forwarded_for(rng, place));

    let values = [
        ("referrer", host),
        ("channel", channel),
        ("language", language),
        ("utm_source", utm[0]),
        ("utm_medium", utm[1]),
        ("utm_campaign", utm[2]),
        ("utm_term", utm[3]),
        ("utm_content", utm[4]),
        ("browser", &agent.browser),
        ("browser_version", &agent.browser_version),
        ("os", &agent.os),
        ("os_version", &agent.os_version),
        ("device", agent.device),
        ("via", if is_qr { "qr" } else { "link" }),
        ("referrer_path", ""),
        ("country", ""),
        ("region", ""),
        ("city", ""),
        ("status", "302"),
        ("variant", "0"),
        ("target_revision", "1"),
    ];
    let expected = Expected {
        kind,
        // Only people's are compared, who all send their own user agent.
        visitor: person.filter(|_| privacy > 1),
        values: values.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
    };
    (Ask { is_head, query, headers }, expected)
}

/// The header of a proxy that is trusted, about somebody at a place. Of a place with IPv6 only the
/// network counts. What strangers put in front does not.
fn forwarded_for(rng: &mut Rng, place: usize) -> String {
    let address = if place.is_multiple_of(4) {
        format!("2001:db8:{:x}:{:x}::{:x}", place >> 8, place & 0xff, 1 + rng.below(0xffff))
    } else {
        format!("198.18.{}.{}", place >> 8, place & 0xff)
    };
    match rng.below(4) {
        0 => format!("203.0.113.7, {address}"),
        1 => format!("unknown, {address}, 127.0.0.1"),
        _ => address,
    }
}

/// User agents of people, with all that is known of them, from a file with columns: user agent,
/// browser, its version, system, its version.
fn read_agents(path: &Path) -> Result<Vec<Agent>, Failure> {
    let mut agents = Vec::new();
    for line in read_file(path)? {
        let columns: Vec<&str> = line.split('\t').collect();
        let [text, browser, browser_version, os, os_version] = columns[..] else { continue };
        let is_known = !line.starts_with('#') && columns[1..].iter().all(|column| *column != "*");
        if let Some(device) = device(text, browser).filter(|_| is_known) {
            agents.push(Agent {
                text: text.to_owned(),
                browser: browser.to_owned(),
                browser_version: browser_version.to_owned(),
                os: os.to_owned(),
                os_version: os_version.to_owned(),
                device,
            });
        }
    }
    if agents.len() < AGENTS_MIN {
        let what = format!("{} has {} user agents of use, too few", path.display(), agents.len());
        return Err(Failure::new(what));
    }
    Ok(agents)
}

/// Lines with their ends, which may be empty columns.
fn read_file(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What device it is, where there is no doubt, and that it is a browser and not one inside an app,
/// which would be a channel.
fn device(user_agent: &str, browser: &str) -> Option<&'static str> {
    const BROWSERS: [&str; 14] = [
        "Android", "Brave", "Chrome", "Chrome Mobile", "Chromium", "Edge", "Edge Mobile",
        "Firefox", "Firefox Mobile", "IE", "Mobile Safari", "Opera", "Safari", "Vivaldi",
    ];
    let has = |part: &str| user_agent.contains(part);
    let others = [
        "Tablet", "TV", "Xbox", "Kindle", "Silk", "bot", "http", "Touch", "PlayStation", "Preview",
        "Datanyze",
    ];
    if !user_agent.starts_with("Mozilla/5.0 (") || others.iter().any(|part| has(part)) {
        return None;
    }
    let is_desktop = has("Windows NT") || has("Macintosh;") || has("X11; ");
    let is_plain = BROWSERS.contains(&browser) || is_desktop;
    match () {
        () if !is_plain => None,
        () if has("iPad;") => Some("tablet"),
        () if has("iPhone;") => Some("mobile"),
        () if has("Android") => (has("Mobile Safari/")).then_some("mobile"),
        () if has("Mobile") || has("Phone") => None,
        () => is_desktop.then_some("desktop"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_those_beyond_doubt() {
        for (user_agent, browser, expected) in [
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_4)", "Mobile Safari", Some("mobile")),
            ("Mozilla/5.0 (X11; Linux x86_64)", "Firefox", Some("desktop")),
            ("Mozilla/5.0 (Linux; Android 9) Mobile Safari/537.36", "Facebook", None),
            ("Mozilla/5.0 (Linux; Android 4.2) Safari/1", "Android", None),
            ("curl/8.5.0", "Chrome", None),
        ] {
            assert_eq!(device(user_agent, browser), expected, "{user_agent}");
        }
    }

    #[test]
    fn strangers_entries_come_before_the_address() {
        let mut rng = Rng::new(1);
        for place in 0..400 {
            let header = forwarded_for(&mut rng, place);
            let last = header.trim_end_matches(", 127.0.0.1").rsplit(", ").next().unwrap();
            let address: std::net::IpAddr = last.parse().unwrap();
            assert_eq!(address.is_ipv6(), place % 4 == 0, "{header}");
        }
    }
}
