//! Who asked: a person, a program, a card, a browser ahead of its user, or only for the headers.

use carom_shared::RawClick;
use carom_shared::click::Kind;

/// What a user agent holds, in lower case, that says what it is; the first that matches decides.
const WORDS: [(&[u8], Kind); 24] = [
    // Programs that fetch a link to show a card for it.
    (b"bluesky cardyb", Kind::Preview),
    (b"discordbot", Kind::Preview),
    (b"embedly", Kind::Preview),
    (b"facebookexternalhit", Kind::Preview),
    (b"iframely", Kind::Preview),
    (b"linkedinbot", Kind::Preview),
    (b"mastodon", Kind::Preview),
    (b"pinterestbot", Kind::Preview),
    (b"redditbot", Kind::Preview),
    (b"skypeuripreview", Kind::Preview),
    (b"slackbot", Kind::Preview),
    (b"snap url preview", Kind::Preview),
    (b"telegrambot", Kind::Preview),
    (b"twitterbot", Kind::Preview),
    (b"viber", Kind::Preview),
    (b"vkshare", Kind::Preview),
    (b"whatsapp", Kind::Preview),
    // Words by which other programs say what they are.
    (b"bot", Kind::Bot),
    (b"crawl", Kind::Bot),
    (b"headless", Kind::Bot),
    (b"monitor", Kind::Bot),
    (b"scrape", Kind::Bot),
    (b"slurp", Kind::Bot),
    (b"spider", Kind::Bot),
];

/// A maker of phones, whose name is in the user agents of people.
const NO_BOT: &[u8] = b"cubot";

/// For each byte, the words that begin with it: most positions of a user agent then cost one look.
const STARTS: [u32; 256] = {
    let mut starts = [0; 256];
    let mut word = 0;
    while word < WORDS.len() {
        starts[WORDS[word].0[0] as usize] |= 1 << word;
        word += 1;
    }
    starts
};

/// The kind of a click, by what the request says of itself. A header that is missing says nothing.
pub(super) fn of(click: &RawClick<'_>) -> Kind {
    if click.head {
        return Kind::Head;
    }
    if click.prefetch {
        return Kind::Prefetch;
    }
    let mut lower = [0; RawClick::USER_AGENT_MAX];
    let len = click.user_agent.len().min(lower.len());
    let lower = &mut lower[..len];
    lower.copy_from_slice(&click.user_agent[..len]);
    lower.make_ascii_lowercase();

    for (at, &byte) in lower.iter().enumerate() {
        let mut candidates = STARTS[usize::from(byte)];
        while candidates != 0 {
            let (word, kind) = WORDS[candidates.trailing_zeros() as usize];
            if lower[at..].starts_with(word) && !lower[..at + word.len()].ends_with(NO_BOT) {
                return kind;
            }
            candidates &= candidates - 1;
        }
    }
    Kind::Human
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::click::Via;
    use carom_shared::{DomainId, LinkId, WorkspaceId};

    fn click(user_agent: &str) -> RawClick<'_> {
        RawClick {
            at_ms: 0,
            link: LinkId::try_from(1).unwrap(),
            workspace: WorkspaceId::try_from(1).unwrap(),
            domain: DomainId::try_from(1).unwrap(),
            address: [127, 0, 0, 1].into(),
            target_revision: 1,
            status: 302,
            variant: 0,
            via: Via::Link,
            head: false,
            prefetch: false,
            do_not_track: false,
            global_privacy_control: false,
            user_agent: user_agent.as_bytes(),
            referrer: b"",
            language: b"",
            query: b"",
        }
    }

    #[test]
    fn user_agents_say_who_they_are() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/140.0.0.0 Safari/537.36";
        for (user_agent, kind) in [
            (chrome, Kind::Human),
            ("", Kind::Human),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Kind::Bot),
            ("facebookexternalhit/1.1", Kind::Preview),
            ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", Kind::Preview),
            ("WhatsApp/2.23", Kind::Preview),
            ("Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 30) Mobile Safari/537.36", Kind::Human),
            ("HeadlessChrome", Kind::Bot),
        ] {
            assert_eq!(of(&click(user_agent)), kind, "{user_agent}");
        }
        let long = "x".repeat(10_000) + "bot";
        assert_eq!(of(&click(&long)), Kind::Human);
    }

    #[test]
    fn what_the_request_is_comes_before_who_sent_it() {
        let bot = click("Googlebot");
        assert_eq!(of(&RawClick { prefetch: true, ..bot }), Kind::Prefetch);
        assert_eq!(of(&RawClick { prefetch: true, head: true, ..bot }), Kind::Head);
    }
}
