//! What the form of a link holds, of a new one and of one that is there.

use carom_shared::Forward;

use crate::link::Link;
use crate::page::message::message;
use crate::page::text::time;

/// The fields of a link, as controls take them.
pub(in crate::page) struct LinkForm {
    /// What the ids of controls begin with.
    pub(in crate::page) prefix: &'static str,
    pub(in crate::page) title: String,
    pub(in crate::page) tags: String,
    pub(in crate::page) notes: String,
    pub(in crate::page) status: u16,
    pub(in crate::page) max_age: u16,
    pub(in crate::page) not_before: String,
    pub(in crate::page) expires_at: String,
    pub(in crate::page) fallback: String,
    /// `none`, `all`, or names with commas between them.
    pub(in crate::page) forward: String,
    pub(in crate::page) visitor_wins: bool,
}

impl LinkForm {
    /// Of a link to be made, with what it has if nobody says otherwise.
    pub(in crate::page) fn blank() -> Self {
        Self {
            prefix: "new",
            title: String::new(),
            tags: String::new(),
            notes: String::new(),
            status: 302,
            max_age: carom_shared::RouteRecord::MAX_AGE_MAX_S,
            not_before: String::new(),
            expires_at: String::new(),
            fallback: String::new(),
            forward: "none".into(),
            visitor_wins: false,
        }
    }

    pub(super) fn of(link: &Link) -> Self {
        Self {
            prefix: "edit",
            title: link.title.clone(),
            tags: words(&link.tags.clone().into_vec()),
            notes: link.notes.clone(),
            status: link.redirect_status.code(),
            max_age: link.max_age_s,
            not_before: link.not_before.map(time).unwrap_or_default(),
            expires_at: link.expires_at.map(time).unwrap_or_default(),
            fallback: link.fallback.clone().unwrap_or_default(),
            forward: match &link.query.forward {
                Forward::None => "none".into(),
                Forward::All => "all".into(),
                Forward::Only(names) => names.iter().collect::<Vec<_>>().join(", "),
            },
            visitor_wins: link.query.visitor_wins,
        }
    }

    pub(in crate::page) fn names_parameters(&self) -> bool {
        !matches!(self.forward.as_str(), "none" | "all")
    }

    /// The statuses that there are, with what they mean.
    pub(in crate::page) const fn statuses(&self) -> [(u16, &'static str); 4] {
        [
            (302, message("302, counted each time")),
            (301, message("301, browsers keep it")),
            (307, message("307, same method")),
            (308, message("308, kept, same method")),
        ]
    }
}

/// Words with commas between them, as `carom.js` reads them: one that has commas itself is in quotes.
fn words(words: &[String]) -> String {
    let quoted = |word: &String| match word.contains(',') || word.starts_with('"') {
        true => format!("\"{}\"", word.replace('"', "\"\"")),
        false => word.clone(),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_comma_is_quoted() {
        for (list, text) in [
            (vec!["a", "b c"], "a, b c"),
            (vec!["Berlin, Mitte", "a"], "\"Berlin, Mitte\", a"),
            (vec!["\"x\", y"], "\"\"\"x\"\", y\""),
            (vec!["5\""], "5\""),
        ] {
            let list: Vec<String> = list.into_iter().map(str::to_owned).collect();
            assert_eq!(words(&list), text);
        }
    }
}
