//! User agent → [`Agent`]: kind, device, browser and system; behind a cache, because working one
//! out costs a hundred times a look at what was worked out before.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use carom_shared::click::{Detail, Device, Kind};
use siphasher::sip::SipHasher13;

use super::browser::{Lists, Product};
use super::device;
use super::kind::Kinds;

/// What a user agent says. At most 112 bytes of text: two names and two versions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) kind: Kind,
    pub(super) device: Device,
    /// Whether its names were admitted: once they were, nobody has to ask again.
    pub(super) is_admitted: bool,
    /// Browser, its version, system, its version; one after the other, to be one allocation.
    texts: Box<str>,
    /// Where the first three end.
    ends: [u8; 3],
}

impl Agent {
    fn new(kind: Kind, device: Device, browser: &Product, system: &Product) -> Self {
        let mut texts = String::new();
        let mut end = |text: &str| {
            // Names are cut at 32 characters of up to 4 bytes; a text that would not fit is left
            // out whole.
            if texts.len() + text.len() <= usize::from(u8::MAX) {
                texts.push_str(text);
            }
            u8::try_from(texts.len()).unwrap_or(u8::MAX)
        };
        let ends = [end(&browser.name), end(&browser.version), end(&system.name)];
        end(&system.version);
        Self { kind, device, is_admitted: false, texts: texts.into(), ends }
    }

    /// What it is called; each empty if unknown.
    pub(super) fn names(&self) -> [(Detail, &str); 4] {
        [
            (Detail::Browser, self.browser()),
            (Detail::BrowserVersion, self.browser_version()),
            (Detail::Os, self.os()),
            (Detail::OsVersion, self.os_version()),
        ]
    }

    /// The text between two ends, which are between characters.
    fn text(&self, from: u8, to: usize) -> &str {
        self.texts.get(usize::from(from)..to).unwrap_or_default()
    }

    pub(super) fn browser(&self) -> &str {
        self.text(0, self.ends[0].into())
    }

    fn browser_version(&self) -> &str {
        self.text(self.ends[0], self.ends[1].into())
    }

    fn os(&self) -> &str {
        self.text(self.ends[1], self.ends[2].into())
    }

    fn os_version(&self) -> &str {
        self.text(self.ends[2], self.texts.len())
    }
}

/// Works agents out, and remembers them.
#[derive(Debug)]
pub(super) struct Agents {
    /// So that nobody can send user agents that collide.
    key: [u8; 16],
    /// Agents that were asked for lately, by the hash of their user agent. Two generations stand
    /// in for an order of use: what is asked for in the older one moves to the younger; once that
    /// has half of the limit, the older one is dropped.
    young: Generation,
    old: Generation,
    /// Agents of a generation, at most.
    half: usize,
}

/// Compiled when the first user agent comes: an edge without visitors does without their memory.
/// One for the process, because they cost more than all else here.
static LISTS: LazyLock<(Kinds, Lists)> = LazyLock::new(|| (Kinds::new(), Lists::load()));

type Generation = HashMap<u64, Agent, BuildHasherDefault<Hashed>>;

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Agents {
    /// `max`: how many agents are remembered, at most.
    pub(super) fn new(max: usize, key: [u8; 16]) -> Self {
        let (young, old) = Default::default();
        Self { key, young, old, half: max.div_ceil(2).max(1) }
    }

    /// What a user agent says, and whether it had to be worked out.
    pub(super) fn get(&mut self, user_agent: &[u8]) -> (&mut Agent, bool) {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(user_agent);
        let hash = hasher.finish();

        let mut is_new = false;
        if !self.young.contains_key(&hash) {
            let known = self.old.remove(&hash);
            is_new = known.is_none();
            let agent = known.unwrap_or_else(|| work_out(user_agent));
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(hash, agent);
        }
        (self.young.get_mut(&hash).expect("it is there or was just put there"), is_new)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

fn work_out(user_agent: &[u8]) -> Agent {
    let (kinds, lists) = &*LISTS;
    let kind = kinds.of(user_agent);
    let text = String::from_utf8_lossy(user_agent);
    let device = device::of(&text.to_lowercase());
    Agent::new(kind, device, &lists.browser(&text), &lists.system(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns: user agent; browser and its version, system and its version, by uap-core's own
    /// tests. Taken from its `tests/test_ua.yaml` and `tests/test_os.yaml`; Apache License 2.0.
    const CORPUS: &str = include_str!("corpus.tsv");

    fn agents(max: usize) -> Agents {
        Agents::new(max, [7; 16])
    }

    #[test]
    fn the_corpus_is_read_as_its_makers_say() {
        let mut agents = agents(10_000);
        let mut rows = 0;
        let mut wrong = Vec::new();
        for line in CORPUS.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.split('\t');
            let user_agent = columns.next().unwrap();
            let (agent, _) = agents.get(user_agent.as_bytes());
            for ((detail, found), expected) in agent.names().into_iter().zip(columns) {
                // `*`: the makers' tests do not say.
                if expected != "*" && found != expected {
                    wrong.push(format!("{user_agent}: {detail:?}: {found:?}, not {expected:?}"));
                }
            }
            rows += 1;
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(rows > 300, "{rows}");
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut agents = agents(8);
        let mut worked_out = |text: &str| agents.get(text.as_bytes()).1;
        assert!(worked_out("loved"));
        for round in 0..40 {
            assert!(worked_out(&format!("agent {round}")));
            assert!(!worked_out("loved"), "round {round}");
        }
        assert!(worked_out("agent 0"));
        assert!(agents.len() <= 8);
    }

    #[test]
    fn hostile_user_agents_come_out_bounded() {
        let mut agents = agents(64);
        let long_name = format!("{}/1 CFNetwork/1.0", "日".repeat(160));
        let markup = "<script>alert(1)</script>\0\r\n/9 CFNetwork/9";
        for user_agent in [&b"\xff\xfe\xfd"[..], b"\0", long_name.as_bytes(), markup.as_bytes()] {
            let (agent, _) = agents.get(user_agent);
            for (_, text) in agent.names() {
                assert!(text.chars().count() <= 32 && !text.chars().any(char::is_control));
            }
        }
    }
}
