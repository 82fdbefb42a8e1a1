//! What the API says of what it refuses, where forms show it: sentences that scripts say in the page's
//! language. The API itself speaks English, to programs and people alike, so these are its sentences, word for
//! word, with a name for each value in them; one that is not here is shown as it came.

use super::message::message;

/// The details of problem documents that people meet.
pub(super) const DETAILS: &[&str] = &[
    // Links.
    message("say where the link leads to"),
    message("the URL holds a line break or another control character; remove it"),
    message("the URL does not begin with http:// or https:// and a host; write it out in full"),
    message("the text is not a valid URL ({why}); correct it"),
    message("the URL holds a user name or password; remove everything before the @"),
    message("the host has no dot; use a full name such as www.example.com"),
    message(
        "the host is in a private or reserved network, which visitors cannot reach; use a public host",
    ),
    message(
        "the host serves short links itself, so the link could lead to itself; use the final address",
    ),
    message(
        "a part of the host mixes letters of several scripts, as forged names do; use its real name",
    ),
    message("a code has 1 to {max} characters"),
    message("a code is made of A-Z, a-z, 0-9, _ and -"),
    message("the code {code} is taken"),
    message("the code {code} is a reserved word"),
    message("a title is one line of text, without control characters"),
    message("the link would have expired already; name a time to come"),
    message("the link would expire before it begins; name a later time"),
    message("If-Match does not name the version that there is, \"{version}\""),
    // People.
    message("a name has at most {max} characters"),
    message("a name is one line of text"),
    message("a password has at least {min} characters"),
    message("a password has at most {max} characters"),
    message(
        "this password is easily guessed.{why} Several words that do not belong together make a good one",
    ),
    message("this is not an e-mail address such as ada@example.com"),
    message("another account has this address by now"),
    message(
        "E-mail address, password, code or passkey is wrong, or was used before. After too many codes, \
         begin again with the password.",
    ),
    message("send either password or code"),
    message(
        "this link does not work: it was used, it is too old, or something has changed since it was made. \
         Ask for another one",
    ),
    message("there were too many {what}; the next is answered in {seconds} s"),
    message(
        "The operator sets mail.url and mail.from, or makes the account with carom user create.",
    ),
    // Keys, domains, shares.
    message("give the key a name that says who uses it"),
    message("name at least one scope"),
    message("an address block is an IP address, or one with a length as in 10.0.0.0/8"),
    message("write a host name such as go.example.com, with no port"),
    message("this host is the installation's own; name another"),
    message("give it a name: its readers see it above the statistics"),
    message("this time is over; leave it out for a share without an end"),
    message("this is not the password; ask whoever gave you the address"),
    // Whatever it is.
    message("Nothing was done. Wait as long as the Retry-After header says, then try again."),
    message("It may have been carried out: look before trying again."),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::page::message::scan::literals;
    use crate::page::message::tests::files;

    /// A text with nothing in its braces: sources name values otherwise.
    fn nameless(text: &str) -> String {
        let mut shape = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            shape += before;
            shape += "{}";
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
        }
        shape + rest
    }

    /// Else a sentence of the API was changed, and is said in English where it had a translation.
    #[test]
    fn the_api_says_each_of_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = folder.join("src/page");
        let mut said = HashSet::new();
        for source in [folder.join("src"), folder.join("../shared/src")] {
            for path in files(&source, "rs").into_iter().filter(|it| !it.starts_with(&pages)) {
                let source = fs::read_to_string(path).unwrap();
                said.extend(literals(&source).map(|text| nameless(&text)));
            }
        }
        let gone: Vec<_> = DETAILS.iter().filter(|it| !said.contains(&nameless(it))).collect();
        assert!(gone.is_empty(), "{gone:#?}");
    }
}
