//! Settings that are each allowed, and together not what anybody wants.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use carom_edge::Durability;
use carom_shared::UnixMillis;
use http::Uri;

use super::finding::{Area, Findings};
use super::process::Presence;
use crate::backup::newest_backup;
use crate::settings::Settings;

/// Without an end to the keeping of clicks a disk should have more, in bytes.
const DISK_FOR_EVER: u64 = 20 << 30;
/// A backup is late when it is this many times older than it should be.
const LATE: i64 = 2;

/// Each address that is listened on, by its setting.
pub(super) fn listeners(settings: &Settings) -> Vec<(&'static str, SocketAddr)> {
    let tls = settings.edge.tls.listen.map(|address| ("edge.tls.listen", address));
    let internal = ("control.internal_listen", settings.control.internal_listen);
    let internal = Some(internal).filter(|_| !settings.internal.token.is_empty());
    let always =
        [("edge.listen", settings.edge.listen), ("control.listen", settings.control.listen)];
    always.into_iter().chain(admin_listeners(settings)).chain(tls).chain(internal).collect()
}

/// Those that show health and metrics.
const fn admin_listeners(settings: &Settings) -> [(&'static str, SocketAddr); 2] {
    [
        ("edge.admin_listen", settings.edge.admin_listen),
        ("control.admin_listen", settings.control.admin_listen),
    ]
}

pub(super) fn examine(settings: &Settings, presence: &Presence, now: UnixMillis) -> Findings {
    let mut out = Findings::of(Area::Settings);
    match settings.check() {
        Ok(()) => out.ok("valid", "each setting is valid by itself"),
        Err(error) => out.error(
            "valid",
            error.to_string(),
            "carom serve would not start with these settings",
            "correct it where it is set: carom config show says where",
        ),
    }
    examine_addresses(&mut out, settings);
    examine_urls(&mut out, settings);
    examine_proxies(&mut out, settings);
    examine_keeping(&mut out, settings);
    examine_backups(&mut out, settings, presence, now);
    out
}

fn examine_addresses(out: &mut Findings, settings: &Settings) {
    let all = listeners(settings);
    for (at, (setting, address)) in all.iter().enumerate() {
        let overlaps = |other: &&(&str, SocketAddr)| {
            let (one, two) = (address.ip(), other.1.ip());
            other.1.port() == address.port()
                && address.port() != 0
                && (one == two || one.is_unspecified() || two.is_unspecified())
        };
        for (other, _) in all[..at].iter().filter(overlaps) {
            out.error(
                "same_port",
                format!("{setting} and {other} have the same port, {}", address.port()),
                "carom serve would not start with these settings",
                "give each a port of its own",
            );
        }
    }
    for (setting, address) in admin_listeners(settings) {
        if !address.ip().is_loopback() {
            out.notice(
                "open_admin",
                format!("{setting} can be reached from other machines ({address})"),
                "health and metrics are shown to whoever asks, without a key",
                "see that only your monitoring reaches it, or listen on 127.0.0.1",
            );
        }
    }
    if !settings.control.listen.ip().is_loopback() && scheme(&settings.control.public_url) == "http"
    {
        out.warning(
            "open_control",
            format!("the API listens on {} without TLS", settings.control.listen),
            "API keys pass the network in clear text",
            "listen on 127.0.0.1 behind a proxy with TLS, and set control.public_url to its https \
             address",
        );
    }
}

fn examine_urls(out: &mut Findings, settings: &Settings) {
    for (setting, url) in
        [("public_url", &settings.public_url), ("control.public_url", &settings.control.public_url)]
    {
        if scheme(url) == "http" && is_public(&host(url)) {
            out.warning(
                "no_https",
                format!("{setting} is {url}: not https, on a public host"),
                "what visitors and programs send can be read and changed on its way",
                "put a proxy with TLS before it, and write https://",
            );
        }
    }
    let (url, listen) = (&settings.public_url, settings.edge.listen);
    let port = url.parse::<Uri>().ok().and_then(|uri| uri.port_u16());
    let port = port.unwrap_or(if scheme(url) == "https" { 443 } else { 80 });
    if is_local(&host(url)) {
        if port != listen.port() && listen.port() != 0 {
            out.warning(
                "public_port",
                format!("public_url is {url}, and edge.listen is {listen}"),
                "short URLs lead to a port where nothing answers",
                "give both the same port",
            );
        }
        if !listen.ip().is_loopback() {
            out.notice(
                "local_url",
                format!("public_url is {url}, and edge.listen is reached from elsewhere"),
                "short URLs begin with this machine's own name for itself",
                "set public_url to the address that visitors know",
            );
        }
    }
}

fn examine_proxies(out: &mut Findings, settings: &Settings) {
    let proxies = &settings.edge.trusted_proxies;
    let speaks_tls = settings.edge.tls.listen.is_some();
    // One address of the documentation blocks and one public one: only a block of all has both.
    let everybody = |v4: [u8; 4], v6: [u16; 8]| [IpAddr::from(v4), IpAddr::from(v6)];
    let (one, two) = (
        everybody([192, 0, 2, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        everybody([9, 9, 9, 9], [0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe]),
    );
    let is_all = (0..2).any(|family| {
        proxies.iter().any(|block| block.contains(one[family]) && block.contains(two[family]))
    });
    if is_all {
        out.warning(
            "trusted_everybody",
            "edge.trusted_proxies has a block of all addresses",
            "any visitor can say that he is somebody else: countries and visitors mean nothing",
            "name only the addresses of your own proxies",
        );
    } else if proxies.is_empty() && !speaks_tls && scheme(&settings.public_url) == "https" {
        out.warning(
            "no_trusted_proxy",
            "public_url is https, and edge.trusted_proxies is empty",
            "edge.tls.listen is not set, so a proxy speaks TLS; every visitor then has the proxy's address: \
             countries and numbers of visitors are wrong",
            "set edge.trusted_proxies to the proxy's address, such as 127.0.0.1",
        );
    } else if !speaks_tls
        && !settings.edge.listen.ip().is_loopback()
        && scheme(&settings.public_url) == "http"
    {
        out.notice(
            "no_tls",
            format!("visitors are answered on {} without TLS", settings.edge.listen),
            "what visitors ask can be read and changed on its way",
            "set edge.tls.listen, or put a proxy with TLS before it, unless this network is your own",
        );
    }
}

fn examine_keeping(out: &mut Findings, settings: &Settings) {
    let spool = &settings.spool;
    let rings = spool.ring_bytes.saturating_mul(settings.edge.thread_count() as u64);
    if spool.max_bytes > 0 && spool.max_bytes < rings {
        out.warning(
            "small_outbox",
            "spool.max_bytes is less than the rings of all threads hold",
            "what the rings hold does not fit into the outbox: a short absence of the store costs \
             details",
            format!("raise spool.max_bytes to {rings} or more, or set it to 0"),
        );
    }
    if spool.durability == Durability::Process {
        out.notice(
            "durability",
            "spool.durability is process",
            "if the power fails, clicks of the last seconds are lost that were answered",
            "set it to interval (0.2 s, costs next to nothing) or always",
        );
    }
    let disk = rustix::fs::statvfs(existing(&settings.data_dir));
    let total = disk.map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    if settings.clicks.retention_days == 0 && total < DISK_FOR_EVER {
        out.notice(
            "retention",
            "clicks.retention_days is 0, and the disk is small",
            "each click is kept for ever, about 100 bytes each, until the disk is full",
            "set clicks.retention_days; totals and series stay without the rows",
        );
    }
}

fn examine_backups(out: &mut Findings, settings: &Settings, presence: &Presence, now: UnixMillis) {
    let facts = presence.facts();
    if let Some(concern) = facts.and_then(|facts| facts.backup_concern.as_ref()) {
        out.error(
            "backup",
            concern.clone(),
            "there may be no backup of today",
            "see to the cause; carom backup tries again at once",
        );
    }
    let Some(dir) = settings.backup.dir() else {
        out.notice(
            "backup",
            "no backups are made by themselves (backup.dir is empty)",
            "if the disk fails, links and clicks are gone",
            "set backup.dir to a folder on another disk, or run carom backup from a timer",
        );
        return;
    };
    let device = |path: &Path| std::fs::metadata(existing(path)).map(|found| found.dev()).ok();
    if device(dir) == device(&settings.data_dir) {
        out.notice(
            "backup_disk",
            format!("backups are on the disk of the data folder ({})", dir.display()),
            "a disk that fails takes both",
            "copy them elsewhere, or set backup.dir to another disk",
        );
    }
    let seen = facts.and_then(|facts| facts.newest_backup_ms);
    let newest = newest_backup(dir, now).map(UnixMillis::get).max(seen);
    let every_ms = i64::from(settings.backup.every_hours) * 3_600_000;
    match newest {
        Some(at) if now.get() - at > LATE * every_ms => out.warning(
            "backup_age",
            format!("the newest backup is {} hours old", (now.get() - at) / 3_600_000),
            "it should be younger by backup.every_hours",
            "look in the log why none was made; carom backup makes one at once",
        ),
        Some(at) => {
            let age = (now.get() - at).max(0) / 3_600_000;
            out.ok("backup_age", format!("the newest backup is {age} hours old"));
        }
        None => out.notice(
            "backup_age",
            format!("there is no backup in {}", dir.display()),
            "the first is made while carom serves",
            "carom backup makes one at once",
        ),
    }
}

/// The folder, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("."))
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// Without port and brackets; empty, if it is no URL.
fn host(url: &str) -> String {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    host.unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

fn is_local(host: &str) -> bool {
    host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback())
}

/// Whether the whole world may know a host: not a name or an address of somebody's own network.
fn is_public(host: &str) -> bool {
    const OWN: [&str; 7] =
        ["localhost", "local", "internal", "lan", "test", "home.arpa", "intranet"];
    match host.parse() {
        Ok(IpAddr::V4(ip)) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local()),
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        Err(_) => {
            let is_own = |end: &&str| host == *end || host.ends_with(&format!(".{end}"));
            host.contains('.') && !OWN.iter().any(is_own)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_hosts_are_told_from_ones_own() {
        for host in ["go.example.com", "example.com", "9.9.9.9", "2620:fe::fe"] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "localhost", "server", "go.lan", "a.b.internal", "10.1.2.3", "192.168.0.1",
            "127.0.0.1", "::1", "fd00::1", "fe80::1",
        ] {
            assert!(!is_public(host), "{host}");
        }
    }

    #[test]
    fn who_speaks_tls_needs_no_proxy_for_it() {
        let found = |settings: &Settings| {
            let mut out = Findings::of(Area::Settings);
            examine_proxies(&mut out, settings);
            out.into_inner().into_iter().map(|finding| finding.check).collect::<Vec<_>>()
        };
        let mut settings =
            Settings { public_url: "https://go.example.com".to_owned(), ..Settings::default() };
        assert_eq!(found(&settings), ["no_trusted_proxy"]);
        assert_eq!(listeners(&settings).len(), 4);
        settings.edge.tls.listen = Some(SocketAddr::from(([0, 0, 0, 0], 443)));
        assert_eq!(found(&settings), [""; 0]);
        settings.internal.token = "x".repeat(32);
        let all = listeners(&settings);
        for expected in ["edge.tls.listen", "control.internal_listen"] {
            assert!(all.iter().any(|(setting, _)| *setting == expected), "{expected}");
        }
    }

    #[test]
    fn hosts_are_found_in_urls() {
        for (url, expected) in [
            ("https://Go.Example.com", "go.example.com"),
            ("http://localhost:8080", "localhost"),
            ("http://[::1]:8080", "::1"),
            ("", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
