//! Finds known addresses among bytes: in memory, in files, as text and as the bytes of programs.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::population::Rng;

/// Bytes that are looked at at once.
const PIECE: usize = 1 << 20;
/// More than any form of an address takes: so many bytes of a piece are looked at again in the next.
const OVERLAP: usize = 64;

/// Addresses that nobody has: of networks for measurements (RFC 2544) and documentation (RFC 3849).
#[derive(Debug)]
pub(super) struct Known {
    pub(super) addresses: Vec<IpAddr>,
    texts: HashSet<Vec<u8>>,
    v4: HashSet<[u8; 4]>,
    v6: HashSet<[u8; 16]>,
}

/// How often addresses were found, by place and form.
pub(super) type Found = BTreeMap<String, u64>;

impl Known {
    /// `count` addresses of each kind.
    pub(super) fn draw(count: usize, rng: &mut Rng) -> Self {
        let (mut v4, mut v6) = (HashSet::new(), HashSet::new());
        while v4.len() < count {
            let [.., a, b] = rng.next_u64().to_be_bytes();
            v4.insert([198, 18, a, b]);
        }
        while v6.len() < count {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
            octets[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
            octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            v6.insert(octets);
        }
        let of_v4 = v4.iter().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets)));
        let of_v6 = v6.iter().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)));
        let addresses: Vec<_> = of_v4.chain(of_v6).collect();
        let texts = addresses.iter().map(|address| address.to_string().into_bytes()).collect();
        Self { addresses, texts, v4, v6 }
    }

    /// The form of a known address that begins at `at`.
    fn at(&self, bytes: &[u8], at: usize) -> Option<&'static str> {
        let rest = &bytes[at..];
        let run = |is_part: fn(&u8) -> bool| {
            rest.iter().take(OVERLAP - 1).position(|byte| !is_part(byte)).unwrap_or(rest.len())
        };
        match rest {
            [b'1', b'9', b'8', b'.', ..] => {
                let len = run(|byte| matches!(byte, b'0'..=b'9' | b'.'));
                self.texts.contains(&rest[..len]).then_some("text")
            }
            [b'2', b'0', b'0', b'1', b':', ..] => {
                let len = run(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b':'));
                self.texts.contains(&rest[..len]).then_some("text")
            }
            [0x20, 0x01, 0x0d, 0xb8, ..] => {
                rest.first_chunk().filter(|octets| self.v6.contains(*octets)).map(|_| "bytes")
            }
            // In the form of a record (mapped into IPv6), or of the standard library (behind a zero
            // that says IPv4); four bytes alone are too often chance.
            [198, 18, ..] => {
                let before = &bytes[..at];
                let is_address = before.ends_with(&[0, 0, 0xff, 0xff]) || before.ends_with(&[0]);
                let octets = rest.first_chunk().filter(|octets| self.v4.contains(*octets));
                octets.filter(|_| is_address).map(|_| "bytes")
            }
            _ => None,
        }
    }

    /// Looks through bytes; those within the first `seen` were looked at before.
    fn search(&self, bytes: &[u8], seen: usize, place: &str, found: &mut Found) {
        for at in seen..bytes.len().saturating_sub(OVERLAP) {
            if let Some(form) = self.at(bytes, at) {
                *found.entry(format!("{place}, {form}")).or_default() += 1;
            }
        }
    }

    /// Looks through `from..to` of a file. What cannot be read is left out.
    fn search_file(&self, file: &File, from: u64, to: u64, place: &str, found: &mut Found) {
        let mut piece = vec![0; PIECE + 4 * OVERLAP];
        let mut at = from;
        // A piece begins with the end of the one before; zeros follow the last.
        let mut held = 0;
        while at < to {
            let max = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
            let read = file.read_at(&mut piece[held..held + max], at).unwrap_or_default();
            if read == 0 {
                break;
            }
            at += read as u64;
            let end = held + read;
            if at >= to || read < max {
                piece[end..end + OVERLAP].fill(0);
                self.search(&piece[..end + OVERLAP], held.min(8), place, found);
                held = 0;
            } else {
                self.search(&piece[..end], held.min(8), place, found);
                // From where it was not looked, and what may stand before an address.
                let keep = end - OVERLAP - 8;
                piece.copy_within(keep..end, 0);
                held = end - keep;
            }
        }
    }

    /// Looks through all memory that a process may write to, and its read-only copies of files.
    pub(super) fn search_memory(&self, pid: u32) -> io::Result<Found> {
        let mut found = Found::new();
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let mut words = line.split_ascii_whitespace();
            let (range, flags) = (words.next().unwrap_or_default(), words.next());
            let name = words.nth(3).unwrap_or("anonymous memory");
            let place = match name.rsplit_once('/') {
                Some((_, name)) if name.ends_with(".seg") => "mapped ring segment".to_owned(),
                Some((_, name)) => format!("mapped {name}"),
                None => name.to_owned(),
            };
            let address = |text: &str| u64::from_str_radix(text, 16).ok();
            let range = range.split_once('-').and_then(|(a, b)| address(a).zip(address(b)));
            let is_readable = flags.is_some_and(|flags| flags.starts_with('r'));
            if let Some((from, to)) = range.filter(|_| is_readable && !name.starts_with("[v")) {
                self.search_file(&memory, from, to, &place, &mut found);
            }
        }
        Ok(found)
    }

    /// Looks through all files of a folder.
    pub(super) fn search_folder(&self, folder: &Path) -> io::Result<Found> {
        let mut found = Found::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let (entry, mut name) = entry.map(|entry| (entry.path(), String::new()))?;
                if entry.is_dir() {
                    folders.push(entry);
                    continue;
                }
                // Batches come and go; sockets are none.
                let Ok(file) = File::open(&entry) else { continue };
                let len = file.metadata()?.len();
                match entry.extension().and_then(|extension| extension.to_str()) {
                    Some("seg") => name.push_str("file of a ring segment"),
                    Some("clk") => name.push_str("file of a batch"),
                    _ => name = format!("file {}", entry.file_name().unwrap_or_default().display()),
                }
                self.search_file(&file, 0, len, &name, &mut found);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let known = Known::draw(4, &mut Rng::new(1));
        let folder = std::env::temp_dir().join(format!("carom-search-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for at in [16, 100, PIECE - 30, PIECE - 7, PIECE, 2 * PIECE - 70, 2 * PIECE - 3] {
            for address in &known.addresses {
                let mapped = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                for form in [address.to_string().into_bytes(), mapped.to_vec()] {
                    let mut bytes = vec![b'x'; 2 * PIECE + 100];
                    bytes[at..at + form.len()].copy_from_slice(&form);
                    fs::write(folder.join("a"), &bytes).unwrap();
                    let found = known.search_folder(&folder).unwrap();
                    assert_eq!(found.values().sum::<u64>(), 1, "{address} at {at}: {found:?}");
                }
            }
        }
        fs::write(folder.join("a"), b"198.18.1.2.3 2001:db8::1 \xff\xff\xc6\x12").unwrap();
        assert_eq!(known.search_folder(&folder).unwrap(), Found::new());
        fs::remove_dir_all(folder).unwrap();
    }
}
