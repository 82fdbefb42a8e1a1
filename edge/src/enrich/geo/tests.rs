use super::*;

/// Writes the bytes of a MaxMind DB, version 2.0 of the format: IPv6, records of 24 bits.
mod writer {
    use std::net::{IpAddr, Ipv6Addr};

    pub(super) enum Value {
        Text(&'static str),
        Short(u16),
        Number(u32),
        Long(u64),
        Map(Vec<(&'static str, Value)>),
        List(Vec<Value>),
    }

    impl Value {
        fn write(&self, out: &mut Vec<u8>) {
            match self {
                Self::Text(text) => {
                    head(2, text.len(), out);
                    out.extend(text.as_bytes());
                }
                Self::Short(number) => {
                    head(5, 2, out);
                    out.extend(number.to_be_bytes());
                }
                Self::Long(number) => {
                    head(9, 8, out);
                    out.extend(number.to_be_bytes());
                }
                Self::Number(number) => {
                    head(6, 4, out);
                    out.extend(number.to_be_bytes());
                }
                Self::Map(entries) => {
                    head(7, entries.len(), out);
                    for (key, value) in entries {
                        Self::Text(key).write(out);
                        value.write(out);
                    }
                }
                Self::List(values) => {
                    head(11, values.len(), out);
                    values.iter().for_each(|value| value.write(out));
                }
            }
        }
    }

    fn head(kind: u8, len: usize, out: &mut Vec<u8>) {
        let (bits, extra) = if len < 29 { (len, None) } else { (29, Some(len - 29)) };
        let (bits, extra) = (u8::try_from(bits).unwrap(), extra.map(|n| u8::try_from(n).unwrap()));
        if kind < 8 {
            out.push(kind << 5 | bits);
        } else {
            out.extend([bits, kind - 7]);
        }
        out.extend(extra);
    }

    fn bits(address: &str) -> (u128, u8) {
        let (address, len) = address.split_once('/').unwrap();
        let len: u8 = len.parse().unwrap();
        match address.parse().unwrap() {
            // `::a.b.c.d`, where readers of IPv6 databases look for IPv4.
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 96 + len),
            IpAddr::V6(v6) => (u128::from(Ipv6Addr::from(v6.octets())), len),
        }
    }

    pub(super) fn database(blocks: &[(&str, Value)]) -> Vec<u8> {
        const NONE: usize = usize::MAX;
        let mut data = Vec::new();
        // Each node's two sides: a node, or `DATA` and an offset into the data.
        const DATA: usize = 1 << 32;
        let mut nodes = vec![[NONE; 2]];
        for (block, value) in blocks {
            let (address, len) = bits(block);
            let mut node = 0;
            for depth in 0..len {
                let side = usize::from(address >> (127 - depth) & 1 == 1);
                if depth + 1 == len {
                    nodes[node][side] = DATA + data.len();
                } else if nodes[node][side] == NONE {
                    nodes[node][side] = nodes.len();
                    node = nodes.len();
                    nodes.push([NONE; 2]);
                } else {
                    node = nodes[node][side];
                }
            }
            value.write(&mut data);
        }
        let mut out = Vec::new();
        for side in nodes.iter().flatten() {
            let record = match *side {
                NONE => nodes.len(),
                data if data >= DATA => nodes.len() + 16 + data - DATA,
                node => node,
            };
            out.extend(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
        }
        out.extend([0; 16]);
        out.extend(data);
        out.extend(b"\xab\xcd\xefMaxMind.com");
        Value::Map(vec![
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1_767_225_600)),
            ("database_type", Value::Text("Test")),
            ("description", Value::Map(vec![])),
            ("ip_version", Value::Short(6)),
            ("languages", Value::List(vec![])),
            ("node_count", Value::Number(nodes.len().try_into().unwrap())),
            ("record_size", Value::Short(24)),
        ])
        .write(&mut out);
        out
    }
}

use writer::{Value, database};

fn nested() -> Vec<u8> {
    let names = |name| Value::Map(vec![("de", Value::Text("?")), ("en", Value::Text(name))]);
    let place = Value::Map(vec![
        ("city", Value::Map(vec![("geoname_id", Value::Number(1)), ("names", names("Munich"))])),
        ("country", Value::Map(vec![("iso_code", Value::Text("DE")), ("names", names("Germany"))])),
        ("location", Value::Map(vec![("accuracy_radius", Value::Number(5))])),
        (
            "subdivisions",
            Value::List(vec![
                Value::Map(vec![("iso_code", Value::Text("BY")), ("names", names("Bavaria"))]),
                Value::Map(vec![("iso_code", Value::Text("X"))]),
            ]),
        ),
    ]);
    let only = Value::Map(vec![("country", Value::Map(vec![("iso_code", Value::Text("AT"))]))]);
    database(&[("192.0.2.0/24", place), ("2001:db8:1::/48", only)])
}

fn flat() -> Vec<u8> {
    database(&[
        (
            "192.0.2.0/24",
            Value::Map(vec![
                ("city", Value::Text("Z\u{fc}rich")),
                ("country_code", Value::Text("ch")),
                ("latitude", Value::Number(47)),
                ("state1", Value::Text("Zurich")),
            ]),
        ),
        (
            "198.51.100.0/24",
            Value::Map(vec![("city", Value::Number(4)), ("country_code", Value::Text("<b>"))]),
        ),
        ("203.0.113.0/24", Value::Text("not a record")),
    ])
}

fn find(geo: &Geo, address: &str) -> [String; 3] {
    let mut place = Place { country: "left over".to_owned(), ..Place::default() };
    geo.find(address.parse().unwrap(), &mut place);
    [place.country, place.region, place.city]
}

fn assert_new(look: &Look) {
    assert!(matches!(look, Look::New), "{look:?}");
}

/// A folder with the file in it, and a reader of it.
fn geo(bytes: &[u8]) -> (tempfile::TempDir, Geo) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("places.mmdb");
    fs::write(&path, bytes).unwrap();
    (dir, Geo::new(path))
}

#[test]
fn both_schemas_are_read() {
    let (_dir, mut geo) = geo(&nested());
    assert_new(&geo.refresh(Instant::now()));
    assert_eq!(find(&geo, "192.0.2.7"), ["DE", "BY", "Munich"]);
    assert_eq!(find(&geo, "::ffff:192.0.2.7"), ["DE", "BY", "Munich"]);
    assert_eq!(find(&geo, "2001:db8:1::5"), ["AT", "", ""]);
    assert_eq!(find(&geo, "192.0.3.7"), ["", "", ""]);
    assert_eq!(find(&geo, "2001:db8:2::5"), ["", "", ""]);
}

#[test]
fn the_flat_schema_is_read_and_nonsense_is_unknown() {
    let (_dir, mut geo) = geo(&flat());
    assert_new(&geo.refresh(Instant::now()));
    assert_eq!(find(&geo, "192.0.2.7"), ["CH", "Zurich", "Zürich"]);
    assert_eq!(find(&geo, "198.51.100.1"), ["", "", ""]);
    assert_eq!(find(&geo, "203.0.113.1"), ["", "", ""]);
}

#[test]
fn a_new_file_is_taken_and_a_broken_one_changes_nothing() {
    let (_dir, mut geo) = geo(&nested());
    let begin = Instant::now();
    let later = |n: u32| begin + LOOK_EVERY * n;
    assert_new(&geo.refresh(begin));
    assert!(matches!(geo.refresh(later(1)), Look::Same));

    fs::write(&geo.path, flat()).unwrap();
    assert!(matches!(geo.refresh(later(1)), Look::Same), "not time yet");
    assert!(matches!(geo.refresh(later(2)), Look::New));
    assert_eq!(find(&geo, "192.0.2.7")[0], "CH");

    let whole = nested();
    for (n, broken) in [(3, &whole[..whole.len() / 2]), (4, &[][..])] {
        fs::write(&geo.path, broken).unwrap();
        assert!(matches!(geo.refresh(later(n)), Look::Broken(GeoError::Format(_))));
        assert_eq!(find(&geo, "192.0.2.7")[0], "CH");
    }
    assert!(matches!(geo.refresh(later(5)), Look::Same), "told once");
    fs::remove_file(&geo.path).unwrap();
    assert!(matches!(geo.refresh(later(6)), Look::Broken(GeoError::Io(_))));
    assert!(matches!(geo.refresh(later(7)), Look::Same), "told once");
    assert_eq!(find(&geo, "192.0.2.7")[0], "CH");

    fs::write(&geo.path, nested()).unwrap();
    assert!(matches!(geo.refresh(later(8)), Look::New));
    assert_eq!(find(&geo, "192.0.2.7")[0], "DE");
}

#[test]
fn damaged_files_never_break_a_look_up() {
    let whole = nested();
    let addresses = ["192.0.2.7", "2001:db8:1::5", "0.0.0.0", "255.255.255.255", "::"];
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] = !bytes[at];
        let Ok(reader) = Reader::from_source(bytes) else { continue };
        let geo = Geo { reader: Some(reader), ..Geo::new("x".into()) };
        for address in addresses {
            find(&geo, address);
        }
    }
}
