//! Text that strangers sent, made fit to keep: valid, short, and without characters that do things.

/// Appends `text` to `out` without white space around it, without controls, and without what
/// changes how its neighbours are shown (Unicode's bidirectional and invisible formats, and the
/// replacement of bytes that were no text); at most `max` characters.
pub(super) fn clean(text: &str, max: usize, out: &mut String) {
    let from = out.len();
    let kept = text.trim().chars().filter(|c| !does_things(*c)).skip_while(|c| c.is_whitespace());
    out.extend(kept.take(max));
    let end = out.trim_end().len();
    out.truncate(end.max(from));
}

fn does_things(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffd}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_things_is_left_out() {
        for (text, cleaned) in [
            ("  spring sale\t", "spring sale"),
            ("a\0b\r\nc\u{7f}d\u{85}e", "abcde"),
            ("\u{202e}gpj.exe\u{202c}", "gpj.exe"),
            ("\u{feff} x \u{200b} ", "x"),
            ("\u{fffd}\u{fffd}", ""),
            ("Größe 日本 🎉", "Größe 日本 🎉"),
            ("=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
            ("", ""),
        ] {
            let mut out = String::new();
            clean(text, 64, &mut out);
            assert_eq!(out, cleaned, "{text:?}");
        }
        let mut out = "kept ".to_owned();
        clean(&"ä".repeat(100), 64, &mut out);
        assert_eq!(out.chars().count(), 5 + 64);
        clean(" \0 ", 64, &mut out);
        assert!(out.ends_with('ä'));
    }
}
