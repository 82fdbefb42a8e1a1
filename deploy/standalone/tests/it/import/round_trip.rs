//! What is exported and imported elsewhere is exported there as the same bytes.

use carom_shared::{Random, SeededRandom};
use serde_json::{Value, json};

use super::{counts, export, import};

const LINKS: u64 = 300;

/// Pieces of texts that files of links get wrong.
const PIECES: &[&str] = &[
    "=", "+", "-", "@", "'", "''", "\"", ",", ";", "|", "\\", "\\|", "a", "B", " ", "é", "日本",
    "🦀", "1", "=cmd|' /C calc'!A0", "none", "all", "\u{feff}", "{", "[",
];
const LINE_ENDS: &[&str] = &["\n", "\r\n", "\t", "\r"];

struct Draw(SeededRandom);

impl Draw {
    fn below(&self, n: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % n
    }

    fn of<'a>(&self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    fn text(&self, has_lines: bool) -> String {
        let piece = |_| {
            if has_lines && self.below(4) == 0 { self.of(LINE_ENDS) } else { self.of(PIECES) }
        };
        (0..self.below(8)).map(piece).collect()
    }

    fn time(&self) -> String {
        let month = 1 + self.below(12);
        format!("20{:02}-{month:02}-03T04:05:06.{:03}Z", 10 + self.below(15), self.below(1000))
    }

    fn link(&self, n: u64) -> Value {
        // Some codes begin as a formula does.
        let code = format!("{}{n}", self.of(&["-", "_", "a", "A", ""]));
        let mut link = json!({
            "code": code,
            "url": format!("https://example.com/{n}?a=\"{}\"&b='", self.text(false)),
            "title": self.text(false),
            "notes": self.text(true),
            "redirect_status": 301 + (n % 2) + 6 * (n % 3 / 2),
            "max_age": self.below(301),
            "state": self.of(&["active", "disabled", "blocked"]),
            "archived": self.below(2) == 1,
            "created_at": self.time(),
            "clicks": self.below(1_000_000),
        });
        let members = link.as_object_mut().unwrap();
        let tags: Vec<String> =
            (0..self.below(4)).map(|tag| format!("{:.40}{tag}|", self.text(false))).collect();
        members.insert("tags".into(), json!(tags));
        let forward = match self.below(4) {
            0 => json!("all"),
            1 => json!(["all"]),
            2 => json!(["utm_source", "none"]),
            _ => json!("none"),
        };
        let prefer = self.of(&["target", "visitor"]);
        members.insert("query".into(), json!({ "forward": forward, "prefer": prefer }));
        for (name, value) in [
            ("not_before", "2009-01-01T00:00:00Z".to_owned()),
            ("expires_at", self.time()),
            ("fallback_url", format!("https://example.org/{n}")),
            ("deleted_at", "2025-06-07T08:09:10Z".to_owned()),
        ] {
            if self.below(3) == 0 {
                members.insert(name.into(), json!(value));
            }
        }
        link
    }
}

#[test]
fn an_export_comes_back_as_it_was() {
    for seed in 1..=3 {
        let draw = Draw(SeededRandom::new(seed));
        let lines: String = (0..LINKS).map(|n| format!("{}\n", draw.link(n))).collect();
        let [a, b, c] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let (report, _) = import(a.path(), lines.as_bytes(), &[]);
        assert_eq!(counts(&report), [LINKS, LINKS, 0, 0, 0], "{report}");
        let both = |dir: &std::path::Path| {
            ["csv", "jsonl"].map(|format| export(dir, &["--deleted", "--format", format]))
        };
        let [csv, jsonl] = both(a.path());
        assert!(csv.len() > 10_000 && jsonl.lines().count() as u64 == LINKS);
        for (dir, text) in [(&b, &csv), (&c, &jsonl)] {
            for made in [LINKS, 0] {
                let (report, _) = import(dir.path(), text.as_bytes(), &[]);
                assert_eq!(counts(&report), [LINKS, made, LINKS - made, 0, 0], "{report}");
            }
            assert_eq!(both(dir.path()), [csv.clone(), jsonl.clone()], "seed {seed}");
        }
    }
}
