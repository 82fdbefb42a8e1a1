use super::*;
use carom_shared::{ParameterNames, TargetPolicy};
use proptest::prelude::*;
use url::Url;

fn policy(forward: &str, visitor_wins: bool) -> QueryPolicy {
    let forward = match forward {
        "" => Forward::None,
        "*" => Forward::All,
        names => Forward::Only(ParameterNames::parse(names).unwrap()),
    };
    QueryPolicy { forward, visitor_wins }
}

fn sent(target: &str, query: &str, policy: &QueryPolicy) -> String {
    let target = HeaderValue::try_from(target).unwrap();
    pass_on(&target, query, policy).to_str().unwrap().to_owned()
}

#[test]
fn what_is_passed_on_and_who_wins() {
    for (target, query, forward, targets_wins, visitors_wins) in [
        // The example above.
        (
            "/p?id=1&utm_source=mail#size", "utm_source=qr&colour=red&via=qr", "*",
            "/p?id=1&utm_source=mail&colour=red#size", "/p?id=1&utm_source=qr&colour=red#size",
        ),
        ("/", "a=1", "", "/", "/"),
        ("/", "", "*", "/", "/"),
        ("/#f", "&&", "*", "/#f", "/#f"),
        ("/#a?b", "x", "*", "/?x#a?b", "/?x#a?b"),
        ("/?", "x=1", "*", "/?x=1", "/?x=1"),
        ("/?a&&b", "x=1", "*", "/?a&&b&x=1", "/?a&&b&x=1"),
        ("/?a=1&a=2", "a=3&b=4&a=5", "*", "/?a=1&a=2&b=4", "/?a=3&b=4&a=5"),
        ("/?a=1&c", "a", "*", "/?a=1&c", "/?c&a"),
        // Only what is named, in whatever order it comes.
        ("/", "c=3&a=1&b=2&a=4", "a,c", "/?c=3&a=1&a=4", "/?c=3&a=1&a=4"),
        // Carom's own.
        ("/", "via=qr", "*", "/", "/"),
        ("/", "via&%76ia=x&Via=1", "*", "/?Via=1", "/?Via=1"),
        ("/", "via=qr", "via", "/", "/"),
        ("/?via=air", "via=qr", "*", "/?via=air", "/?via=air"),
        // Names are compared decoded, and passed on as written.
        ("/?a=1", "%61=2&%62=3", "a,b", "/?a=1&%62=3", "/?%61=2&%62=3"),
        ("/?a%20b=1", "a+b=2", "*", "/?a%20b=1", "/?a+b=2"),
        ("/?=1", "=2", "*", "/?=1", "/?=2"),
        // What is encoded stays so; what may not stand there is encoded.
        ("/", "x=%2f%zz%&y=a/b?c:@!$(),;*", "*", "/?x=%2f%zz%&y=a/b?c:@!$(),;*", ""),
        ("/", "x=\"<>'# \t\r\n\0\u{7f}é", "*", "/?x=%22%3C%3E%27%23%20%09%0D%0A%00%7F%C3%A9", ""),
        ("/", "//evil.test/@x\\?y", "*", "/?//evil.test/@x\\?y", ""),
    ] {
        let target = format!("https://e.test{target}");
        for (visitor_wins, expected) in [(false, targets_wins), (true, visitors_wins)] {
            let expected = if expected.is_empty() { targets_wins } else { expected };
            let got = sent(&target, query, &policy(forward, visitor_wins));
            assert_eq!(got, format!("https://e.test{expected}"), "{target} {query}");
        }
    }
}

#[test]
fn too_long_a_url_is_the_target_alone() {
    let target = "https://e.test/#f";
    let room = TargetUrl::MAX_LEN - target.len() - "?".len();
    let fits = "x".repeat(room);
    assert_eq!(sent(target, &fits, &policy("*", false)).len(), TargetUrl::MAX_LEN);
    assert_eq!(sent(target, &format!("{fits}x"), &policy("*", false)), target);
    // Long only once it is encoded; long only in what is not passed on.
    assert_eq!(sent(target, &"é".repeat(room / 6 + 1), &policy("*", false)), target);
    assert_eq!(
        sent(target, &format!("{fits}{fits}&a=1"), &policy("a", false)),
        "https://e.test/?a=1#f"
    );
}

#[test]
fn a_damaged_target_is_left_alone() {
    let target = HeaderValue::from_bytes(b"https://e.test/\xff").unwrap();
    assert_eq!(pass_on(&target, "a=1", &policy("*", false)), target);
}

/// Parameters as a form would read them, decoded by hand.
fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            let hex = hex.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            match (first, hex) {
                (b'%', Some(hex)) => {
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &after[2..];
                }
                (b'+', _) => {
                    bytes.push(b' ');
                    rest = after;
                }
                _ => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// What a person would say the rules mean.
fn expected(target: &str, query: &str, policy: &QueryPolicy) -> Vec<(String, String)> {
    let own = parameters(target);
    let mut passed = parameters(query);
    passed.retain(|(name, _)| match &policy.forward {
        Forward::None => false,
        Forward::All => name != "via",
        Forward::Only(names) => name != "via" && names.iter().any(|known| known == name),
    });
    let has = |side: &[(String, String)], name: &str| side.iter().any(|(other, _)| other == name);
    let mut all = Vec::new();
    for pair in &own {
        if !(policy.visitor_wins && has(&passed, &pair.0)) {
            all.push(pair.clone());
        }
    }
    for pair in &passed {
        if policy.visitor_wins || !has(&own, &pair.0) {
            all.push(pair.clone());
        }
    }
    all
}

fn policies() -> impl Strategy<Value = QueryPolicy> {
    let forward = prop_oneof![
        Just(String::new()),
        Just("*".to_owned()),
        "(a|b|c|ab|via|x)(,(a|b|c|utm_source)){0,3}",
    ];
    (forward, any::<bool>()).prop_map(|(forward, visitor_wins)| policy(&forward, visitor_wins))
}

/// Few names, so that they meet; spelled in several ways, among what has no business there.
const QUERY: &str = "((a|b|c|ab|via|x|%61|%76ia|%4|%zz|a%00|%C3%A9|\u{e9}|\\PC{0,3})(=([a-c=?/#%+]|%[0-9a-fA-F]{2}|\\PC|[\u{0}-\u{20}\"<>'\u{7f}]){0,4})?&{0,2}){0,8}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_query_of_any_visitor_only_adds_what_the_policy_says(
        target in "https?://(e\\.test|b\u{fc}cher\\.example:8443|[a-z]{1,9}\\.test)(/[ -~\u{e9}]{0,12})?",
        own in proptest::option::of(QUERY), fragment in proptest::option::of("[ -~]{0,9}"),
        query in QUERY, policy in policies(),
    ) {
        let raw = format!("{target}{}{}",
            own.map(|own| format!("?{}", own.replace(char::is_control, ""))).unwrap_or_default(),
            fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default());
        let Ok(target) = TargetUrl::parse(&raw, &TargetPolicy::default()) else { return Ok(()) };
        let sent = sent(target.as_str(), &query, &policy);

        prop_assert!(sent.bytes().all(|b| b.is_ascii_graphic()), "{sent}");
        let (before, after) = (Url::parse(target.as_str()).unwrap(), Url::parse(&sent).unwrap());
        prop_assert_eq!(after.as_str(), &sent, "a parser reads it as it is written");
        let rest = |url: &Url| {
            let mut url = url.clone();
            url.set_query(None);
            url
        };
        prop_assert_eq!(rest(&before), rest(&after));
        prop_assert_eq!(
            parameters(after.query().unwrap_or_default()),
            expected(before.query().unwrap_or_default(), &query, &policy)
        );
    }

    #[test]
    fn no_url_is_longer_than_a_target_may_be(
        pad in 0_usize..9000, part in "[a-c]|\u{e9}", n in 0_usize..9000, policy in policies(),
    ) {
        let target = format!("https://e.test/{}", "p".repeat(pad.min(TargetUrl::MAX_LEN - 15)));
        let sent = sent(&target, &format!("a={}", part.repeat(n)), &policy);
        prop_assert!(sent.len() <= TargetUrl::MAX_LEN);
        prop_assert!(sent.starts_with(&target));
    }
}
