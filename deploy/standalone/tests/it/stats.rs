//! Reports in the terminal, and codes that do not exist, from a click to the answer.

use crate::support::{Server, exchange, stdout};

#[test]
fn a_report_is_printed_as_text_json_or_csv() {
    let server = Server::start();
    let key = server.key();
    let link = server.shorten(&key, "https://example.com/");
    let (code, url) = (link["code"].as_str().unwrap(), link["short_url"].as_str().unwrap());
    let hostile = "Referer: https://evil.example/\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; \
                   rv:130.0) Gecko/20100101 Firefox/130.0\r\n";
    let path = format!("GET /{code}?utm_source=%1b[2J%e2%80%ae HTTP/1.1\r\n{hostile}");
    for _ in 0..3 {
        exchange(server.ports.edge, &path, "");
    }
    server.wait_for_clicks(3);

    let text = stdout(&server.carom(&["stats", "--link", code, "--by", "referrer,utm_source"]));
    assert!(text.starts_with(&format!("{url}\n")), "{text}");
    // Not a terminal.
    assert!(text.is_ascii() && !text.contains('\u{1b}'), "{text}");
    let row = |value: &str| {
        let line = text.lines().find(|line| line.ends_with(value));
        line.unwrap_or_else(|| panic!("no {value} in {text}")).trim().to_owned()
    };
    assert_eq!(row("  evil.example"), "3  100.0 %         1  ####################  evil.example");
    assert!(text.contains("Clicks by day\n    4 +"), "{text}");

    let json = stdout(&server.carom(&["stats", "--link", url, "--json", "--by", "browser"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["top"]["browser"][0]["value"], "Firefox");
    assert_eq!(json["totals"]["clicks"], 3);
    let csv = stdout(&server.carom(&["stats", "--csv", "totals"]));
    assert!(csv.lines().nth(1).unwrap().ends_with(",3,1,0,0,0,0"), "{csv}");
    let all = stdout(&server.carom(&["stats", "--compare", "year", "--by", "link"]));
    assert!(all.starts_with("1 link\n") && all.contains(&format!("  {url}\n")), "{all}");

    for (args, said) in [
        (["stats", "--link", "nothing"], "there is no such link"),
        (["stats", "--tz", "Mars"], "tz is not a time zone"),
        (["stats", "--from", "today"], "from is not a time"),
    ] {
        let output = server.carom(&args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(said), "{text}");
    }
}

#[test]
fn codes_that_were_asked_for_are_known_after_a_stop() {
    let mut server = Server::start();
    let key = server.key();
    for code in ["poster", "poster", "typo"] {
        assert!(server.follow(code).starts_with("HTTP/1.1 404 "));
    }
    let dir = std::mem::replace(&mut server.dir, tempfile::tempdir().unwrap());
    server.stop();
    let server = Server::start_in(dir);
    let head = format!("GET /api/v1/missing HTTP/1.1\r\nAuthorization: Bearer {key}\r\n");
    let answer = exchange(server.ports.control, &head, "");
    let json: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let counts: Vec<_> = json["data"].as_array().unwrap().iter().map(|row| &row["count"]).collect();
    assert_eq!(
        (json["data"][0]["code"].as_str(), counts),
        (Some("poster"), vec![&2.into(), &1.into()])
    );
}
