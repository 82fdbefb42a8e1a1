//! What a visitor held in hand, by about ten rules over the user agent.
//!
//! uap-core's list of devices knows thousands of models, costs more memory and time than its other
//! lists together, and what it knows is not asked for.

use carom_shared::click::Device;

/// Words of a user agent in lower case; the first rule with any of them decides. Wider words come
/// later: a television with Android says `android` too.
const RULES: [(Device, &[&str]); 8] = [
    (
        Device::Tv,
        &[
            "smart-tv", "smarttv", "smart tv", "hbbtv", "netcast", "appletv", "apple tv",
            "googletv", "google tv", "android tv", "bravia", "roku", "; aft", "crkey", "web0s",
            "webos.tv", "viera", "aquos", "opera tv",
        ],
    ),
    (Device::Console, &["playstation", "xbox", "nintendo"]),
    (Device::Wearable, &["apple watch", "watchos", "watch os", "wear os", "galaxy watch"]),
    (Device::Tablet, &["ipad", "tablet", "kindle", "playbook", "silk/", "; kf"]),
    (
        Device::Mobile,
        &[
            "iphone", "ipod", "windows phone", "iemobile", "blackberry", "bb10", "opera mini",
            "opera mobi", "kaios", "symbian", "midp", "ucweb", "maemo",
        ],
    ),
    // A tablet with Android leaves out the `mobile` that a phone's browser says.
    (Device::Mobile, &["mobile"]),
    (Device::Tablet, &["android"]),
    (Device::Desktop, &["windows", "macintosh", "mac os x", "x11", "cros", "linux", "darwin"]),
];

/// `lower`: a user agent in lower case.
pub(super) fn of(lower: &str) -> Device {
    let is_any = |words: &&[&str]| words.iter().any(|word| lower.contains(word));
    let found = RULES.iter().find(|(_, words)| is_any(words)).map(|(device, _)| *device);
    match found {
        // Apps that are no browsers do not say `mobile`; those on tablets are few.
        Some(Device::Tablet) if is_app_on_android(lower) => Device::Mobile,
        found => found.unwrap_or_default(),
    }
}

fn is_app_on_android(lower: &str) -> bool {
    lower.contains("android")
        && !["tablet", "kindle", "silk/", "; kf"].iter().any(|word| lower.contains(word))
        && !["applewebkit", "gecko/", "presto/"].iter().any(|engine| lower.contains(engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_user_agents() {
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0";
        for (user_agent, device) in [
            ("Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) Mobile/15E148", Device::Tablet),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Mobile", Device::Mobile),
            (&format!("Mozilla/5.0 (Linux; Android 10; K) {webkit} Mobile"), Device::Mobile),
            (&format!("Mozilla/5.0 (Linux; Android 10; K) {webkit} Safari"), Device::Tablet),
            ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7)", Device::Mobile),
            ("Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/117.0 Firefox/117", Device::Tablet),
            ("Mozilla/5.0 (Linux; Android 9; AFTS) AppleWebKit/537.36", Device::Tv),
            ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/538.1", Device::Tv),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One)", Device::Console),
            ("Mozilla/5.0 (PlayStation; PlayStation 5/6.00) AppleWebKit", Device::Console),
            ("Mozilla/5.0 (Apple Watch; CPU Watch OS 10_0)", Device::Wearable),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", Device::Desktop),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", Device::Desktop),
            ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)", Device::Desktop),
            ("", Device::Unknown),
            ("something", Device::Unknown),
        ] {
            assert_eq!(of(&user_agent.to_lowercase()), device, "{user_agent}");
        }
    }
}
