//! The code of a short link: the part after the host.
//!
//! A custom code is 1 to 64 of `A-Z a-z 0-9 _ -`. A generated code is [`Code::GENERATED_LEN`]
//! characters of an alphabet without look-alikes (`0 O o`, `1 I l i`) and without vowels, so that
//! neither a typo on paper nor an unfortunate word can come out. 49⁷ = 6.8 · 10¹¹ codes: with a
//! million links, one guess in 680,000 hits. (All of base62 would be one in 3.5 million; a list of
//! words to avoid, in every language, was the price.)

use crate::Random;
use crate::text::text_type;

/// A code that is well formed. Whether it exists is the store's to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(Box<str>);

/// Why a text is not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("a code has 1 to {} characters", Code::MAX_LEN)]
    Length,
    #[error("a code is made of A-Z, a-z, 0-9, _ and -")]
    Character,
}

/// Paths that programs and browsers ask every host for, and names that Carom keeps for itself.
/// Compared without case. Names with a dot need no entry: a code has none.
const RESERVED: &[&str] = &[
    "abuse", "admin", "api", "app", "assets", "carom", "dashboard", "docs", "favicon", "graphql",
    "health", "healthz", "help", "livez", "login", "logout", "metrics", "oauth", "privacy",
    "readyz", "register", "report", "robots", "settings", "setup", "shorten", "signin", "signup",
    "sitemap", "static", "status", "terms", "user", "users", "www",
];

impl Code {
    pub const MAX_LEN: usize = 64;
    pub const GENERATED_LEN: usize = 7;
    const ALPHABET: &'static [u8; 49] = b"23456789BCDFGHJKLMNPQRSTVWXYZbcdfghjkmnpqrstvwxyz";

    /// Reads a code as a client wrote it; reserved words are well formed.
    ///
    /// # Errors
    /// [`CodeError`] if it is empty, too long or holds another character.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        Self::check(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The rule of [`Code::parse`] without making a `Code`: what the edge asks of each path.
    ///
    /// # Errors
    /// As [`Code::parse`].
    pub fn check(bytes: &[u8]) -> Result<(), CodeError> {
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(CodeError::Length);
        }
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if bytes.iter().all(allowed) { Ok(()) } else { Err(CodeError::Character) }
    }

    /// A random code; unguessable if `random` is. The caller inserts it under the constraint that
    /// codes are unique per domain, and draws again on conflict.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        // Bytes above the largest multiple of the alphabet are drawn again: no symbol is likelier.
        const LIMIT: usize = 256 - 256 % Code::ALPHABET.len();
        let mut code = String::with_capacity(Self::GENERATED_LEN);
        let mut bytes = [0; 16];
        loop {
            random.fill(&mut bytes);
            for byte in bytes.map(usize::from).into_iter().filter(|&byte| byte < LIMIT) {
                code.push(char::from(Self::ALPHABET[byte % Self::ALPHABET.len()]));
                if code.len() == Self::GENERATED_LEN {
                    return Self(code.into());
                }
            }
        }
    }

    /// A random code for a domain on which case does not matter. Letters are fewer there, so it has two
    /// characters more: some 29⁹ = 1.5 · 10¹³ codes.
    #[must_use]
    pub fn generate_folded(random: &dyn Random) -> Self {
        let (code, more) = (Self::generate(random), Self::generate(random));
        Self(format!("{}{}", code.0, more.0.get(..2).unwrap_or_default()).into()).folded()
    }

    /// The code on a domain on which case does not matter: in lower case.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// Whether the code is a name that a link may not take.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.iter().any(|word| word.eq_ignore_ascii_case(&self.0))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_type!(Code, CodeError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;
    use proptest::prelude::*;

    #[test]
    fn what_is_a_code() {
        for good in ["a", "Q3-report_2026", "0", "-", &"x".repeat(64)] {
            assert_eq!(Code::parse(good).unwrap().as_str(), good);
        }
        let cases = [
            ("", CodeError::Length),
            (&"x".repeat(65), CodeError::Length),
            ("a b", CodeError::Character),
            ("a+", CodeError::Character),
            ("a/b", CodeError::Character),
            ("ä", CodeError::Character),
            ("a\0", CodeError::Character),
            ("a%41", CodeError::Character),
        ];
        for (bad, error) in cases {
            assert_eq!(Code::parse(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn reserved_words_are_codes_that_links_may_not_take() {
        assert!(Code::parse("Admin").unwrap().is_reserved());
        assert!(!Code::parse("admins").unwrap().is_reserved());
    }

    /// χ² over 49 symbols (48 degrees of freedom): 99.9 % of fair draws stay below 84.
    #[test]
    fn generated_codes_use_each_symbol_alike() {
        let random = SeededRandom::new(1);
        let mut counts = [0_u32; 256];
        let draws = 20_000;
        for _ in 0..draws {
            let code = Code::generate(&random);
            assert_eq!(code.as_str().len(), Code::GENERATED_LEN);
            code.as_str().bytes().for_each(|b| counts[usize::from(b)] += 1);
        }
        let expected = f64::from(draws) * 7.0 / 49.0;
        let chi2: f64 = Code::ALPHABET
            .iter()
            .map(|&b| (f64::from(counts[usize::from(b)]) - expected).powi(2) / expected)
            .sum();
        assert!(chi2 < 84.0, "{chi2}");
    }

    proptest! {
        #[test]
        fn parse_accepts_exactly_the_grammar(text in "\\PC{0,70}|[A-Za-z0-9_-]{0,70}") {
            let fits = (1..=64).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            prop_assert_eq!(Code::parse(&text).is_ok(), fits);
        }
    }
}
