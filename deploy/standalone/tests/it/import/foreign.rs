//! Exports of others, as they write them.

use serde_json::{Value, json};

use super::{counts, export, import};

const SHLINK: &str = "createdAt,domain,shortCode,shortUrl,longUrl,title,tags,visits\r\n\
    2024-03-05T09:10:11+01:00,,Summer-24,https://s.example/Summer-24,https://example.com/summer,\
    \"Summer, sun\",sale|2024,1523\r\n\
    2023-01-01T00:00:00+00:00,,x,https://s.example/x,https://example.com/x,,,0\r\n";
const SHLINK_IMPORTER: &str =
    "Long URL;Short code;Title;Tags\nhttps://example.com/a;abc;A;one,two\n";
const YOURLS: &str = "keyword,url,title,timestamp,ip,clicks\n\
    ozh,https://ozh.org/,Ozh,2011-07-04 12:13:14,203.0.113.9,42\n";
const YOURLS_PLUGIN: &str = "source,target,hits\n/ozh/,https://ozh.org/,42\n";
const KUTT: &str = r#"{"id":"3fa85f64-5717-4562-b3fc-2c963f66afa6","address":"kutt1","link":"https://kutt.it/kutt1","target":"https://example.com/k","description":"a note","domain":null,"banned":false,"password":false,"expire_in":"2031-02-03T04:05:06.000Z","visit_count":7,"created_at":"2022-05-06T07:08:09.123Z","updated_at":"2022-05-06T07:08:09.123Z"}
{"address":"locked","target":"https://example.com/l","password":true,"banned":false}
{"address":"evil","target":"https://example.com/e","banned":true,"visit_count":1}
"#;
const BITLY: &str = r#"{"created_at":"2021-09-10T11:12:13+0000","id":"bit.ly/3abc","link":"https://bit.ly/3abc","custom_bitlinks":["https://bit.ly/Spring-Sale"],"long_url":"https://example.com/spring","title":"Spring","archived":true,"tags":["q1","mail"],"deeplinks":[],"references":{"group":"https://api-ssl.bitly.com/v4/groups/Ba1"}}
"#;
const BITLY_CSV: &str = "Link,Long URL,Title,Created,Tags,Engagements\n\
    https://bit.ly/3abc,https://example.com/spring,Spring,2021-09-10,\"q1, mail\",88\n";
const DUB: &str = "Short link,Destination URL,Clicks,Leads,Conversions,Revenue,Created at,Tags,Archived\n\
    https://dub.sh/launch,https://example.com/l,301,5,1,20,2025-01-02T03:04:05.678Z,\"a,b\",false\n";
const CHHOTO: &str = r#"[{"shortlink":"ch","longlink":"https://example.com/c","hits":12,"expiry_time":0,"notes":"n"},
 {"shortlink":"ch2","longlink":"https://example.com/c2","hits":0,"expiry_time":1925000000,"notes":""}]"#;

/// What the first link of a file becomes, without what is as in any link.
fn first(text: &str, from: &str, args: &[&str], expected_counts: [u64; 5]) -> (Value, Value) {
    let dir = tempfile::tempdir().unwrap();
    let (report, _) = import(dir.path(), text.as_bytes(), args);
    assert_eq!(report["from"], from);
    assert_eq!(counts(&report), expected_counts, "{report}");
    let links = export(dir.path(), &["--format", "jsonl"]);
    let mut links: Vec<Value> =
        links.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // In the file's order, not in that of their times.
    links.sort_by_key(|link| text.find(link["url"].as_str().unwrap()));
    let link = links[0].as_object_mut().unwrap();
    for usual in ["id", "redirect_status", "max_age", "query"] {
        link.remove(usual).unwrap();
    }
    (links.remove(0), report)
}

#[test]
fn exports_of_others_are_recognised_and_kept() {
    let (link, _) = first(SHLINK, "Shlink", &[], [2, 2, 0, 0, 0]);
    let expected = json!({
        "code": "Summer-24", "url": "https://example.com/summer", "title": "Summer, sun",
        "tags": ["sale", "2024"], "state": "active", "archived": false,
        "created_at": "2024-03-05T08:10:11Z", "clicks": 1523,
    });
    assert_eq!(link, expected);
    let (link, _) = first(SHLINK_IMPORTER, "Shlink", &[], [1, 1, 0, 0, 0]);
    assert_eq!((&link["code"], &link["tags"]), (&json!("abc"), &json!(["one", "two"])));

    let (link, report) = first(YOURLS, "YOURLS", &[], [1, 1, 0, 0, 0]);
    let expected = json!({
        "code": "ozh", "url": "https://ozh.org/", "title": "Ozh", "state": "active",
        "archived": false, "created_at": "2011-07-04T12:13:14Z", "clicks": 42,
    });
    assert_eq!((link, &report["not_imported"]), (expected, &json!(["ip"])));
    let (link, _) = first(YOURLS_PLUGIN, "YOURLS", &[], [1, 1, 0, 0, 0]);
    assert_eq!((&link["code"], &link["clicks"]), (&json!("ozh"), &json!(42)));

    let (link, report) = first(KUTT, "Kutt", &[], [3, 2, 0, 0, 1]);
    let expected = json!({
        "code": "kutt1", "url": "https://example.com/k", "notes": "a note", "state": "active",
        "archived": false, "created_at": "2022-05-06T07:08:09.123Z",
        "expires_at": "2031-02-03T04:05:06Z", "clicks": 7,
    });
    assert_eq!(link, expected);
    assert_eq!(report["refusals"][0]["field"], "password");
}

#[test]
fn exports_of_services_come_with_a_host_that_is_to_be_named() {
    let default = ["--domain", "default"];
    let (link, report) = first(BITLY, "Bitly", &default, [1, 1, 0, 0, 0]);
    let expected = json!({
        "code": "Spring-Sale", "url": "https://example.com/spring", "title": "Spring",
        "tags": ["q1", "mail"], "state": "active", "archived": true,
        "created_at": "2021-09-10T11:12:13Z", "clicks": 0,
    });
    assert_eq!((link, &report["not_imported"]), (expected, &json!(["deeplinks"])));
    let (link, _) = first(BITLY_CSV, "Bitly", &default, [1, 1, 0, 0, 0]);
    assert_eq!((&link["code"], &link["clicks"]), (&json!("3abc"), &json!(88)));
    assert_eq!(
        (&link["tags"], &link["created_at"]),
        (&json!(["q1", "mail"]), &json!("2021-09-10T00:00:00Z"))
    );

    let (link, report) = first(DUB, "Dub", &default, [1, 1, 0, 0, 0]);
    let expected = json!({
        "code": "launch", "url": "https://example.com/l", "tags": ["a", "b"], "state": "active",
        "archived": false, "created_at": "2025-01-02T03:04:05.678Z", "clicks": 301,
    });
    assert_eq!(link, expected);
    assert_eq!(report["not_imported"], json!(["Leads", "Conversions", "Revenue"]));

    let (link, _) = first(CHHOTO, "Chhoto URL", &[], [2, 2, 0, 0, 0]);
    assert_eq!(
        (&link["code"], &link["clicks"], &link["notes"]),
        (&json!("ch"), &json!(12), &json!("n"))
    );
    assert!(link.get("expires_at").is_none());

    // Nobody's links are put on another host unasked.
    let dir = tempfile::tempdir().unwrap();
    let (report, _) = import(dir.path(), DUB.as_bytes(), &[]);
    let refusal = &report["refusals"][0];
    assert_eq!((counts(&report), &refusal["field"]), ([1, 0, 0, 0, 1], &json!("domain")));
}
