//! What of a visitor's query reaches the target.

/// Which parameters of the request's query are passed on, and whose value counts where the target
/// has the same parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryPolicy {
    pub forward: Forward,
    /// Where both have a parameter: `false` keeps the target's, `true` takes the visitor's.
    pub visitor_wins: bool,
}

/// Which parameters of a query are passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    #[default]
    None,
    All,
    Only(ParameterNames),
}

/// Names of query parameters: 1 to 32 of them, each 1 to 64 of `A-Z a-z 0-9 _ . ~ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterNames(Box<str>);

/// Why texts are not names of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterNamesError {
    #[error("name 1 to {} parameters", ParameterNames::COUNT_MAX)]
    Count,
    #[error(
        "a parameter's name has 1 to {} of A-Z, a-z, 0-9, _, ., ~ and -",
        ParameterNames::NAME_MAX
    )]
    Name,
}

impl ParameterNames {
    pub const COUNT_MAX: usize = 32;
    pub const NAME_MAX: usize = 64;
    const SEPARATOR: char = ',';

    /// Checks names; the order is kept.
    ///
    /// # Errors
    /// [`ParameterNamesError`] if there are none or too many, or one is not a name.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, ParameterNamesError> {
        let names: Vec<&str> = names.into_iter().take(Self::COUNT_MAX + 1).collect();
        if names.is_empty() || names.len() > Self::COUNT_MAX {
            return Err(ParameterNamesError::Count);
        }
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'~' | b'-');
        let is_name =
            |name: &&str| (1..=Self::NAME_MAX).contains(&name.len()) && name.bytes().all(is_part);
        if !names.iter().all(is_name) {
            return Err(ParameterNamesError::Name);
        }
        Ok(Self(names.join(",").into()))
    }

    /// Reads what [`ParameterNames::as_str`] gave.
    ///
    /// # Errors
    /// As [`ParameterNames::new`].
    pub fn parse(text: &str) -> Result<Self, ParameterNamesError> {
        Self::new(text.split(Self::SEPARATOR))
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(Self::SEPARATOR)
    }

    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    /// The names in one text, with commas between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_come_back() {
        let names = ParameterNames::new(["utm_source", "ref", "a.b~c-d"]).unwrap();
        assert_eq!(names.as_str(), "utm_source,ref,a.b~c-d");
        assert_eq!(ParameterNames::parse(names.as_str()), Ok(names.clone()));
        assert!(names.contains("ref") && !names.contains("re") && !names.contains("ref,a.b~c-d"));

        let long = "x".repeat(65);
        for (bad, error) in [
            (vec![], ParameterNamesError::Count),
            (vec!["a"; 33], ParameterNamesError::Count),
            (vec![""], ParameterNamesError::Name),
            (vec!["a", "b c"], ParameterNamesError::Name),
            (vec!["a,b"], ParameterNamesError::Name),
            (vec!["ä"], ParameterNamesError::Name),
            (vec![&*long], ParameterNamesError::Name),
        ] {
            assert_eq!(ParameterNames::new(bad.iter().copied()), Err(error), "{bad:?}");
        }
    }
}
