//! Answers that are no redirect and no error: previews and the files that every host is asked for.

use carom_shared::{RouteRecord, RouteState};

use crate::client::{Client, Reply};
use crate::world::{NOW, World, metric, route};

const HOST: &str = "Host: go.example.com";

fn json(client: &mut Client, path: &str) -> Reply {
    client.ask(&[&format!("GET {path} HTTP/1.1"), HOST, "Accept: application/json"]);
    client.reply()
}

#[test]
fn a_preview_names_the_destination_and_is_no_click() {
    let world = World::with_link();
    let target = "https://xn--80ak6aa92e.com/?a=1&q='\"><script>alert(1)</script>#x";
    world.links.put("odd", route(1, target));
    let edge = world.start();
    let mut client = Client::connect(edge.address());

    let reply = client.get("/odd+?canary=%3Cb%3E");
    assert_eq!((reply.status, reply.header("location")), (200, None));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-robots-tag", "noindex, nofollow"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let shown = "https://xn--80ak6aa92e.com/?a=1&amp;q=&#39;&quot;&gt;&lt;script&gt;alert(1)\
                 &lt;/script&gt;#x";
    let link = format!("rel=\"noopener noreferrer nofollow ugc\" href=\"{shown}\">Continue</a>");
    assert!(reply.body.contains(&link), "{}", reply.body);
    assert!(reply.body.contains(&format!("<b>xn--80ak6aa92e.com</b>{shown}<p>")), "{}", reply.body);
    assert!(!reply.body.contains("<script") && !reply.body.contains("canary"), "{}", reply.body);

    let reply = json(&mut client, "/odd+");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.body, format!("{{\"url\":\"{}\"}}\n", target.replace('"', "\\\"")));

    client.ask(&["HEAD /abc+ HTTP/1.1", HOST]);
    assert_eq!(client.head_reply().status, 200);
    assert_eq!(client.get("/abc+").status, 200);
    assert_eq!(metric(&edge, "carom_edge_answers_total{status=\"preview\"}"), 4);
    assert_eq!(edge.stop().clicks_recorded, 0);
}

#[test]
fn a_link_that_leads_nowhere_has_its_own_error_page_as_preview() {
    let world = World::new();
    let state = |state| RouteRecord { state, ..route(1, "https://secret.test/") };
    let ended = RouteRecord { expires_at: Some(NOW), ..state(RouteState::Active) };
    let later = NOW.saturating_add(std::time::Duration::from_millis(1));
    for (code, record) in [
        ("deleted", RouteRecord { target: "".into(), ..state(RouteState::Deleted) }),
        ("disabled", state(RouteState::Disabled)),
        ("blocked", state(RouteState::Blocked)),
        ("early", RouteRecord { not_before: Some(later), ..state(RouteState::Active) }),
        ("ended", ended.clone()),
        ("over", RouteRecord { fallback: Some("https://over.test/".into()), ..ended }),
    ] {
        world.links.put(code, record);
    }
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (code, status) in [
        ("deleted", 410),
        ("disabled", 410),
        ("blocked", 451),
        ("early", 404),
        ("ended", 410),
        ("unknown", 404),
    ] {
        for ask in [|client: &mut Client, path: &str| client.get(path), json] {
            let link = ask(&mut client, &format!("/{code}"));
            let preview = ask(&mut client, &format!("/{code}+"));
            assert_eq!((preview.status, &preview.body), (status, &link.body), "{code}");
            assert!(!preview.body.contains("secret"), "{code}");
        }
    }
    // One that leads elsewhere since says where.
    let reply = json(&mut client, "/over+");
    assert_eq!((reply.status, &*reply.body), (200, "{\"url\":\"https://over.test/\"}\n"));

    world.links.set_down(true);
    assert_eq!(client.get("/elsewhere+").status, 503);
    assert_eq!(edge.stop().clicks_recorded, 0);
}

#[test]
fn every_host_has_its_files_and_no_home() {
    let world = World::new();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for host in [HOST, "Host: localhost"] {
        for (path, status, cache_control, body) in [
            ("/robots.txt", 200, "public, max-age=86400", "User-agent: *\nDisallow:\n"),
            ("/favicon.ico", 204, "public, max-age=604800", ""),
        ] {
            client.ask(&[&format!("GET {path} HTTP/1.1"), host]);
            let get = client.reply();
            assert_eq!((get.status, &*get.body), (status, body), "{path}");
            assert_eq!(get.header("cache-control"), Some(cache_control), "{path}");
            client.ask(&[&format!("HEAD {path} HTTP/1.1"), host]);
            let head = client.head_reply();
            assert_eq!(
                (head.status, head.header("content-type")),
                (status, get.header("content-type"))
            );
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
            client.ask(&[&format!("POST {path} HTTP/1.1"), host]);
            assert_eq!(client.reply().status, 405);
            client.ask(&[&format!("GET {path} HTTP/1.1"), "Host: evil.test"]);
            assert_eq!(client.reply().status, 421);
        }
        client.ask(&["GET / HTTP/1.1", host]);
        assert_eq!(client.reply().status, 404);
    }
    assert_eq!(world.links.asked(), 0, "nobody has to be asked for any of it");
    assert_eq!(metric(&edge, "carom_edge_answers_total{status=\"file\"}"), 8);
    assert_eq!(edge.stop().clicks_recorded, 0);
}
