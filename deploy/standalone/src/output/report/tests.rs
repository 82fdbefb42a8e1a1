use super::*;

const ANSWER: &str = r#"{
  "links": 1200,
  "range": {"from": "2026-01-01T00:00:00+01:00", "to": "2026-01-04T00:00:00+01:00",
            "tz": "Europe/Berlin", "interval": "day"},
  "totals": {"clicks": 1500, "visitors": 700, "bots": 3, "previews": 1, "prefetches": 2, "heads": 0},
  "series": [{"at": "2026-01-01T00:00:00+01:00", "clicks": 300, "visitors": 1, "bots": 0},
             {"at": "2026-01-02T00:00:00+01:00", "clicks": 1000, "visitors": 1, "bots": 0},
             {"at": "2026-01-03T00:00:00+01:00", "clicks": 200, "visitors": 1, "bots": 3}],
  "compare": {
    "range": {"from": "2025-12-29T00:00:00+01:00", "to": "2026-01-01T00:00:00+01:00",
              "tz": "Europe/Berlin", "interval": "day"},
    "totals": {"clicks": 1200, "visitors": 1000, "bots": 0, "previews": 2, "prefetches": 1, "heads": 0},
    "series": []},
  "top": {
    "referrer": [{"value": "", "clicks": 1200, "visitors": 600},
                 {"value": "evil.example\u001b[2J\u202e=cmd()", "clicks": 300, "visitors": 90},
                 {"value": "a-very-long-host-name-that-nobody-would-ever-type.example", "clicks": 1, "visitors": 1}],
    "link": [{"value": "5", "clicks": 1500, "visitors": 700}]},
  "last_click_at": null,
  "detail_since": null
}"#;

fn report() -> Report {
    serde_json::from_str(ANSWER).unwrap()
}

#[test]
fn a_report_is_drawn() {
    let links = BTreeMap::from([("5".to_owned(), "https://go.example/a".to_owned())]);
    let screen = Screen { width: 80, is_ascii: false };
    let text = report().text(&links, "link,referrer", &screen);
    let expected = "\
All 1,200 links
2026-01-01 00:00 to 2026-01-04 00:00, Europe/Berlin

      CLICKS    VISITORS        BOTS       OTHER
       1,500         700           3           3
       +25 %       -30 %         new           =
              compared with 2025-12-29 00:00 to 2026-01-01 00:00

Clicks by day
2,000 ┤
      │
      │
      │
1,000 ┤        ███████
      │        ███████
      │▁▁▁▁▁▁▁ ███████
      │███████ ███████ ▆▆▆▆▆▆▆
    0 └───────────────────────
       2026-01-01   2026-01-03

CLICKS    SHARE  VISITORS                        LINK
 1,500  100.0 %       700  ████████████████████  https://go.example/a

CLICKS    SHARE  VISITORS                        REFERRER
 1,200   80.0 %       600  ████████████████████  (none)
   300   20.0 %        90  █████                 evil.example?[2J?=cmd()
     1    0.1 %         1  ▏                     a-very-long-host-name-that-nob…
";
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn plain_output_is_ascii() {
    let screen = Screen { width: 60, is_ascii: true };
    let text = report().text(&BTreeMap::new(), "link,referrer", &screen);
    assert!(text.is_ascii() && text.contains("#####") && text.contains("  5\n"), "{text}");
}

#[test]
fn a_change_is_a_percentage() {
    for (now, before, said) in
        [(0, 0, "="), (5, 0, "new"), (0, 5, "-100 %"), (15, 10, "+50 %"), (1001, 1000, "=")]
    {
        assert_eq!(change(now, before), said);
    }
    assert_eq!((share(1, 3).as_str(), share(1, 0).as_str()), ("33.3 %", ""));
}
