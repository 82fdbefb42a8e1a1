use super::*;
use crate::config::Origin;
use crate::domain::Domain;
use carom_shared::Host;
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

fn body(json: &str) -> KeyBody {
    serde_json::from_str(json).unwrap()
}

fn check(json: &str, maker: &Grant) -> Result<Grant, Vec<String>> {
    let limits = LimitsConfig::default();
    let workspace = WorkspaceId::try_from(7).unwrap();
    let of = |id, owner: Option<i64>| {
        let host = Host::parse(&format!("d{id}.example")).unwrap();
        let owner = owner.map(|owner| WorkspaceId::try_from(owner).unwrap());
        Domain::new(domain(id), host, owner, NOW)
    };
    let public_url = Origin::parse("public_url", "https://go.example").unwrap();
    let all = vec![of(1, None), of(2, Some(7)), of(3, None), of(4, Some(8))];
    let domains = Domains::new(all, public_url);
    let rules =
        KeyRules { now: NOW, limits: &limits, maker, workspace, domains: Arc::new(domains) };
    let checked = check_key(&body(json), &rules).map(|(_, grant)| grant);
    checked.map_err(|errors| errors.into_iter().map(|error| error.pointer).collect())
}

fn domain(id: i64) -> DomainId {
    DomainId::try_from(id).unwrap()
}

#[test]
fn a_key_lives_ninety_days_unless_it_says_otherwise() {
    let maker = Grant::of(Scopes::ALL);
    let grant = check(r#"{"name":"a","scopes":["links:read"]}"#, &maker).unwrap();
    let expected = Grant::of(Scopes::NONE.with(Scope::LinksRead));
    assert_eq!(grant, Grant { expires_at: Some(NOW.saturating_add(LIFE_DEFAULT)), ..expected });
}

#[test]
fn what_makes_no_sense_is_named() {
    let maker = Grant::of(Scopes::ALL);
    for (json, pointers) in [
        ("{}", vec!["#/name", "#/scopes"]),
        (r#"{"name":"a","scopes":[]}"#, vec!["#/scopes"]),
        (r#"{"name":"a","scopes":["*"]}"#, vec!["#/scopes"]),
        (r#"{"name":"a","scopes":["links:read"],"expires_at":null}"#, vec!["#/expires_at"]),
        (
            r#"{"name":"a","scopes":["links:read"],"expires_at":"2025-12-31T00:00:00Z"}"#,
            vec!["#/expires_at"],
        ),
        (
            r#"{"name":"a","scopes":["links:read"],"expires_at":"2027-02-01T00:00:00Z"}"#,
            vec!["#/expires_at"],
        ),
        (r#"{"name":"a","scopes":["links:read"],"domains":["4"]}"#, vec!["#/domains"]),
        (r#"{"name":"a","scopes":["links:read"],"addresses":["10.0.0.1/8"]}"#, vec!["#/addresses"]),
        (
            r#"{"name":" ","scopes":["a"],"rate_per_minute":0}"#,
            vec!["#/name", "#/scopes", "#/rate_per_minute"],
        ),
        (
            r#"{"name":"a","scopes":["links:read"],"rate_per_minute":601}"#,
            vec!["#/rate_per_minute"],
        ),
    ] {
        assert_eq!(check(json, &maker).unwrap_err(), pointers, "{json}");
    }
}

#[test]
fn nobody_hands_on_more_than_they_have() {
    let end = NOW.saturating_add(Duration::from_secs(3600));
    let maker = Grant {
        scopes: Scopes::NONE.with(Scope::LinksRead).with(Scope::KeysWrite),
        domains: vec![domain(1), domain(2)],
        addresses: vec!["10.0.0.0/8".parse().unwrap()],
        expires_at: Some(end),
        rate_per_minute: NonZeroU32::new(5),
    };
    let inherited = check(r#"{"name":"a","scopes":["links:read"]}"#, &maker).unwrap();
    let scopes = Scopes::NONE.with(Scope::LinksRead);
    assert_eq!(inherited, Grant { scopes, ..maker.clone() });
    for (more, pointer) in [
        (r#""domains":["3"]"#, "#/domains"),
        (r#""domains":[]"#, "#/domains"),
        (r#""addresses":null"#, "#/addresses"),
        (r#""expires_at":"2026-01-02T00:00:00Z""#, "#/expires_at"),
        (r#""rate_per_minute":6"#, "#/rate_per_minute"),
        (r#""rate_per_minute":null"#, "#/rate_per_minute"),
    ] {
        let json = format!(r#"{{"name":"a","scopes":["links:read"],{more}}}"#);
        assert_eq!(check(&json, &maker).unwrap_err(), [pointer], "{json}");
    }
    let json = r#"{"name":"a","scopes":["links:read","links:write"]}"#;
    assert_eq!(check(json, &maker).unwrap_err(), ["#/scopes"]);
}

fn grants() -> impl Strategy<Value = Grant> {
    let domains = proptest::collection::vec((1_i64..4).prop_map(domain), 0..3);
    let scopes = proptest::collection::vec(proptest::sample::select(Scope::ALL.to_vec()), 0..4);
    let ends = proptest::option::of((0_i64..3).prop_map(UnixMillis::new));
    let rates = proptest::option::of(1_u32..4);
    (scopes, domains, ends, rates).prop_map(|(scopes, domains, expires_at, rate)| Grant {
        scopes: scopes.into_iter().fold(Scopes::NONE, Scopes::with),
        domains,
        addresses: Vec::new(),
        expires_at,
        rate_per_minute: rate.and_then(NonZeroU32::new),
    })
}

proptest! {
    /// However a chain of makers goes, its end can do nothing that its beginning could not.
    #[test]
    fn being_within_is_handed_on(a in grants(), b in grants(), c in grants()) {
        prop_assert!(check_within(&a, &a).is_empty());
        if check_within(&c, &b).is_empty() && check_within(&b, &a).is_empty() {
            prop_assert!(check_within(&c, &a).is_empty());
            for domain in (1..4).map(domain).filter(|domain| c.allows_domain(*domain)) {
                prop_assert!(a.allows_domain(domain));
            }
        }
    }
}
