//! What a password must be. Pure; no composition rules and no expiry (NIST SP 800-63B-4, 3.1.1.2).
//!
//! Length does most: 15 characters where a password is all there is, 8 beside a second factor. What
//! is long but easy to guess is found by zxcvbn, which also knows the words around an account, and by what
//! it says of the parts of a password. The whole password counts, in NFC, so that each keyboard gives the
//! same bytes.

use std::collections::BTreeMap;

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
/// Guesses that the parts of a password take at least: where zxcvbn's score of 3 begins.
const GUESSES_MIN: u64 = 100_000_000;
/// Guesses for what is between two words: a space, a dash.
const MARK_GUESSES: u64 = 11;
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
        let guesses = guesses_of_parts(&rest);
        if entropy.score() >= SCORE_MIN && guesses >= GUESSES_MIN {
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

/// How many guesses find the parts of a password: its words, and what is between them, each counted once,
/// in whatever order.
///
/// zxcvbn adds `10,000^(parts - 1)` to its product of guesses, for somebody who does not know of how many
/// parts a password is. So three parts are worth 10^8 and a score of 3 whatever they are: a word of the ten
/// that are tried first, a space, and the same word again. And it takes the second of three words with the
/// spaces around it for a random text, because that makes fewer parts: so it is asked word by word.
fn guesses_of_parts(text: &str) -> u64 {
    let is_between = |c: char| !c.is_alphanumeric();
    let mut parts = BTreeMap::new();
    for word in text.split(is_between) {
        for part in zxcvbn::zxcvbn(word, &[]).sequence() {
            parts.insert(part.token.clone(), part.guesses.unwrap_or(1).max(1));
        }
    }
    parts.extend(text.matches(is_between).map(|mark| (mark.to_owned(), MARK_GUESSES)));
    // In any order: n parts have n! of them.
    let parts = parts.values().zip(1_u64..);
    parts.fold(1_u64, |all, (part, nth)| all.saturating_mul(*part).saturating_mul(nth))
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
            ("password password", false, Some("too-weak")),
            ("Password, PASSWORD!", false, Some("too-weak")),
            ("p4ssword.password.passw0rd", false, Some("too-weak")),
            ("letmein-letmein-letmein", false, Some("too-weak")),
            ("monkey dragon letmein", false, Some("too-weak")),
            ("monkeydragonletmein", false, Some("too-weak")),
            ("password1 password2", false, Some("too-weak")),
            ("summer winter summer winter", false, Some("too-weak")),
            ("seven purple lanterns drift", false, None),
            ("lanterns lanterns of purple drift", false, None),
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
