//! The language that a browser asks for first.

/// The primary subtag of the language with the highest weight (RFC 9110 12.5.4) in lower case:
/// two or three letters; `None` if there is none. `is_cut`: the header was longer than what is
/// here, and its last language may be half.
pub(super) fn of(accept: &[u8], is_cut: bool) -> Option<[u8; 3]> {
    let mut best: Option<(u16, [u8; 3])> = None;
    let mut ranges = accept.split(|&b| b == b',').peekable();
    while let Some(range) = ranges.next() {
        if is_cut && ranges.peek().is_none() && best.is_some() {
            break;
        }
        let mut parts = range.split(|&b| b == b';');
        let tag = parts.next().unwrap_or_default().trim_ascii();
        let weight = parts
            .map(<[u8]>::trim_ascii)
            .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let weight = weight.map_or(Some(1000), thousandths);
        // The first of equals stays.
        if let Some(weight) = weight.filter(|&weight| weight > best.map_or(0, |best| best.0))
            && let Some(language) = primary(tag)
        {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

/// Two letters and a zero byte, or three letters.
fn primary(tag: &[u8]) -> Option<[u8; 3]> {
    let primary = tag.split(|&b| b == b'-' || b == b'_').next()?;
    let is_language = matches!(primary.len(), 2 | 3) && primary.iter().all(u8::is_ascii_alphabetic);
    is_language.then(|| {
        let mut language = [0; 3];
        language[..primary.len()].copy_from_slice(primary);
        language.make_ascii_lowercase();
        language
    })
}

/// `0.85` as 850; `None` if it is no weight.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, fraction) = match weight.split_first()? {
        (b'0', rest) => (0, rest),
        (b'1', rest) => (1000, rest),
        _ => return None,
    };
    let digits = match fraction.split_first() {
        None => &[],
        Some((b'.', digits)) if digits.len() <= 3 => digits,
        Some(_) => return None,
    };
    let mut value = whole;
    for (digit, unit) in digits.iter().zip([100, 10, 1]) {
        value += u16::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * unit;
    }
    Some(value).filter(|value| *value <= 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_by_weight() {
        for (accept, expected) in [
            ("en-GB,en;q=0.9,de;q=0.8", "en"),
            ("DE", "de"),
            ("de;q=0.5, fr ; q=0.9", "fr"),
            ("en;q=0.8,fr;q=0.8", "en"),
            ("fil-PH", "fil"),
            ("*, pt;q=0.1", "pt"),
            ("de;q=0", ""),
            ("x-klingon, nl;q=0.3", "nl"),
            ("zh_CN", "zh"),
            ("d\u{e9}", ""),
            ("engl", ""),
            ("de;q=2, en;q=0.1", "en"),
            ("de;q=0.1234, en;q=0.1", "en"),
            ("de;q=1.5, en;q=0.1", "en"),
            ("", ""),
            (",;,=", ""),
        ] {
            let found = of(accept.as_bytes(), false).map(|found| found.to_vec());
            let found = String::from_utf8(found.unwrap_or_default()).unwrap();
            assert_eq!(found.trim_end_matches('\0'), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_half_of_a_language_is_not_a_language() {
        assert_eq!(of(b"de;q=0.1,zh-Hant;q=0.9,en", true), Some(*b"zh\0"));
        assert_eq!(of(b"de", true), Some(*b"de\0"));
    }
}
