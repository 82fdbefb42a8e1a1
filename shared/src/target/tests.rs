use proptest::prelude::*;
use url::ParseError;

use super::TargetError::*;
use super::*;

fn parse(raw: &str) -> Result<String, TargetError> {
    let own_hosts =
        ["go.example.com", "apple.com", "xn--bcher-kva.example", "203.0.113.9", "home.local"];
    let own_hosts = own_hosts.iter().map(|host| Host::parse(host).unwrap()).collect();
    let policy = TargetPolicy { own_hosts, ..TargetPolicy::default() };
    TargetUrl::parse(raw, &policy).map(|target| target.as_str().to_owned())
}

#[test]
fn accepted_targets_and_their_one_spelling() {
    for (raw, expected) in [
        ("https://example.com", "https://example.com/"),
        ("  https://example.com/a  ", "https://example.com/a"),
        ("\u{a0}https://example.com/\u{3000}", "https://example.com/"),
        ("HTTPS://Example.COM:443/A?b=C#d", "https://example.com/A?b=C#d"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("https://example.com./x", "https://example.com./x"),
        ("https://-a.com/", "https://-a.com/"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("https://evil.com\\@google.com", "https://evil.com/@google.com"),
        ("https://example.com/a b\u{202e}", "https://example.com/a%20b%E2%80%AE"),
        ("https://e.com/%0d%0aSet-Cookie:x", "https://e.com/%0d%0aSet-Cookie:x"),
        ("https://e.com/'|^`?'|^`", "https://e.com/'|^%60?%27|^`"),
        ("https://e.com/?u=http://127.0.0.1/", "https://e.com/?u=http://127.0.0.1/"),
        ("https://\u{ff47}\u{ff4f}\u{ff4f}gle.com/", "https://google.com/"),
        ("https://exam\u{ad}ple.com/", "https://example.com/"),
        ("https://münchen.example/ü", "https://xn--mnchen-3ya.example/%C3%BC"),
        ("https://пример.com/", "https://xn--e1afmkfd.com/"),
        ("https://日本tv.jp/", "https://xn--tv-5t7du0c.jp/"),
        ("https://i❤.ws/", "https://xn--i-7iq.ws/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://134744072/", "http://8.8.8.8/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("https://www.go.example.com/", "https://www.go.example.com/"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
    ] {
        let found = parse(raw).unwrap_or_else(|error| format!("{error:?}"));
        assert_eq!(found, expected, "{raw:?}");
    }
}

/// Each error and the texts that are it.
const REFUSED: &[(TargetError, &[&str])] = &[
    (
        Character,
        &[
            "ht\ntps://exa\tmple.com/a\r\nb", "https://example.com/\n", "https://e.com/\0",
            "https://e.com/\u{7f}", "https://e.com/\u{85}", "https://e.com/\u{2028}",
            "https://e.com/\u{2029}x", "java\nscript:alert(1)",
        ],
    ),
    (
        Scheme,
        &[
            "", "   ", "example.com", "//example.com/x", "/x", "http:example.com", "http:/e.com",
            "http:///e.com", "https:\\\\host\\x", "https://\\e.com", "https://", "JaVaScRiPt:x",
            "javascript://e.com/%0aalert(1)", "intent://scan/#Intent;end", "ftp://e.com/",
            "mailto:a@e.com", "data:text/html,x", "blob:https://e.com/x", "httpx://e.com/",
            "view-source:https://e.com/", "file:///etc/passwd",
        ],
    ),
    (
        Credentials,
        &[
            "https://google.com@evil.com/", "https://a:b@e.com/", "https://:b@e.com/",
            "https://example.com%2f@evil.com",
        ],
    ),
    (Port, &["http://example.com:0/", "https://8.8.8.8:00/"]),
    (HostName, &["https://.com/", "https://e..com/", "https://e.com../"]),
    (SingleLabel, &["http://intranet/", "http://ai./", "https://com", "http://notlocal/"]),
    (
        Private,
        &[
            "http://127.1/", "http://0x7f.1/", "http://2130706433/", "http://0177.0.0.1/",
            "http://①②⑦.⓪.⓪.①/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:8.8.8.8]/",
            "http://0.0.0.0/", "http://10.1.2.3/", "http://100.64.0.1/", "http://100.127.9.9/",
            "http://169.254.169.254/", "http://172.16.0.1/", "http://172.31.255.255/",
            "http://192.0.0.1/", "http://192.0.2.1/", "http://192.88.99.1/", "http://192.168.0.1/",
            "http://198.19.0.1/", "http://198.51.100.1/", "http://203.0.113.1/",
            "http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/", "http://[::]/",
            "http://[::1]/", "http://[fe80::1]/", "http://[fd00::1]/", "http://[ff02::1]/",
            "http://[2001::1]/", "http://[2001:db8::1]/", "http://[2002:7f00:1::]/",
            "http://[3fff:fff::1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::1]/",
            "http://localhost/", "http://localhost./", "http://LOCALHOST:3000/",
            "http://a.localhost/", "http://printer.local/", "http://db.internal/",
            "http://router.home.arpa/", "http://home.arpa/",
        ],
    ),
    (
        OwnHost,
        &[
            "https://go.example.com/x", "http://GO.example.com.:8080/", "https://bücher.example/",
            "http://203.0.113.9/", "http://home.local/",
        ],
    ),
    // One Cyrillic letter among Latin; Greek among Latin; Cyrillic among Greek.
    (MixedScript, &["https://аpple.com/", "https://gοogle.com/", "https://αб.com/"]),
    // All Cyrillic; rn for m is in the skeleton; digits for letters.
    (
        Confusable,
        &[
            "https://аррӏе.com/", "https://apple.corn/", "https://app1e.com/",
            "https://g0.example.com/", "https://go.exarnple.com/", "https://go.examp1e.com/",
        ],
    ),
    (
        Malformed(ParseError::IdnaError),
        &[
            "https://xn--example-.org/", "https://a\u{200d}b.com/", "https://a%00b.com/",
            "https://a b.com/", "https://a<b.com/",
        ],
    ),
    (Malformed(ParseError::InvalidPort), &["http://e.com:65536/", "http://e.com:x/"]),
    (Malformed(ParseError::InvalidIpv4Address), &["http://1.2.3.4.5/", "http://256.1.1.1/"]),
    (Malformed(ParseError::InvalidIpv6Address), &["http://[::1/", "http://[1]/"]),
];

#[test]
fn refused_targets() {
    for (expected, raws) in REFUSED {
        for raw in *raws {
            assert_eq!(parse(raw), Err(*expected), "{raw:?}");
        }
    }
    let long_label = format!("https://{}.com/", "x".repeat(64));
    let long_host = format!("https://{}com/", "abcdefg.".repeat(33));
    assert_eq!((parse(&long_label), parse(&long_host)), (Err(HostName), Err(HostName)));
}

#[test]
fn neighbours_of_special_blocks_are_public() {
    for address in [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.0.0.1",
        "128.0.0.1", "169.253.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.0", "192.88.98.1",
        "192.167.0.1", "198.17.0.1", "198.20.0.1", "198.51.99.1", "203.0.112.1", "223.255.255.255",
        "[2001:200::1]", "[2001:db9::1]", "[2003::1]", "[3fff:1000::1]", "[2000::1]", "[3ffe::1]",
    ] {
        assert!(parse(&format!("http://{address}/")).is_ok(), "{address}");
    }
}

#[test]
fn an_intranet_may_allow_private_hosts_but_no_loops() {
    let own_hosts = [Host::parse("go").unwrap()].into_iter().collect();
    let policy = TargetPolicy { allow_private: true, own_hosts, ..TargetPolicy::default() };
    for raw in ["http://wiki/", "http://10.0.0.1/", "http://localhost:3000/", "http://[::1]/"] {
        assert!(TargetUrl::parse(raw, &policy).is_ok(), "{raw}");
    }
    assert_eq!(TargetUrl::parse("http://go/x", &policy), Err(OwnHost));
    assert_eq!(TargetUrl::parse("http://g0/x", &policy), Err(Confusable));
}

#[test]
fn length_is_that_of_the_serialised_url() {
    let of_length = |len: usize| format!("https://e.com/{}", "x".repeat(len - 14));
    assert_eq!(parse(&of_length(2048)).map(|url| url.len()), Ok(2048));
    assert_eq!(parse(&of_length(2049)), Err(TooLong { max: 2048 }));
    // 700 characters of two bytes each are 4,200 as %C3%BC.
    assert_eq!(parse(&format!("https://e.com/{}", "ü".repeat(700))), Err(TooLong { max: 2048 }));
    assert_eq!(parse(&of_length(70_000)), Err(TooLong { max: 2048 }));
    let policy = TargetPolicy { max_len: usize::MAX, ..TargetPolicy::default() };
    let parse = |raw: &str| TargetUrl::parse(raw, &policy).map(|url| url.as_str().len());
    assert_eq!(parse(&of_length(8192)), Ok(TargetUrl::MAX_LEN));
    assert_eq!(parse(&of_length(8193)), Err(TooLong { max: TargetUrl::MAX_LEN }));
}

#[test]
fn hosts_are_in_normal_form() {
    let host = |raw| TargetUrl::parse(raw, &TargetPolicy::default()).unwrap().host().to_string();
    assert_eq!(host("https://WWW.Example.com.:8443/x"), "www.example.com");
    assert_eq!(host("https://bücher.example/"), "xn--bcher-kva.example");
    assert_eq!(host("http://[2606:4700:0::1]:80/"), "[2606:4700::1]");
}

#[test]
fn messages_are_one_sentence_and_codes_are_distinct() {
    let all = [
        Character,
        Scheme,
        Malformed(ParseError::InvalidPort),
        Credentials,
        Port,
        HostName,
        SingleLabel,
        Private,
        OwnHost,
        MixedScript,
        Confusable,
        TooLong { max: 1 },
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(TargetError::code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(codes.iter().all(|c| c.starts_with("target-") && c.is_ascii()));
    assert!(all.iter().all(|error| !error.to_string().contains('\n')));
}

proptest! {
    #[test]
    fn an_accepted_target_keeps_every_promise(
        raw in "\\PC{0,60}|(?i:https?)://\\PC{1,60}|https?://[a-zа-я0-9.:@\\[\\]-]{1,30}(/[ -~\u{0}-\u{ff}]{0,30})?",
        allow_private: bool,
    ) {
        let policy = TargetPolicy { allow_private, ..TargetPolicy::default() };
        if let Ok(target) = TargetUrl::parse(&raw, &policy) {
            let url = Url::parse(target.as_str()).unwrap();
            prop_assert!(matches!(url.scheme(), "http" | "https"));
            prop_assert!(url.username().is_empty() && url.password().is_none());
            prop_assert!(target.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(url.as_str(), target.as_str());
            prop_assert_eq!(TargetUrl::parse(target.as_str(), &policy), Ok(target));
        }
    }

    #[test]
    fn no_text_panics(raw: String) {
        let policy = TargetPolicy::default();
        prop_assert_eq!(TargetUrl::parse(&raw, &policy), TargetUrl::parse(&raw, &policy));
    }
}
