//! Where a visitor came from: host and path of the referrer, and the [`Channel`] that they and the
//! campaign stand for. Pure.

use std::collections::HashMap;
use std::sync::LazyLock;

use carom_shared::Host;
use carom_shared::click::Channel;

use super::text::clean;

const SOURCES: &str = include_str!("sources.txt");

/// What the referrer of an app begins with; the name of the app's package follows.
const APP: &str = "android-app://";
/// Characters of a path, at most.
const PATH_CHARS_MAX: usize = 128;

/// Appends the host of a referring page to `host`, in lower case and without port, and what
/// follows it up to a query to `path`, if that is wanted; nothing if the referrer is anything else. An Android app
/// keeps its `android-app://`, because a package's name looks like a host's.
///
/// A referrer is whatever a client sent: only what looks like a host name passes.
pub(super) fn read(referrer: &[u8], host: &mut String, path: Option<&mut String>) {
    let Some(scheme_end) = referrer.windows(3).take(APP.len()).position(|w| w == b"://") else {
        return;
    };
    let (scheme, rest) = (&referrer[..scheme_end], &referrer[scheme_end + 3..]);
    let is_app = scheme.eq_ignore_ascii_case(b"android-app");
    if !is_app && !scheme.eq_ignore_ascii_case(b"https") && !scheme.eq_ignore_ascii_case(b"http") {
        return;
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let name = authority.rsplit(|&b| b == b'@').next().unwrap_or_default();
    let name = name.split(|&b| b == b':').next().unwrap_or_default();
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > Host::MAX_LEN || !name.iter().all(is_name) {
        return;
    }
    if is_app {
        host.push_str(APP);
    }
    host.extend(name.iter().map(|b| char::from(b.to_ascii_lowercase())));
    let Some(path) = path else { return };
    let end = rest.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(rest.len());
    clean(&String::from_utf8_lossy(&rest[..end]), PATH_CHARS_MAX, path);
}

/// What a campaign's medium says, whatever the referrer. The words are those of Google Analytics'
/// default channels, because that is what people who tag links write for.
pub(super) fn of_medium(medium: &str) -> Option<Channel> {
    let mut lower = [0; 16];
    let lower = lower.get_mut(..medium.len())?;
    lower.copy_from_slice(medium.as_bytes());
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"cpc" | b"ppc" | b"cpm" | b"cpv" | b"cpa" | b"cpp" | b"retargeting" | b"display"
        | b"banner" | b"interstitial" | b"expandable" | b"ads" | b"ad" => Channel::Paid,
        paid if paid.starts_with(b"paid") => Channel::Paid,
        b"email" | b"e-mail" | b"e_mail" | b"e mail" | b"mail" | b"newsletter" => Channel::Mail,
        b"social" | b"social-network" | b"social-media" | b"social_network" | b"social_media"
        | b"social network" | b"social media" | b"sm" => Channel::Social,
        b"organic" => Channel::Search,
        b"video" => Channel::Video,
        b"sms" | b"chat" | b"messenger" | b"whatsapp" => Channel::Messenger,
        _ => return None,
    })
}

/// What a referring host stands for; [`Channel::Referral`] if the lists do not know it.
pub(super) fn of_host(host: &str) -> Channel {
    let mut name = host;
    loop {
        if let Some(channel) = LIST.get(name).or_else(|| under_any_country(name)) {
            return *channel;
        }
        // An app has no apps below it.
        match name.split_once('.').filter(|_| !host.starts_with(APP)) {
            Some((_, parent)) => name = parent,
            None => return Channel::Referral,
        }
    }
}

/// What the browser inside an app stands for, if the lists know the app.
pub(super) fn of_app(browser: &str) -> Option<Channel> {
    APPS.iter().find(|(app, _)| *app == browser).map(|(_, channel)| *channel)
}

/// `google.de` and `google.co.uk` by `google.*`.
fn under_any_country(name: &str) -> Option<&'static Channel> {
    let (site, country) = name.split_once('.')?;
    let is_country = match country.split_once('.') {
        None => true,
        Some((second, first)) => {
            first.len() == 2 && matches!(second, "ac" | "co" | "com" | "ne" | "net" | "or" | "org")
        }
    };
    if is_country { COUNTRIES.get(site) } else { None }
}

fn entries() -> impl Iterator<Item = (&'static str, Channel)> {
    SOURCES.lines().filter(|line| !line.starts_with('#')).flat_map(|line| {
        let mut words = line.split(' ');
        let channel = words
            .next()
            .and_then(|word| Channel::ALL.iter().copied().find(|channel| channel.as_str() == word));
        words.map(move |name| (name, channel.unwrap_or_default()))
    })
}

/// Hosts and packages.
static LIST: LazyLock<HashMap<&str, Channel>> = LazyLock::new(|| {
    entries().filter(|(name, _)| !name.ends_with(".*") && !name.starts_with("app://")).collect()
});

/// Hosts under any country.
static COUNTRIES: LazyLock<HashMap<&str, Channel>> = LazyLock::new(|| {
    entries().filter_map(|(name, of)| Some((name.strip_suffix(".*")?, of))).collect()
});

static APPS: LazyLock<Vec<(&str, Channel)>> = LazyLock::new(|| {
    entries().filter_map(|(name, of)| Some((name.strip_prefix("app://")?, of))).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_are_reduced_to_host_and_path() {
        for (referrer, host, path) in [
            ("https://News.Example.com/item?id=1", "news.example.com", "/item"),
            ("http://example.com:8080", "example.com", ""),
            ("HTTPS://user:pw@example.com./x#y?z", "example.com", "/x"),
            ("http://example.com?x=http://other/", "example.com", ""),
            ("android-app://com.Slack/", "android-app://com.slack", "/"),
            ("javascript:alert(1)", "", ""),
            ("javascript:alert('https://example.com/')", "", ""),
            ("https://<script>/", "", ""),
            ("https://example.com/\0<b>\u{202e}/\r\n", "example.com", "/<b>/"),
            ("https://[::1]/", "", ""),
            ("https:///etc/passwd", "", ""),
            ("https://", "", ""),
            ("example.com", "", ""),
            ("", "", ""),
        ] {
            let (mut found_host, mut found_path) = (String::new(), String::new());
            read(referrer.as_bytes(), &mut found_host, Some(&mut found_path));
            assert_eq!((&*found_host, &*found_path), (host, path), "{referrer:?}");
        }
        let (mut host, mut path) = (String::new(), String::new());
        read(b"https://\xff\xfe/", &mut host, Some(&mut path));
        assert_eq!((&*host, &*path), ("", ""));
    }

    #[test]
    fn hosts_and_apps_have_channels() {
        for (host, channel) in [
            ("www.google.com", Channel::Search),
            ("google.co.uk", Channel::Search),
            ("mail.google.com", Channel::Mail),
            ("gemini.google.com", Channel::Ai),
            ("google.evil.example", Channel::Referral),
            ("notgoogle.com", Channel::Referral),
            ("duckduckgo.com", Channel::Search),
            ("t.co", Channel::Social),
            ("at.co", Channel::Referral),
            ("l.facebook.com", Channel::Social),
            ("old.reddit.com", Channel::Social),
            ("web.whatsapp.com", Channel::Messenger),
            ("m.youtube.com", Channel::Video),
            ("chatgpt.com", Channel::Ai),
            ("android-app://com.google.android.gm", Channel::Mail),
            ("android-app://com.slack", Channel::Messenger),
            ("android-app://com.example.slack", Channel::Referral),
            ("android-app://x.google.com", Channel::Referral),
            ("blog.example.com", Channel::Referral),
            (".", Channel::Referral),
        ] {
            assert_eq!(of_host(host), channel, "{host}");
        }
        assert_eq!(of_app("Instagram"), Some(Channel::Social));
        assert_eq!(of_app("Chrome"), None);
    }

    #[test]
    fn media_have_channels() {
        for (medium, channel) in [
            ("CPC", Some(Channel::Paid)),
            ("paid-social", Some(Channel::Paid)),
            ("Email", Some(Channel::Mail)),
            ("social", Some(Channel::Social)),
            ("qr", None),
            ("", None),
            ("a medium that is very long", None),
        ] {
            assert_eq!(of_medium(medium), channel, "{medium}");
        }
    }

    /// The lines of the list, each with its channel's word.
    fn lines() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
        SOURCES.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (channel, names) = line.split_once(' ').unwrap();
            (channel, names.split(' ').collect())
        })
    }

    #[test]
    fn the_list_is_in_its_format_and_order() {
        let mut channels: Vec<&str> = lines().map(|(channel, _)| channel).collect();
        channels.dedup();
        let mut sections = channels.clone();
        sections.sort_unstable();
        sections.dedup();
        assert_eq!(sections.len(), channels.len(), "a channel's lines stand together");
        let mut seen = std::collections::HashSet::new();
        for channel in channels {
            assert!(Channel::ALL.iter().any(|known| known.as_str() == channel), "{channel}");
            assert!(!["direct", "referral", "campaign", "paid"].contains(&channel), "{channel}");
            let of = lines().filter(|(of, _)| *of == channel);
            let names: Vec<&str> = of.flat_map(|(_, names)| names).collect();
            assert!(names.is_sorted(), "{channel} is not sorted");
            for name in names {
                assert!(seen.insert(name), "{name} is there twice");
                assert!(is_name(name), "{name} can be no referrer's host");
            }
        }
        assert_eq!(entries().count(), seen.len());
        assert!(seen.len() > 300);
        assert!(SOURCES.lines().all(|line| line.len() <= 120));
    }

    /// Whether something like it can come out of [`read`], or names a browser within an app.
    fn is_name(name: &str) -> bool {
        let is_label = |label: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
            !label.is_empty() && label.len() <= 63 && label.chars().all(fits)
        };
        if let Some(app) = name.strip_prefix("app://") {
            return !app.is_empty() && app.chars().all(|c| c.is_ascii_alphanumeric());
        }
        if let Some(site) = name.strip_suffix(".*") {
            return is_label(site);
        }
        let bare = name.strip_prefix(APP).unwrap_or(name);
        bare.contains('.') && bare.split('.').all(is_label)
    }

    /// The longest name decides; a name that the list could do without is there by mistake.
    #[test]
    fn each_name_decides_for_itself_and_for_what_is_below_it() {
        for (name, channel) in entries().filter(|(name, _)| !name.starts_with("app://")) {
            if let Some(site) = name.strip_suffix(".*") {
                for country in ["com", "de", "co.uk", "com.br", "ne.jp"] {
                    let host = format!("{site}.{country}");
                    let is_other = LIST.get(&*host).is_some_and(|other| *other != channel);
                    assert!(is_other || of_host(&host) == channel, "{host}");
                    assert!(is_other || of_host(&format!("www.{host}")) == channel, "www.{host}");
                }
                assert_eq!(of_host(&format!("{site}.evil.example")), Channel::Referral, "{site}");
                continue;
            }
            assert_eq!(of_host(name), channel, "{name}");
            if name.starts_with(APP) {
                assert_eq!(of_host(&format!("{name}.x")), Channel::Referral, "{name}");
                continue;
            }
            assert_eq!(of_host(&format!("l.{name}")), channel, "l.{name}");
            assert_eq!(of_host(&format!("not{name}")), of_parent(name), "not{name}");
            assert_ne!(of_parent(name), channel, "{name} says what is said already");
        }
    }

    /// What a host would be without a name of its own.
    fn of_parent(name: &str) -> Channel {
        let by_country = under_any_country(name).copied();
        let parent = name.split_once('.').map_or(Channel::Referral, |(_, parent)| of_host(parent));
        by_country.filter(|_| name.split('.').count() == 2).unwrap_or(parent)
    }

    /// What people expect of the sources that most visitors come from.
    #[test]
    fn well_known_sources_are_what_people_take_them_for() {
        for (channel, hosts) in [
            (
                Channel::Search,
                "www.google.de www.google.com.br www.bing.com duckduckgo.com de.search.yahoo.com \
                 search.yahoo.co.jp yandex.ru www.baidu.com m.baidu.com www.ecosia.org \
                 search.brave.com www.startpage.com www.qwant.com search.naver.com go.mail.ru \
                 www.msn.com kagi.com",
            ),
            (
                Channel::Social,
                "www.facebook.com lm.facebook.com l.instagram.com t.co x.com www.linkedin.com \
                 lnkd.in old.reddit.com out.reddit.com www.pinterest.fr away.vk.com \
                 news.ycombinator.com mastodon.social go.bsky.app www.threads.com www.tiktok.com \
                 www.quora.com tieba.baidu.com",
            ),
            (
                Channel::Mail,
                "mail.google.com outlook.live.com outlook.office.com mail.yahoo.com \
                 mail.yahoo.co.jp mail.proton.me app.fastmail.com e.mail.ru web.de \
                 deref-gmx.net eur01.safelinks.protection.outlook.com mailchi.mp urldefense.com \
                 android-app://com.google.android.gm",
            ),
            (
                Channel::Messenger,
                "web.whatsapp.com l.wl.co t.me web.telegram.org discord.com app.slack.com \
                 teams.microsoft.com www.messenger.com chat.google.com weixin.qq.com \
                 android-app://org.telegram.messenger",
            ),
            (
                Channel::Video,
                "www.youtube.com m.youtube.com youtu.be vimeo.com www.twitch.tv www.bilibili.com",
            ),
            (
                Channel::Ai,
                "chatgpt.com chat.openai.com claude.ai www.perplexity.ai gemini.google.com \
                 copilot.microsoft.com edgeservices.bing.com chat.mistral.ai chat.deepseek.com \
                 grok.com www.meta.ai notebooklm.google.com lumo.proton.me duck.ai",
            ),
            (
                Channel::Referral,
                "github.com en.wikipedia.org www.nytimes.com google.evil.example blog.example.com \
                 docs.python.org huggingface.co localhost 192.0.2.1 com.google android-app://com.x",
            ),
        ] {
            for host in hosts.split_ascii_whitespace() {
                assert_eq!(of_host(host), channel, "{host}");
            }
        }
    }
}
