use super::*;
use crate::config::Origin;
use crate::domain::Domain;

const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

fn check(body: &LinkBody) -> Result<CreateLink, Refusal> {
    let id = WorkspaceId::try_from(7).unwrap();
    let domain = |id, host: &str, workspace| Domain {
        id: DomainId::try_from(id).unwrap(),
        host: Host::parse(host).unwrap(),
        is_default: id == 1,
        workspace,
    };
    let other = WorkspaceId::try_from(8).unwrap();
    let domains = Domains::new(
        vec![domain(1, "go.example", None), domain(2, "other.example", Some(other))],
        Origin::parse("public_url", "https://go.example").unwrap(),
    );
    let policy =
        TargetPolicy { own_hosts: vec![Host::parse("go.example").unwrap()], ..Default::default() };
    let rules = Rules { domains: &domains, policy: &policy, now: NOW };
    check_create(body, id, ApiKeyId::try_from(9).unwrap(), rules)
}

fn body() -> LinkBody {
    LinkBody { url: Some("https://example.com/a b".into()), ..LinkBody::default() }
}

#[test]
fn what_is_left_out_has_defaults() {
    let command = check(&body()).unwrap();
    assert_eq!(command.target.as_str(), "https://example.com/a%20b");
    assert_eq!((command.domain.get(), command.code), (1, None));
    assert_eq!(command.redirect_status, RedirectStatus::Found);
    assert_eq!((command.not_before, command.expires_at), (None, None));
}

#[test]
fn each_field_is_judged() {
    let text = |text: &str| Some(text.to_owned());
    let cases: &[(LinkBody, &str, &str)] = &[
        (LinkBody { url: None, ..body() }, "#/url", "required"),
        (LinkBody { url: text("javascript:alert(1)"), ..body() }, "#/url", "target-not-http"),
        (
            LinkBody { url: text("https://a.example/\r\nX: y"), ..body() },
            "#/url",
            "target-control-character",
        ),
        (LinkBody { url: text("https://go.example/x"), ..body() }, "#/url", "target-own-host"),
        (
            LinkBody { url: text("http://169.254.169.254/"), ..body() },
            "#/url",
            "target-private-host",
        ),
        (LinkBody { code: text("../etc"), ..body() }, "#/code", "code-malformed"),
        (LinkBody { code: text(""), ..body() }, "#/code", "code-malformed"),
        (LinkBody { domain: text("other.example"), ..body() }, "#/domain", "domain-unknown"),
        (LinkBody { domain: text("a b"), ..body() }, "#/domain", "domain-unknown"),
        (LinkBody { title: Some("x".repeat(201)), ..body() }, "#/title", "too-long"),
        (LinkBody { title: text("a\0b"), ..body() }, "#/title", "control-character"),
        (LinkBody { redirect_status: Some(200), ..body() }, "#/redirect_status", "redirect-status"),
        (LinkBody { not_before: text("tomorrow"), ..body() }, "#/not_before", "time"),
        (LinkBody { not_before: text("1969-12-31T23:59:59Z"), ..body() }, "#/not_before", "time"),
        (LinkBody { expires_at: text("2026-01-02T00:00:00"), ..body() }, "#/expires_at", "time"),
        (
            LinkBody { expires_at: text("2026-01-01T00:00:00Z"), ..body() },
            "#/expires_at",
            "time-order",
        ),
        (
            LinkBody {
                not_before: text("2030-01-01T01:00:00+01:00"),
                expires_at: text("2030-01-01T00:00:00Z"),
                ..body()
            },
            "#/expires_at",
            "time-order",
        ),
    ];
    for (body, pointer, code) in cases {
        let Err(Refusal::Invalid(errors)) = check(body) else { panic!("accepted: {body:?}") };
        let found: Vec<_> = errors.iter().map(|e| (e.pointer.as_str(), e.code.as_str())).collect();
        assert_eq!(found, [(*pointer, *code)], "{body:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let body =
        LinkBody { code: Some("ä".into()), redirect_status: Some(1), ..LinkBody::default() };
    let Err(Refusal::Invalid(errors)) = check(&body) else { panic!("accepted") };
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["#/url", "#/code", "#/redirect_status"]);
}

#[test]
fn times_keep_their_milliseconds_whatever_their_zone() {
    let body = LinkBody { expires_at: Some("2030-01-01T05:45:00.123+05:45".into()), ..body() };
    let expected = Some(UnixMillis::new(1_893_456_000_123));
    assert_eq!(check(&body).unwrap().expires_at, expected);
}

#[test]
fn reserved_words_are_refused_in_any_case() {
    let body = LinkBody { code: Some("ADMIN".into()), ..body() };
    assert!(matches!(check(&body), Err(Refusal::Reserved(_))));
}
