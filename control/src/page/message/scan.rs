//! Which messages a source has: what `xgettext` is to gettext. For the file of messages that scripts get,
//! and for the tests.

/// A message as a source has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::page) struct Found {
    pub(in crate::page) one: String,
    /// For another number than one.
    pub(in crate::page) many: Option<String>,
}

/// Messages that are the first argument of one of these functions; `plural` has two.
pub(in crate::page) fn in_calls(source: &str, names: &[&str]) -> Vec<Found> {
    let mut found = Vec::new();
    for name in names {
        let call = format!("{name}(");
        for (at, _) in source.match_indices(&call) {
            let (before, after) = source.split_at(at);
            let is_part =
                before.ends_with(|it: char| it.is_alphanumeric() || it == '_' || it == '.');
            let Some((one, rest)) = literal(after.get(call.len()..).unwrap_or_default()) else {
                continue;
            };
            let second = rest.trim_start().strip_prefix(',').and_then(literal);
            match (is_part, *name) {
                (true, _) => {}
                (false, "plural") => {
                    found.extend(second.map(|(many, _)| Found { one, many: Some(many) }));
                }
                (false, _) => found.push(Found { one, many: None }),
            }
        }
    }
    found
}

/// The string literal that a source begins with, and what follows it.
fn literal(source: &str) -> Option<(String, &str)> {
    let body = source.trim_start().strip_prefix('"')?;
    let mut text = String::new();
    let mut chars = body.chars();
    loop {
        match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            '\\' => match chars.next()? {
                // The line goes on, without its indent.
                '\n' => chars = chars.as_str().trim_start().chars(),
                'n' => text.push('\n'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// The string literals of a source, and what else stands between quotes.
#[cfg(test)]
pub(in crate::page) fn literals(source: &str) -> impl Iterator<Item = String> {
    let quotes = source.match_indices('"');
    quotes.filter_map(|(at, _)| Some(literal(source.get(at..)?)?.0))
}

/// Messages of a template: texts before `|t` and `|plural`.
#[cfg(test)]
pub(in crate::page) fn in_template(source: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices('"') {
        if source.get(..at).is_some_and(|before| before.ends_with('\\')) {
            continue;
        }
        let Some((one, rest)) = source.get(at..).and_then(literal) else { continue };
        let is_t = rest
            .strip_prefix("|t")
            .is_some_and(|rest| !rest.starts_with(|it: char| it.is_alphanumeric() || it == '_'));
        if is_t {
            found.push(Found { one, many: None });
        } else if let Some((many, _)) = rest.strip_prefix("|plural(").and_then(literal) {
            found.push(Found { one, many: Some(many) });
        }
    }
    found
}
