//! Tags: short texts by which a workspace finds its links again.

pub(crate) mod api;

use super::fold;

/// The tags of a link: at most [`Tags::COUNT_MAX`], no two alike but for their case, in the order
/// and the case in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<String>);

/// Why texts are not the tags of a link. The number is the place of the first that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TagsError {
    #[error("a link has at most {} tags", Tags::COUNT_MAX)]
    Count,
    #[error("a tag has 1 to {} characters", Tags::TAG_MAX)]
    Length(usize),
    #[error("a tag is one line of text, without control characters")]
    Character(usize),
    #[error("the link has this tag already; case makes no difference")]
    Duplicate(usize),
}

impl Tags {
    pub(crate) const COUNT_MAX: usize = 20;
    /// Characters of a tag.
    pub(crate) const TAG_MAX: usize = 50;

    /// Checks tags; spaces around each are dropped.
    pub(crate) fn new<'a>(tags: impl IntoIterator<Item = &'a str>) -> Result<Self, TagsError> {
        let mut known = Vec::<(String, String)>::new();
        for (place, tag) in tags.into_iter().enumerate() {
            if place == Self::COUNT_MAX {
                return Err(TagsError::Count);
            }
            let tag = tag.trim();
            if !(1..=Self::TAG_MAX).contains(&tag.chars().count()) {
                return Err(TagsError::Length(place));
            }
            if tag.chars().any(char::is_control) {
                return Err(TagsError::Character(place));
            }
            let folded = fold(tag);
            if known.iter().any(|(other, _)| *other == folded) {
                return Err(TagsError::Duplicate(place));
            }
            known.push((folded, tag.to_owned()));
        }
        Ok(Self(known.into_iter().map(|(_, tag)| tag).collect()))
    }

    /// Reads what [`Tags::to_text`] gave.
    pub(crate) fn from_text(text: &str) -> Result<Self, TagsError> {
        Self::new(text.lines())
    }

    /// One tag per line.
    pub(crate) fn to_text(&self) -> String {
        self.0.join("\n")
    }

    /// What the tags are found by.
    pub(crate) fn folded(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|tag| fold(tag))
    }

    pub(crate) fn into_vec(self) -> Vec<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_checked_and_come_back() {
        let tags = Tags::new([" Été 2026 ", "b"]).unwrap();
        assert_eq!(tags.to_text(), "Été 2026\nb");
        assert_eq!(Tags::from_text(&tags.to_text()), Ok(tags.clone()));
        assert_eq!(Tags::from_text(""), Ok(Tags::default()));
        assert_eq!(tags.folded().collect::<Vec<_>>(), ["été 2026", "b"]);

        let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
        assert!(Tags::new(many.iter().take(20).map(String::as_str)).is_ok());
        assert_eq!(Tags::new(many.iter().map(String::as_str)), Err(TagsError::Count));
        assert!(Tags::new([&*"é".repeat(50)]).is_ok());
        for (bad, error) in [
            (vec![" "], TagsError::Length(0)),
            (vec!["a", &*"é".repeat(51)], TagsError::Length(1)),
            (vec!["a\nb"], TagsError::Character(0)),
            (vec!["a\0"], TagsError::Character(0)),
            (vec!["a", "b", "A "], TagsError::Duplicate(2)),
        ] {
            assert_eq!(Tags::new(bad.iter().copied()), Err(error), "{bad:?}");
        }
    }
}
