//! The links of a comparison and who asks for them: the same for every server, by the same seed.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::population::{Rng, Zipf};

/// Bytes of a code.
pub(crate) const CODE: usize = 7;
/// nginx compares the keys of a map without regard to case, so no two codes may differ only in that.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";
/// With the ten digits of a link's number a target has 60 bytes.
const TARGET: &[u8] = b"https://www.example.com/articles/made-up-for-load-";
/// What is drawn ahead for each round; the requests of a longer one come from its beginning again.
const DRAWS: usize = 1 << 17;
/// One request in so many of a mixed load is for a code that does not exist.
const MISS_EVERY: usize = 10;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub(crate) code: [u8; CODE],
    /// The number of the link, which its target shows; `None` if the code does not exist.
    pub(crate) link: Option<u32>,
}

impl Draw {
    /// Whether this is where the request has to lead.
    pub(crate) fn is_target(&self, location: &[u8]) -> bool {
        let digits = location.strip_prefix(TARGET).filter(|digits| digits.len() == 10);
        let number = digits.and_then(|digits| {
            // Ten digits are more than `number` takes; the first is 0 for as many links as fit.
            digits.strip_prefix(b"0").and_then(super::answer::number)
        });
        number.zip(self.link).is_some_and(|(number, link)| number == link as usize)
    }
}

/// Codes that lead somewhere, by rank, and as many that do not.
pub(crate) struct Links {
    known: Vec<[u8; CODE]>,
    absent: Vec<[u8; CODE]>,
    zipf: Zipf,
}

/// The draws of one round.
pub(crate) struct Draws {
    pub(crate) hits: Vec<Draw>,
    pub(crate) misses: Vec<Draw>,
    pub(crate) mixed: Vec<Draw>,
}

/// The files that servers read the links from.
pub(crate) struct LinkFiles {
    /// CSV, for `carom import`.
    pub(crate) csv: PathBuf,
    /// For nginx's `map`.
    pub(crate) nginx: PathBuf,
    /// For `HAProxy`'s `map_str`.
    pub(crate) haproxy: PathBuf,
}

impl Links {
    pub(crate) fn draw(count: usize, zipf: f64, rng: &mut Rng) -> Self {
        let mut seen = HashSet::with_capacity(2 * count);
        let mut codes = Vec::with_capacity(2 * count);
        while codes.len() < 2 * count {
            let random = rng.next_u64().to_le_bytes();
            let code: [u8; CODE] =
                std::array::from_fn(|place| ALPHABET[usize::from(random[place]) % ALPHABET.len()]);
            if seen.insert(code) {
                codes.push(code);
            }
        }
        let absent = codes.split_off(count);
        Self { known: codes, absent, zipf: Zipf::new(count, zipf) }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    fn hit(&self, rank: usize) -> Draw {
        let link = u32::try_from(rank).expect("a rank among links that are in memory");
        Draw { code: self.known[rank], link: Some(link) }
    }

    /// Each link once, in an order that is neither that of the files nor that of their ranks.
    pub(crate) fn each_once(&self, rng: &mut Rng) -> Vec<Draw> {
        let mut draws: Vec<_> = (0..self.len()).map(|rank| self.hit(rank)).collect();
        rng.shuffle(&mut draws);
        draws
    }

    pub(crate) fn round(&self, rng: &mut Rng) -> Draws {
        let hits: Vec<_> = (0..DRAWS).map(|_| self.hit(self.zipf.draw(rng))).collect();
        let absent = |rng: &mut Rng| self.absent[rng.below(self.absent.len())];
        let misses: Vec<_> = (0..DRAWS).map(|_| Draw { code: absent(rng), link: None }).collect();
        let mix = |(hit, miss): (&Draw, &Draw)| {
            if rng.below(MISS_EVERY) == 0 { *miss } else { *hit }
        };
        let mixed = hits.iter().zip(&misses).map(mix).collect();
        Draws { hits, misses, mixed }
    }

    /// Writes the links for each server, in one order.
    pub(crate) fn write(&self, folder: &Path, rng: &mut Rng) -> Result<LinkFiles, Failure> {
        let links = self.each_once(rng);
        let write = |name: &str, head: &str, line: fn(&mut String, &str, &str)| {
            let path = folder.join(name);
            write_file(&path, head, &links, line)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            Ok(path)
        };
        Ok(LinkFiles {
            csv: write("links.csv", "code,url\n", |text, code, url| {
                writeln!(text, "{code},{url}").expect("a string takes what it is given");
            })?,
            nginx: write("nginx.map", "", |text, code, url| {
                writeln!(text, "/{code} {url};").expect("a string takes what it is given");
            })?,
            haproxy: write("haproxy.map", "", |text, code, url| {
                writeln!(text, "/{code} {url}").expect("a string takes what it is given");
            })?,
        })
    }
}

fn write_file(
    path: &Path,
    head: &str,
    links: &[Draw],
    line: fn(&mut String, &str, &str),
) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(head.as_bytes())?;
    let (mut url, mut text) = (String::new(), String::new());
    for link in links {
        url.clear();
        text.clear();
        url.push_str(&String::from_utf8_lossy(TARGET));
        write!(url, "{:010}", link.link.unwrap_or_default()).map_err(std::io::Error::other)?;
        line(&mut text, &String::from_utf8_lossy(&link.code), &url);
        file.write_all(text.as_bytes())?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_servers_get_the_same_links_and_are_asked_for_them() {
        let mut rng = Rng::new(1);
        let links = Links::draw(100, 1.0, &mut rng);
        let folder = std::env::temp_dir().join(format!("carom-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = links.write(&folder, &mut rng).unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        let (csv, nginx) = (read(&files.csv), read(&files.nginx));
        let haproxy = read(&files.haproxy);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(csv.lines().count(), 101);
        let draws = links.round(&mut rng);
        for draw in draws.hits.iter().take(200) {
            let code = String::from_utf8(draw.code.to_vec()).unwrap();
            let found = |text: &str, start: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(start));
                line.unwrap().trim_end_matches(';').to_owned()
            };
            let url = found(&csv, &format!("{code},"));
            assert_eq!((url.len(), draw.is_target(url.as_bytes())), (60, true), "{url}");
            assert_eq!(found(&nginx, &format!("/{code} ")), url);
            assert_eq!(found(&haproxy, &format!("/{code} ")), url);
        }
        assert!(!draws.hits[0].is_target(b"https://www.example.com/"));
        let mut absent = draws.misses.iter().take(200);
        assert!(absent.all(|draw| !csv.contains(&*String::from_utf8_lossy(&draw.code))));
        let missed = draws.mixed.iter().filter(|draw| draw.link.is_none()).count();
        assert!((DRAWS / 12..DRAWS / 8).contains(&missed), "{missed}");
    }
}
