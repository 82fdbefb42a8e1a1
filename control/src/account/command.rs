//! What is written about accounts, checked. Pure.

use std::fmt;

use serde::Deserialize;

use crate::http::problem::FieldError;

/// Bytes of an address (RFC 5321, 4.5.3.1.3, without the brackets).
const EMAIL_MAX: usize = 254;
/// Characters of a person's name.
const NAME_MAX: usize = 100;

/// An e-mail address, in lower case: two spellings are one person.
///
/// The part before the @ may differ by case in theory (RFC 5321, 2.4); nobody's does, and two accounts
/// that look alike would be worse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Email(Box<str>);

impl Email {
    /// Reads what somebody typed; `pointer` is where the body has it.
    pub(crate) fn parse(text: &str, pointer: &str) -> Result<Self, FieldError> {
        let error = |code, detail: &str| FieldError::new(pointer, code, detail.to_owned());
        let text = text.trim();
        if text.len() > EMAIL_MAX {
            return Err(error("too-long", "an e-mail address has at most 254 bytes"));
        }
        if !text.is_ascii() {
            let detail = "write the domain of the address in its form that begins with xn--, and \
                 use ASCII letters before the @";
            return Err(error("malformed", detail));
        }
        let folded = text.to_ascii_lowercase();
        let is_address = folded.parse::<lettre::Address>().is_ok_and(|address| {
            !address.user().contains('"') && !address.domain().starts_with('[')
        });
        if !is_address {
            return Err(error(
                "malformed", "this is not an e-mail address such as ada@example.com",
            ));
        }
        Ok(Self(folded.into()))
    }

    /// As the database holds it.
    pub(crate) fn stored(text: String) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person is called; may be empty.
pub(crate) fn check_person(name: &str, pointer: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let error = |code, detail: String| Err(FieldError::new(pointer, code, detail));
    if name.chars().count() > NAME_MAX {
        return error("too-long", format!("a name has at most {NAME_MAX} characters"));
    }
    if name.chars().any(char::is_control) {
        return error("control-character", "a name is one line of text".into());
    }
    Ok(name.to_owned())
}

/// A text of a body that must not be printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretText(String);

impl SecretText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling_or_are_refused() {
        for (text, stored) in [
            (" Ada@Example.COM ", "ada@example.com"),
            ("a.b+c_d@sub.example.com", "a.b+c_d@sub.example.com"),
            ("x@xn--bcher-kva.example", "x@xn--bcher-kva.example"),
        ] {
            assert_eq!(Email::parse(text, "#/email").unwrap().as_str(), stored);
        }
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "", "ada", "@example.com", "ada@", "a b@example.com", "a@b@example.com",
            "ada@example.com\r\nBcc: x@example.com", "a@bücher.example", "ä@example.com",
            "\"a b\"@example.com", "a@[127.0.0.1]", "Ada <ada@example.com>", &long,
        ] {
            assert!(Email::parse(text, "#/email").is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_short_line() {
        assert_eq!(check_person(" Ada ", "#/name").unwrap(), "Ada");
        assert_eq!(check_person("", "#/name").unwrap(), "");
        assert!(check_person("a\nb", "#/name").is_err());
        assert!(check_person(&"x".repeat(101), "#/name").is_err());
    }
}
