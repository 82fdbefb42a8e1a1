//! Statistics and raw clicks, as clients see them.

use super::*;
use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Code, RouteRecord};
use insta::assert_snapshot;

/// 2026-01-01T00:00:00Z
const NOW_S: u32 = 1_767_225_600;
const HOSTILE: [&str; 4] = ["=HYPERLINK(\"http://x\")", "a,\"b\"\r\n", "@SUM(1)", "<script>"];

struct Clicks {
    builder: BatchBuilder,
    record: RouteRecord,
    test: Test,
}

impl Clicks {
    async fn new() -> Self {
        let test = Test::new().await;
        test.post("/api/v1/links", r#"{"url":"https://example.com/","code":"a"}"#).await;
        let domain = test.app.domains()[0].id;
        let record = test.app.resolve(domain, &Code::parse("a").unwrap()).await.unwrap().unwrap();
        Self { builder: BatchBuilder::new(), record, test }
    }

    fn push(&mut self, at_s: u32, kind: Kind, visitor: u64, country: &str, referrer: &str) {
        self.builder.push(&Click {
            workspace: self.record.workspace,
            link: self.record.link,
            domain: self.test.app.domains()[0].id,
            at_s,
            n: 1,
            kind,
            via: Via::Qr,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor,
            privacy: Privacy { do_not_track: true, global_privacy_control: false },
            channel: Channel::Mail,
            device: Device::Mobile,
            details: Details::of(&[(Detail::Country, country), (Detail::Referrer, referrer)]),
        });
    }

    async fn store(mut self) -> (Test, String) {
        let file = self.builder.finish(NOW, &[]);
        let token = Token::new(1, 1, 1, file.rows, file.crc);
        self.test.app.store_batch(&token, &file.bytes).await.unwrap();
        (self.test, format!("/api/v1/links/{}", self.record.link))
    }
}

async fn some() -> (Test, String) {
    let mut clicks = Clicks::new().await;
    clicks.push(NOW_S - 86_400, Kind::Human, 3, "IN", "news.example");
    clicks.push(NOW_S - 7200, Kind::Human, 1, "DE", "news.example");
    clicks.push(NOW_S - 3600, Kind::Human, 1, "DE", "");
    clicks.push(NOW_S - 1800, Kind::Human, 2, "FR", "");
    clicks.push(NOW_S - 1800, Kind::Bot, 9, "US", "");
    clicks.store().await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one answer, whole")]
async fn a_report_answers_what_it_was_asked() {
    let (test, link) = some().await;
    // 18:30 to 24:00 UTC is the next day in India.
    let query = "?from=2026-01-01&to=2026-01-01&tz=Asia/Kolkata&interval=day&by=country,domain\
                 &compare=previous";
    assert_snapshot!(test.get(&format!("{link}/stats{query}")).await.shown(), @r##"
200 OK
content-type: application/json

{
  "compare": {
    "range": {
      "from": "2025-12-31T00:00:00+05:30",
      "interval": "day",
      "to": "2026-01-01T00:00:00+05:30",
      "tz": "Asia/Kolkata"
    },
    "series": [
      {
        "at": "2025-12-31T00:00:00+05:30",
        "bots": 0,
        "clicks": 1,
        "visitors": 1
      }
    ],
    "totals": {
      "bots": 0,
      "clicks": 1,
      "heads": 0,
      "prefetches": 0,
      "previews": 0,
      "visitors": 1
    }
  },
  "detail_since": null,
  "last_click_at": "2025-12-31T23:30:00Z",
  "link_id": "3706140701492208904",
  "range": {
    "from": "2026-01-01T00:00:00+05:30",
    "interval": "day",
    "to": "2026-01-02T00:00:00+05:30",
    "tz": "Asia/Kolkata"
  },
  "series": [
    {
      "at": "2026-01-01T00:00:00+05:30",
      "bots": 1,
      "clicks": 3,
      "visitors": 2
    }
  ],
  "top": {
    "country": [
      {
        "clicks": 2,
        "value": "DE",
        "visitors": 1
      },
      {
        "clicks": 1,
        "value": "FR",
        "visitors": 1
      }
    ],
    "domain": [
      {
        "clicks": 3,
        "value": "go.example",
        "visitors": 2
      }
    ]
  },
  "totals": {
    "bots": 1,
    "clicks": 3,
    "heads": 0,
    "prefetches": 0,
    "previews": 0,
    "visitors": 2
  }
}
"##);
}

#[tokio::test]
async fn filters_hold_for_totals_and_series() {
    let (test, _) = some().await;
    let query = "?from=2025-12-31T22:00:00Z&to=2026-01-01T00:00:00Z&interval=hour\
                 &filter=country==DE;referrer!@news";
    let stats = test.get(&format!("/api/v1/stats{query}")).await.json();
    let series = r#"[{"at":"2025-12-31T22:00:00+00:00","bots":0,"clicks":0,"visitors":0},{"at":"2025-12-31T23:00:00+00:00","bots":0,"clicks":1,"visitors":1}]"#;
    assert_eq!(stats["series"].to_string(), series);
    let stats = test.get("/api/v1/stats").await.json();
    assert_eq!(stats["series"].as_array().unwrap().len(), 30);
    assert_eq!(stats["links"], 1);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_by_name() {
    let (test, link) = some().await;
    for (query, start) in [
        ("from=2026-01-02&to=2026-01-01", "from must be before to"),
        ("from=soon", "from is not a time"),
        ("tz=Mars/Base", "tz is not a time zone"),
        ("interval=minute", "interval minute gives more than 1000 buckets"),
        ("interval=second", "cannot read the query: "),
        ("by=planet", "by: the dimensions are referrer, "),
        ("by=country,country", "by has at most"),
        ("limit=0", "limit is from 1 to 100"),
        ("filter=country", "filter: \"country\" is not a condition"),
        ("filter=domain==evil.example", "filter: \"evil.example\" is not a value of domain"),
        ("from=1970-01-01&to=1970-01-02&compare=previous", "compare: the other period"),
        ("table=series", "table is for format=csv"),
        ("format=csv&table=top.city", "table is totals, series, or"),
        ("since=1", "cannot read the query: "),
        ("domain=evil.example", "domain names none"),
    ] {
        for path in [format!("{link}/stats?{query}"), format!("/api/v1/stats?{query}")] {
            let answer = test.get(&path).await;
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {detail}");
            assert!(detail.starts_with(start), "{path}: {detail}");
        }
    }
    assert_eq!(test.get("/api/v1/links/1/stats").await.status, StatusCode::NOT_FOUND);
    assert_eq!(test.get("/api/v1/links/1/clicks").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn hostile_names_come_out_as_data() {
    let mut clicks = Clicks::new().await;
    for (n, name) in (0..).zip(HOSTILE) {
        for _ in n..4 {
            clicks.push(NOW_S + n, Kind::Human, 1, "DE", name);
        }
    }
    let (test, link) = clicks.store().await;
    let json = test.get(&format!("{link}/stats?by=referrer")).await.json();
    let values: Vec<&str> = json["top"]["referrer"]
        .as_array()
        .unwrap()
        .iter()
        .map(|top| top["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, HOSTILE);
    let csv = format!("{link}/stats?by=referrer&format=csv&table=top.referrer");
    let answer = test.get(&csv).await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(
        answer.body,
        "referrer,clicks,visitors\r\n\"'=HYPERLINK(\"\"http://x\"\")\",4,1\r\n\
         \"a,\"\"b\"\"\r\n\",3,1\r\n'@SUM(1),2,1\r\n<script>,1,1\r\n"
    );
    // Names in a filter are data as well.
    let filter = "filter=referrer==a%252C%2522b%2522%250D%250A,%27)%20or%201=1";
    let json = test.get(&format!("{link}/stats?{filter}")).await.json();
    assert_eq!(json["totals"]["clicks"], 3);
    let csv = test.get(&format!("{link}/stats?format=csv&table=totals&from=2026-01-01")).await;
    let totals = "from,to,clicks,visitors,bots,previews,prefetches,heads\r\n\
                  2026-01-01T00:00:00+00:00,2026-01-01T00:15:00+00:00,10,1,0,0,0,0\r\n";
    assert_eq!(csv.body, totals);
}

#[tokio::test]
async fn raw_clicks_come_page_by_page() {
    let (test, link) = some().await;
    assert_snapshot!(test.get(&format!("{link}/clicks?limit=1")).await.shown(), @r##"
200 OK
content-type: application/json

{
  "data": [
    {
      "at": "2025-12-31T00:00:00Z",
      "browser": null,
      "browser_version": null,
      "channel": "mail",
      "city": null,
      "country": "IN",
      "device": "mobile",
      "do_not_track": true,
      "domain": "go.example",
      "global_privacy_control": false,
      "kind": "human",
      "language": null,
      "n": 1,
      "os": null,
      "os_version": null,
      "referrer": "news.example",
      "referrer_path": null,
      "region": null,
      "status": 302,
      "target_revision": 1,
      "utm_campaign": null,
      "utm_content": null,
      "utm_medium": null,
      "utm_source": null,
      "utm_term": null,
      "variant": 0,
      "via": "qr",
      "visitor": "0000000000000003"
    }
  ],
  "next_cursor": "000000006954678000000000000400008e1e5284b3346f5c593f4c33087bc029"
}
"##);
    let mut path = format!("{link}/clicks?limit=2&from=2025-12-31&format=csv");
    let mut lines = Vec::new();
    loop {
        let page = test.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        lines.extend(page.body.lines().skip(1).map(str::to_owned));
        let Some(next) = page.headers.get("link") else { break };
        let next = next.to_str().unwrap();
        path = next.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    let times: Vec<&str> = lines.iter().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(
        times,
        [
            "2025-12-31T00:00:00Z", "2025-12-31T22:00:00Z", "2025-12-31T23:00:00Z",
            "2025-12-31T23:30:00Z", "2025-12-31T23:30:00Z",
        ]
    );
    // A cursor is for its own list.
    let cursor = path.rsplit_once("cursor=").unwrap().1;
    let other = test.get(&format!("{link}/clicks?cursor={cursor}")).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn erased_clicks_are_gone_from_every_answer() {
    let (test, link) = some().await;
    let erased = test.call(Method::DELETE, &format!("{link}/clicks"), "").await;
    assert_eq!((erased.status, erased.body.as_str()), (StatusCode::NO_CONTENT, ""));
    let log = test.get("/api/v1/audit?action=clicks.erase").await.json();
    let noted = &log["data"][0];
    let object = format!("link:{}", link.rsplit_once('/').unwrap().1);
    assert_eq!((&noted["object"], noted["key_id"].is_string()), (&object.into(), true), "{log}");
    for path in [format!("{link}/stats?by=country"), "/api/v1/stats?by=country".into()] {
        let stats = test.get(&path).await.json();
        assert_eq!(stats["totals"]["clicks"], 0);
        assert_eq!(stats["totals"]["bots"], 0);
        assert_eq!(stats["top"]["country"].as_array().unwrap().len(), 0);
        assert!(stats["last_click_at"].is_null());
    }
    let clicks = test.get(&format!("{link}/clicks")).await.json();
    assert_eq!(clicks["data"].as_array().unwrap().len(), 0);
    assert_eq!(test.get(&link).await.status, StatusCode::OK);
}

/// A tag is the links that have it now, whatever case it is written in.
#[tokio::test]
async fn a_tag_and_a_domain_narrow_a_report() {
    let mut clicks = Clicks::new().await;
    clicks.push(NOW_S - 3600, Kind::Human, 1, "DE", "");
    let other = clicks.test.post("/api/v1/links", r#"{"url":"https://x.example/","code":"b"}"#);
    let other = other.await.json()["id"].as_str().unwrap().to_owned();
    let first = clicks.record.link;
    clicks.record.link = other.parse().unwrap();
    clicks.push(NOW_S - 3600, Kind::Human, 2, "FR", "");
    clicks.push(NOW_S - 1800, Kind::Human, 3, "FR", "");
    clicks.record.link = first;
    let (test, link) = clicks.store().await;
    let path = format!("/api/v1/links/{other}");
    let tagged = test.call(Method::PATCH, &path, r#"{"tags":["Été"]}"#).await;
    assert_eq!(tagged.status, 200, "{}", tagged.body);
    for (query, links, clicks) in [
        ("", Some(2), 3),
        ("?tag=%C3%A9t%C3%A9", Some(1), 2),
        ("?tag=%C3%89T%C3%89&filter=country==FR&by=link", Some(1), 2),
        ("?tag=none", Some(0), 0),
        ("?domain=GO.example", None, 3),
        ("?tag=%C3%A9t%C3%A9&domain=go.example&compare=previous", Some(1), 2),
    ] {
        let stats = test.get(&format!("/api/v1/stats{query}")).await.json();
        assert_eq!(stats["totals"]["clicks"], clicks, "{query}: {stats}");
        assert_eq!(stats["links"].as_u64(), links, "{query}");
    }
    for (path, start) in [
        (format!("{link}/stats?tag=a"), "tag is not for"),
        ("/api/v1/stats?tag=".into(), "tag: a tag has 1 to 50"),
    ] {
        let answer = test.get(&path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(start), "{}", answer.body);
    }
}
