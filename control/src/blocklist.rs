//! Blocklists: hosts and addresses that no link may lead to, out of files that others keep.
//!
//! A line is a host, a hosts file's entry (`127.0.0.1 host`), or an address with a path, of which
//! everything under that path is meant. Text after `#` is a comment. A host stands for all names under
//! it. What is on a list is refused when a link is made or changed; links that are there already are
//! found when a list changes ([`task`]), and answer 451. So are links that lead to a host on which links
//! are served since they were made.
//!
//! In memory an entry is a hash of 64 bits, 8 bytes in all: a million entries are 8 MB. The hash is
//! keyed anew in each process, so nobody can make an address that is taken for another; that it happens
//! by chance has, with a million entries, a probability of 5e-14 for each address looked at.

mod lead;
mod store;
pub(crate) mod task;

use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;

use carom_shared::{Host, TargetPolicy, TargetUrl, UnixMillis};
use sha2::{Digest, Sha256};

use crate::http::problem::FieldError;

/// Parts of a path that are looked at, at most.
const SEGMENTS_MAX: usize = 16;

/// What one file says, as hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    hashes: Vec<u64>,
    /// SHA-256 of the file, which other processes know it by.
    digest: [u8; 32],
    /// Lines that are no entries.
    pub(crate) bad_lines: usize,
    pub(crate) has_paths: bool,
}

impl Entries {
    /// Reads a file. Lines that it does not understand are counted.
    pub(crate) fn parse(bytes: &[u8], key: &RandomState) -> Self {
        let mut entries = Self { digest: Sha256::digest(bytes).into(), ..Self::default() };
        for line in bytes.split(|&byte| byte == b'\n') {
            match std::str::from_utf8(line).map(|line| entries.read(line, key)) {
                Ok(true) => {}
                Ok(false) | Err(_) => entries.bad_lines += 1,
            }
        }
        entries.hashes.sort_unstable();
        entries.hashes.dedup();
        entries
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether the line is understood.
    fn read(&mut self, line: &str, key: &RandomState) -> bool {
        // A `#` within an address is a part of it.
        let begins = |before: &str| before.is_empty() || before.ends_with([' ', '\t']);
        let mut before = line.match_indices('#').filter_map(|(at, _)| line.get(..at));
        let line = before.find(|before| begins(before)).unwrap_or(line).trim();
        // Lists for browsers begin so.
        if line.is_empty() || line.starts_with(['!', '[']) && !line.contains(']') {
            return true;
        }
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let is_address = matches!(first, "0.0.0.0" | "127.0.0.1" | "::" | "::1");
        let names: Vec<&str> = words.collect();
        match (is_address, &*names) {
            (_, []) => self.add(first, key),
            (true, names) => names.iter().all(|name| self.add(name, key)),
            (false, _) => false,
        }
    }

    fn add(&mut self, entry: &str, key: &RandomState) -> bool {
        let scheme = ["https://", "http://"].into_iter().find(|scheme| entry.starts_with(scheme));
        let rest = entry.strip_prefix(scheme.unwrap_or_default()).unwrap_or(entry);
        let (host, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = host.trim_start_matches("*.").trim_start_matches('.');
        let Ok(host) = Host::parse(host) else { return false };
        // What is listed is one document of many that the path alone does not tell apart.
        if path.contains('?') {
            return true;
        }
        let path = path.split('#').next().unwrap_or_default().trim_end_matches('/');
        // A hosts file names its own machine, too; and nobody means all of `com`.
        if !host.as_str().contains('.') {
            return true;
        }
        self.has_paths |= !path.is_empty();
        self.hashes.push(key.hash_one((host.as_str(), path)));
        true
    }
}

/// What tells one reading of the files from another, on whatever machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Of all files; zeros where there are none.
    digest: [u8; 32],
    /// Of the newest file.
    changed_at: UnixMillis,
}

impl Reading {
    fn of<'e>(files: impl IntoIterator<Item = &'e Entries>, changed_at: UnixMillis) -> Self {
        // Which file is named first is no difference.
        let mut digests: Vec<&[u8; 32]> = files.into_iter().map(|file| &file.digest).collect();
        digests.sort_unstable();
        if digests.is_empty() {
            return Self::default();
        }
        let mut hash = Sha256::new();
        for digest in digests {
            hash.update(digest);
        }
        Self { digest: hash.finalize().into(), changed_at }
    }
}

/// What is on any of the lists.
#[derive(Clone, Debug)]
pub(crate) struct Blocklist {
    /// Sorted.
    hashes: Box<[u64]>,
    has_paths: bool,
    key: RandomState,
    reading: Reading,
}

impl Default for Blocklist {
    fn default() -> Self {
        Self::new([], RandomState::new())
    }
}

impl Blocklist {
    /// Of files that were read with this key.
    pub(crate) fn new<'e>(files: impl IntoIterator<Item = &'e Entries>, key: RandomState) -> Self {
        let (mut hashes, mut has_paths) = (Vec::new(), false);
        for entries in files {
            hashes.extend_from_slice(&entries.hashes);
            has_paths |= entries.has_paths;
        }
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes: hashes.into(), has_paths, key, reading: Reading::default() }
    }

    fn with_reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether a link may not lead to this address, as [`TargetUrl`] serialises it.
    pub(crate) fn holds(&self, url: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let (host, path) = host_and_path(url);
        let parents = host.match_indices('.').filter_map(|(at, _)| host.get(at + 1..));
        let mut names = std::iter::once(host).chain(parents);
        names.any(|name| self.has(name, "")) || (self.has_paths && self.holds_path(host, path))
    }

    /// The whole path, and each that it lies under.
    fn holds_path(&self, host: &str, path: &str) -> bool {
        let path = path.split(['?', '#']).next().unwrap_or(path).trim_end_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).take(SEGMENTS_MAX);
        let mut parts = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        parts.any(|part| !part.is_empty() && self.has(host, part))
    }

    fn has(&self, host: &str, path: &str) -> bool {
        self.hashes.binary_search(&self.key.hash_one((host, path))).is_ok()
    }
}

/// The parts of an address as [`TargetUrl`] serialises it, without a port.
fn host_and_path(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // The colons of an IPv6 address are in brackets.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (host.strip_suffix('.').unwrap_or(host), path)
}

/// What the targets of links are judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    target: TargetPolicy,
    blocklist: Arc<Blocklist>,
}

impl From<TargetPolicy> for Policy {
    fn from(target: TargetPolicy) -> Self {
        Self { target, blocklist: Arc::default() }
    }
}

impl Deref for Policy {
    type Target = TargetPolicy;

    fn deref(&self) -> &TargetPolicy {
        &self.target
    }
}

impl Policy {
    pub(crate) fn with_target(&self, target: TargetPolicy) -> Self {
        Self { target, blocklist: Arc::clone(&self.blocklist) }
    }

    pub(crate) fn with_blocklist(&self, blocklist: Arc<Blocklist>) -> Self {
        Self { target: self.target.clone(), blocklist }
    }

    pub(crate) const fn blocklist(&self) -> &Arc<Blocklist> {
        &self.blocklist
    }

    /// Whether a link that was made by another policy may not lead here by this one: it is listed, or
    /// links are served there by now, so that following it could have no end.
    pub(crate) fn bars(&self, url: &str) -> bool {
        let is_own =
            || Host::parse(host_and_path(url).0).is_ok_and(|host| self.target.own_hosts.has(&host));
        self.blocklist.holds(url) || is_own()
    }

    /// Reads a target as a client wrote it at a place of a body.
    pub(crate) fn check(&self, url: &str, pointer: &str) -> Result<TargetUrl, FieldError> {
        let url = TargetUrl::parse(url, &self.target)
            .map_err(|error| FieldError::new(pointer, error.code(), error.to_string()))?;
        if self.blocklist.holds(url.as_str()) {
            let detail = "the host, or the address, is on a blocklist of this installation; its \
                          operator can say why";
            return Err(FieldError::new(pointer, "target-blocked", detail.into()));
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# Hosts that nobody should visit\r\n\
        127.0.0.1\tmalware.example other-malware.example # of today\r\n\
        0.0.0.0 localhost\n\
        ::1 ip6-localhost\n\
        ! of a list for browsers\n\
        Phishing.Example.\n\
        *.wild.example\n\
        b\u{fc}cher.example\n\
        192.0.2.7\n\
        https://docs.example/forms/evil#here\n\
        files.example/a/b/\n\
        https://docs.example/view?id=7\n\
        com\n\
        \n\
        this is no entry\n\
        a/b c\n";

    fn list(file: &str) -> (Blocklist, Entries) {
        let key = RandomState::new();
        let entries = Entries::parse(file.as_bytes(), &key);
        (Blocklist::new([&entries], key), entries)
    }

    #[test]
    fn what_a_file_says_and_what_is_on_it() {
        let (list, entries) = list(FILE);
        assert_eq!((entries.len(), entries.bad_lines), (8, 2));
        for (url, is_listed) in [
            ("https://malware.example/", true),
            ("http://malware.example:8080/a?b", true),
            ("https://malware.example./", true),
            ("https://www.malware.example/", true),
            ("https://other-malware.example/", true),
            ("https://notmalware.example/", false),
            ("https://malware.example.org/", false),
            ("https://a.b.phishing.example/x", true),
            ("https://wild.example/", true),
            ("https://xn--bcher-kva.example/", true),
            ("http://192.0.2.7/", true),
            ("http://1.192.0.2/", false),
            ("https://docs.example/forms/evil", true),
            ("https://docs.example/forms/evil/page?x=1", true),
            ("https://docs.example/forms/evil?x=1", true),
            ("https://docs.example/forms/evils", false),
            ("https://docs.example/forms", false),
            ("https://docs.example/view?id=7", false),
            ("https://files.example/a/b", true),
            ("https://files.example/a/b/c/d", true),
            ("https://www.files.example/a/b", false),
            ("https://example.com/", false),
            ("http://[2001:db8::1]:80/", false),
            ("https://user.example/malware.example", false),
        ] {
            assert_eq!(list.holds(url), is_listed, "{url}");
        }
    }

    #[test]
    fn a_blocked_target_is_refused_where_it_stands() {
        let (list, _) = list("evil.example");
        let policy = Policy::default().with_blocklist(Arc::new(list));
        assert!(policy.check("https://good.example/", "#/url").is_ok());
        let refused = policy.check("https://WWW.evil.example", "#/url").unwrap_err();
        assert_eq!((&*refused.pointer, &*refused.code), ("#/url", "target-blocked"));
        let refused = policy.check("nonsense", "#/url").unwrap_err();
        assert_eq!(refused.code, "target-not-http");
    }

    #[test]
    fn a_host_that_became_ones_own_bars_links_to_it() {
        let (list, _) = list("evil.example");
        let own_hosts = [Host::parse("go.example").unwrap()].into_iter().collect();
        let target = TargetPolicy { own_hosts, ..TargetPolicy::default() };
        let policy = Policy::from(target).with_blocklist(Arc::new(list));
        for (url, is_barred) in [
            ("https://go.example/x", true),
            ("http://go.example:8080/", true),
            ("https://go.example./x", true),
            ("https://evil.example/", true),
            ("https://www.go.example/", false),
            ("https://go.example.org/", false),
            ("https://other.example/?u=https://go.example/x", false),
            ("http://[2001:db8::1]/", false),
        ] {
            assert_eq!(policy.bars(url), is_barred, "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_file_and_any_text_an_address(
            file in proptest::collection::vec(any::<u8>(), 0..200),
            line in "[ -~\\t]{0,40}",
            url in "\\PC{0,40}",
        ) {
            let mut file = file;
            file.extend(line.as_bytes());
            file.extend(b"\nevil.example\n");
            let key = RandomState::new();
            let entries = Entries::parse(&file, &key);
            let list = Blocklist::new([&entries], key);
            list.holds(&url);
            prop_assert!(list.holds("https://evil.example/"));
        }
    }
}
