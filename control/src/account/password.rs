//! What a password must be. Pure; no composition rules and no expiry (NIST SP 800-63B-4, 3.1.1.2).
//!
//! Length does most: 15 characters where a password is all there is, 8 beside a second factor. What
//! is long but easy to guess is found by zxcvbn, which also knows the words around an account. The
//! whole password counts, in NFC, so that each keyboard gives the same bytes.

use unicode_normalization::UnicodeNormalization;
use zxcvbn::Score;

use crate::http::problem::FieldError;

/// Bytes that are looked at at all: normalizing and hashing them costs.
const BYTES_MAX: usize = 1024;
/// Characters of a password, at most. More is refused, never cut off.
const CHARS_MAX: usize = 128;
/// Characters of a password that is all there is.
const CHARS_MIN: usize = 15;
/// Characters of a password beside a second factor.
const CHARS_MIN_WITH_SECOND: usize = 8;
/// The least score of zxcvbn, which goes from 0 to 4.
const SCORE_MIN: Score = Score::Three;
/// Words shorter than this are in every password.
const WORD_MIN: usize = 3;

/// A password in the form in which it is hashed. It does not print.
#[derive(Clone)]
pub(crate) struct Password(Box<str>);

impl Password {
    /// Any password that may be somebody's; `None` if it is too long for that.
    pub(crate) fn entered(text: &str) -> Option<Self> {
        (text.len() <= BYTES_MAX).then(|| Self(text.nfc().collect::<String>().into()))
    }

    /// A new password, if its length is right; `pointer` is where the body has it. How easily it is
    /// guessed is asked apart, because it takes milliseconds: [`Password::check_strength`].
    pub(crate) fn chosen(text: &str, pointer: &str, has_second: bool) -> Result<Self, FieldError> {
        let too_long = || {
            let detail = format!("a password has at most {CHARS_MAX} characters");
            FieldError::new(pointer, "too-long", detail)
        };
        let password = Self::entered(text).ok_or_else(too_long)?;
        let least = chars_min(has_second);
        match password.0.chars().count() {
            count if count > CHARS_MAX => Err(too_long()),
            count if count < least => {
                let detail = format!("a password has at least {least} characters");
                Err(FieldError::new(pointer, "too-short", detail))
            }
            _ => Ok(password),
        }
    }

    /// Whether it is long enough where there is nothing beside it.
    pub(crate) fn suffices_alone(&self) -> bool {
        self.0.chars().count() >= CHARS_MIN
    }

    /// Refuses what is easily guessed by somebody who knows these words. Milliseconds of CPU.
    ///
    /// The words are taken out and the rest is judged: zxcvbn alone holds many short words in a row for
    /// a good password, however well known each of them is.
    pub(crate) fn check_strength(&self, pointer: &str, words: &[String]) -> Result<(), FieldError> {
        let mut rest = self.0.to_lowercase();
        for word in words {
            rest = rest.replace(word.as_str(), "");
        }
        let entropy = zxcvbn::zxcvbn(&rest, &[]);
        if entropy.score() >= SCORE_MIN {
            return Ok(());
        }
        let why = entropy.feedback().and_then(zxcvbn::feedback::Feedback::warning);
        let why = why.map_or_else(String::new, |why| format!(" {why}"));
        let detail = format!(
            "this password is easily guessed.{why} Several words that do not belong together make \
             a good one"
        );
        Err(FieldError::new(pointer, "too-weak", detail))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Characters that a new password has at least.
pub(crate) const fn chars_min(has_second: bool) -> usize {
    if has_second { CHARS_MIN_WITH_SECOND } else { CHARS_MIN }
}

/// The words that somebody who knows the account tries first.
pub(crate) fn words_of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut words = vec!["carom".to_owned()];
    for text in texts {
        let parts = text.split(|c: char| !c.is_alphanumeric());
        words.extend(parts.filter(|part| part.chars().count() >= WORD_MIN).map(str::to_lowercase));
        words.push(text.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, has_second: bool) -> Option<String> {
        let words = words_of(["margarete.hintz@example.com", "Margarete Hintz", "go.example.com"]);
        let password = Password::chosen(text, "#/password", has_second);
        let checked = password.and_then(|it| it.check_strength("#/password", &words));
        checked.err().map(|error| error.code)
    }

    #[test]
    fn length_and_guesses_decide_and_nothing_else() {
        let long = "zqv nw kt ".repeat(12) + "end of it";
        let too_long = "ab cd efg".repeat(15);
        for (text, has_second, expected) in [
            ("correct horse battery staple", false, None),
            ("lower case only and no digit", false, None),
            ("k7#Tz9!qLm", false, Some("too-short")),
            ("k7#Tz9!qLm", true, None),
            ("k7#Tz9", true, Some("too-short")),
            ("passwordpassword", false, Some("too-weak")),
            ("qwertyuiopasdfgh", false, Some("too-weak")),
            ("margaretehintz2026", false, Some("too-weak")),
            ("Margarete Hintz 123", false, Some("too-weak")),
            ("carom.example.com", false, Some("too-weak")),
            ("fünfzehn Zeichen müssen es sein", false, None),
            ("десять зелёных слонов", false, None),
            (&long, false, if long.chars().count() > 128 { Some("too-long") } else { None }),
            (&too_long, false, Some("too-long")),
        ] {
            assert_eq!(refused(text, has_second).as_deref(), expected, "{text}");
        }
        // 128 characters of four bytes each are taken, one more is not.
        let wide = |count| (0..count).map(|at| char::from_u32(0x1f400 + at * 17 % 61).unwrap());
        assert_eq!(refused(&wide(128).collect::<String>(), false), None);
        let code = refused(&wide(129).collect::<String>(), false);
        assert_eq!(code.as_deref(), Some("too-long"));
    }

    #[test]
    fn one_text_is_one_password_however_it_is_typed() {
        let composed = Password::entered("mus\u{e9}e").unwrap();
        let decomposed = Password::entered("muse\u{301}e").unwrap();
        assert_eq!(composed.as_bytes(), decomposed.as_bytes());
        assert_ne!(Password::entered("a b ").unwrap().as_bytes(), b"a b");
        assert!(Password::entered(&"x".repeat(1025)).is_none());
        assert!(!format!("{composed:?}").contains("mus"));
    }
}
