use std::net::IpAddr;

use carom_shared::click::Via;
use carom_shared::{DomainId, LinkId, WorkspaceId};
use proptest::prelude::*;

use super::*;

const AT_MS: i64 = 1_767_225_600_000;
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) \
                      AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Mobile/15E148 \
                      Safari/604.1";

fn raw() -> RawClick<'static> {
    RawClick {
        at_ms: AT_MS,
        link: LinkId::try_from(1).unwrap(),
        workspace: WorkspaceId::try_from(2).unwrap(),
        domain: DomainId::try_from(3).unwrap(),
        address: IpAddr::from([192, 0, 2, 1]),
        target_revision: 4,
        status: 302,
        variant: 0,
        via: Via::Link,
        head: false,
        prefetch: false,
        do_not_track: false,
        global_privacy_control: false,
        user_agent: SAFARI.as_bytes(),
        referrer: b"https://www.google.com/search?q=x",
        language: b"de-DE,de;q=0.9,en;q=0.8",
        query: b"",
    }
}

fn enricher(config: &EnrichConfig) -> Enricher {
    let random = SeededRandom::new(1);
    let salts = Salts::default().roll(UnixMillis::new(AT_MS), &random);
    let salts = Arc::new(ArcSwap::from_pointee(salts));
    Enricher::new(config, &salts, &random, &Arc::new(Metrics::new(0)))
}

fn with_path() -> EnrichConfig {
    EnrichConfig { referrer_path: true, ..EnrichConfig::default() }
}

#[test]
fn everything_that_a_request_says_is_kept() {
    let mut enricher = enricher(&with_path());
    let query = b"utm_source=News&utm_medium=social&utm_campaign=x&utm_term=y&utm_content=z";
    let click = enricher.enrich(&RawClick { query, ..raw() });
    assert_ne!(click.visitor, 0);
    assert_eq!((click.kind, click.device), (Kind::Human, Device::Mobile));
    assert_eq!((click.channel, click.at_s, click.n), (Channel::Social, 1_767_225_600, 1));
    assert_eq!(
        click.details.names(),
        &[
            "www.google.com", "/search", "", "", "", "Mobile Safari", "17.4", "iOS", "17.4", "de",
            "News", "social", "x", "y", "z",
        ]
    );
}

#[test]
fn who_asks_for_privacy_is_counted_and_not_known() {
    let mut enricher = enricher(&with_path());
    for raw in [
        RawClick { do_not_track: true, ..raw() },
        RawClick { global_privacy_control: true, ..raw() },
    ] {
        let click = enricher.enrich(&raw);
        assert_eq!((click.visitor, click.n), (0, 1));
        assert!(click.privacy.is_wanted());
        assert_eq!(click.details.get(Detail::Referrer), "www.google.com");
        assert_eq!(click.details.get(Detail::ReferrerPath), "");
    }
}

#[test]
fn the_path_of_the_referrer_is_kept_only_if_wanted() {
    let mut enricher = enricher(&EnrichConfig::default());
    assert_eq!(enricher.enrich(&raw()).details.get(Detail::ReferrerPath), "");
}

#[test]
fn visitors_need_the_salt_of_their_day() {
    let mut enricher = enricher(&EnrichConfig::default());
    let first = enricher.enrich(&raw()).visitor;
    assert_eq!(enricher.enrich(&raw()).visitor, first);
    let tomorrow = RawClick { at_ms: AT_MS + 86_400_000, ..raw() };
    assert!(![0, first].contains(&enricher.enrich(&tomorrow).visitor));
    for at_ms in [AT_MS - 1, AT_MS + 2 * 86_400_000, i64::MIN, i64::MAX] {
        assert_eq!(enricher.enrich(&RawClick { at_ms, ..raw() }).visitor, 0, "{at_ms}");
    }
    enricher.salts.store(Arc::default());
    assert_eq!(enricher.enrich(&raw()).visitor, 0);
}

#[test]
fn channels_follow_campaign_then_referrer_then_app() {
    let mut enricher = enricher(&EnrichConfig::default());
    let instagram = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 \
                     (KHTML, like Gecko) Mobile/15E148 Instagram 320.0.0.30.87 (iPhone14,2)";
    for (query, referrer, user_agent, channel) in [
        ("", "", SAFARI, Channel::Direct),
        ("", "https://www.bing.com/", SAFARI, Channel::Search),
        ("", "https://blog.example.com/", SAFARI, Channel::Referral),
        ("", "", instagram, Channel::Social),
        ("utm_medium=cpc", "https://www.bing.com/", SAFARI, Channel::Paid),
        ("utm_medium=email", "", SAFARI, Channel::Mail),
        ("utm_medium=flyer", "", SAFARI, Channel::Campaign),
        ("utm_source=x", "https://www.bing.com/", SAFARI, Channel::Campaign),
    ] {
        let (query, referrer) = (query.as_bytes(), referrer.as_bytes());
        let raw = RawClick { query, referrer, user_agent: user_agent.as_bytes(), ..raw() };
        assert_eq!(enricher.enrich(&raw).channel, channel, "{query:?} {referrer:?}");
    }
}

#[test]
fn what_the_request_is_comes_before_who_sent_it() {
    let mut enricher = enricher(&EnrichConfig::default());
    let bot = RawClick { user_agent: b"Googlebot/2.1 (+http://www.google.com/bot.html)", ..raw() };
    let mut kind = |raw: RawClick<'_>| enricher.enrich(&raw).kind;
    assert_eq!(kind(bot), Kind::Bot);
    assert_eq!(kind(RawClick { prefetch: true, ..bot }), Kind::Prefetch);
    assert_eq!(kind(RawClick { prefetch: true, head: true, ..bot }), Kind::Head);
    assert_eq!(kind(RawClick { user_agent: b"", ..raw() }), Kind::Human);
}

#[test]
fn names_that_nobody_has_seen_are_bounded() {
    let mut enricher = enricher(&with_path());
    let mut seen = std::collections::HashSet::new();
    for n in 0..500 {
        let referrer = format!("https://r{n}.example/p{n}");
        let query = format!("utm_source=s{n}");
        let user_agent = format!("App{n}/{n}.{n} CFNetwork/1.0 Darwin/23.0");
        let click = enricher.enrich(&RawClick {
            referrer: referrer.as_bytes(),
            query: query.as_bytes(),
            user_agent: user_agent.as_bytes(),
            ..raw()
        });
        for (detail, name) in Detail::ALL.iter().zip(click.details.names()) {
            seen.insert((*detail, (*name).to_owned()));
        }
    }
    let names = |detail| seen.iter().filter(|(of, _)| *of == detail).count();
    for detail in [Detail::Referrer, Detail::ReferrerPath, Detail::UtmSource] {
        assert_eq!(names(detail), 65, "{detail:?}");
        assert!(seen.contains(&(detail, OTHER.to_owned())));
    }
    assert_eq!(names(Detail::Browser), 257);
    assert!(enricher.metrics.enrich.names_refused.get() > 3 * 400);
    assert_eq!(enricher.metrics.enrich.agents_read.get(), 500);
}

/// Asserts what is so of each text that is kept, whatever came in.
fn assert_fit(click: &Click<'_>) {
    for (detail, text) in Detail::ALL.iter().zip(click.details.names()) {
        assert!(text.len() <= 512 && text.chars().count() <= 265, "{detail:?}: {text:?}");
        assert!(!text.chars().any(char::is_control), "{detail:?}: {text:?}");
        assert_eq!(text.trim(), *text, "{detail:?}");
    }
    let referrer = click.details.get(Detail::Referrer);
    let bare = referrer.strip_prefix("android-app://").unwrap_or(referrer);
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    assert!(referrer == OTHER || bare.chars().all(is_host), "{referrer:?}");
}

#[test]
fn hostile_requests_come_out_fit() {
    let mut enricher = enricher(&with_path());
    let long = vec![b'A'; 64 << 10];
    let hostile: [&[u8]; 9] = [
        &long,
        b"\xff\xfe\xfd\xc3\x28",
        b"<script>alert(1)</script>",
        b"=cmd|' /C calc'!A0",
        b"\0\0\0",
        b"a\r\nSet-Cookie: x",
        "\u{202e}gpj.exe".as_bytes(),
        b"https://\0/\0",
        b"utm_source=%00%0d%0a%ff=1&utm_medium=%u0000&utm_campaign=%",
    ];
    for text in hostile {
        for prefix in [&b""[..], b"https://example.com/", b"utm_source=", b"Mozilla/5.0 "] {
            let text = [prefix, text].concat();
            let click = enricher.enrich(&RawClick {
                user_agent: &text,
                referrer: &text,
                language: &text,
                query: &text,
                ..raw()
            });
            assert_fit(&click);
        }
    }
}

/// Bytes that look a little like what is expected.
fn nearly(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let part = prop_oneof![word, proptest::collection::vec(any::<u8>(), 0..12)];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

#[test]
fn any_request_comes_out_fit() {
    let enricher = std::cell::RefCell::new(enricher(&with_path()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(500));
    let requests = (
        nearly(&["Mozilla/5.0 ", "Chrome/1", " CFNetwork/9", "/1.2", "(", "bot", "Android 1", ";"]),
        nearly(&[
            "https://", "android-app://", "example.com", "/", "?", "@", ":", "%00", "\u{200b}",
        ]),
        nearly(&["de", "-", ";q=", "0.5", ",", "*", "en"]),
        nearly(&["utm_source=", "utm_medium=", "&", "=", "%", "%00", "+", "%e2%80%ae", "social"]),
    );
    let outcome = runner.run(&requests, |(user_agent, referrer, language, query)| {
        let raw = RawClick {
            user_agent: &user_agent,
            referrer: &referrer,
            language: &language,
            query: &query,
            ..raw()
        };
        assert_fit(&enricher.borrow_mut().enrich(&raw));
        Ok(())
    });
    outcome.unwrap();
}
