//! `/{code}+`: where a link leads, for those who want to know before they go.
//!
//! The destination is shown as it is sent: a host in another script stays `xn--...`, which no font
//! can make look like a bank. What a link passes on of a query is not shown; it changes neither host
//! nor path. Of the request, the page has the host and the code, which are ones that exist here.

use bytes::Bytes;
use http::StatusCode;

use super::page::{HTML, page, page_begin, page_end};
use super::{Answer, Redirect};
use crate::request::{Ask, Form, Head, Resource};

/// Where the public reports the link that this asks about.
#[must_use]
pub fn report_url(base: Option<&str>, ask: &Ask<'_>, head: &Head<'_>) -> Option<String> {
    let (Resource::Link(code) | Resource::Preview(code)) = ask.resource else { return None };
    let host = std::str::from_utf8(head.host?).ok()?;
    Some(format!("{}?url={host}/{code}", base?))
}

/// The page of a link that leads somewhere; others have the error page of the link itself. `report`
/// is where the public reports it.
#[must_use]
pub fn answer(redirect: &Redirect<'_>, form: Form, report: Option<&str>) -> Answer {
    let destination = String::from_utf8_lossy(redirect.destination().as_bytes());
    let (content_type, body) = match form {
        Form::Html => (HTML, html(&destination, report)),
        Form::Json => ("application/json", json(&destination)),
    };
    page(StatusCode::OK, content_type, Bytes::from(body))
}

fn html(destination: &str, report: Option<&str>) -> String {
    let host = host(destination);
    let mut page = String::with_capacity(2048 + 2 * destination.len());
    page.push_str(page_begin!("This link leads to"));
    // A long one scrolls: keys have to reach it.
    page.push_str("<p class=to tabindex=0><b>");
    push_escaped(&mut page, host.unwrap_or_default());
    page.push_str("</b>");
    push_escaped(&mut page, destination);
    page.push_str("<p>Continue only if you expected this address.<p>");
    // A record that was damaged on its way must not become a `javascript:` link.
    if host.is_some() {
        page.push_str("<a class=go rel=\"noopener noreferrer nofollow ugc\" href=\"");
        push_escaped(&mut page, destination);
        page.push_str("\">Continue</a>");
    }
    if let Some(report) = report {
        page.push_str("<a rel=\"noopener nofollow\" href=\"");
        push_escaped(&mut page, report);
        page.push_str("\">Report this link</a>");
    }
    page.push_str(page_end!());
    page
}

/// The host of a web address, with its port.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())
}

fn push_escaped(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            _ => page.push(c),
        }
    }
}

/// `{"url": ...}`, named as in the API.
fn json(destination: &str) -> String {
    let mut json = String::with_capacity(16 + destination.len());
    json.push_str("{\"url\":\"");
    for c in destination.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => json.push(c),
        }
    }
    json.push_str("\"}\n");
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unescaped(html: &str) -> String {
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    #[test]
    fn the_destination_is_a_text_and_a_link() {
        let page = html("https://xn--80ak6aa92e.com/?a='\"><script>&amp;", None);
        let shown = "https://xn--80ak6aa92e.com/?a=&#39;&quot;&gt;&lt;script&gt;&amp;amp;";
        assert!(page.contains(&format!("<b>xn--80ak6aa92e.com</b>{shown}<p>")));
        assert!(page.contains(&format!(
            "<a class=go rel=\"noopener noreferrer nofollow ugc\" href=\"{shown}\">Continue</a>"
        )));
        assert!(!html("javascript:alert(1)", None).contains("<a"));
        assert!(!html("https:///", None).contains("<a"));
        let reported = html("https://e.test/", Some("https://c.test/report?url=go.test/a\"b"));
        assert!(reported.contains("href=\"https://c.test/report?url=go.test/a&quot;b\">Report"));
    }

    proptest! {
        /// Whatever a record holds: it cannot leave its place in the page.
        #[test]
        fn any_destination_is_shown_and_nothing_else(
            destination in "https?://[a-z<\"'&]{1,9}[\\PC<>\"'&/]{0,40}|\\PC{0,40}",
        ) {
            let frame = html("", None);
            let page = html(&destination, None);
            let begin = frame.split("</b>").next().unwrap().strip_suffix("<b>").unwrap();
            let middle = page.strip_prefix(begin).unwrap().strip_suffix(page_end!()).unwrap();
            let texts: Vec<_> = middle.split(['<', '>']).collect();
            let host = host(&destination).unwrap_or_default();
            prop_assert_eq!(unescaped(texts[2]), host);
            prop_assert_eq!(unescaped(texts[4]), destination.as_str());
            if host.is_empty() {
                prop_assert_eq!(texts.len(), 9, "{}", middle);
            } else {
                let link = "a class=go rel=\"noopener noreferrer nofollow ugc\" href=\"";
                prop_assert_eq!(texts.len(), 13, "{}", middle);
                let href = texts[9].strip_prefix(link).unwrap().strip_suffix('"').unwrap();
                prop_assert!(!href.contains('"'));
                prop_assert_eq!(unescaped(href), destination.as_str());
            }
        }

        #[test]
        fn json_is_one_string_that_ends_where_it_should(destination in "(\\PC|[\"\\\\\u{0}-\u{20}\u{7f}]){0,40}") {
            let json = json(&destination);
            let text = json.strip_prefix("{\"url\":\"").unwrap().strip_suffix("\"}\n").unwrap();
            let mut plain = String::new();
            let mut rest = text.chars();
            while let Some(c) = rest.next() {
                prop_assert!(c != '"' && !c.is_control());
                if c != '\\' {
                    plain.push(c);
                    continue;
                }
                match rest.next().unwrap() {
                    'u' => {
                        let hex: String = rest.by_ref().take(4).collect();
                        plain.push(char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap());
                    }
                    c => plain.push(c),
                }
            }
            prop_assert_eq!(plain, destination);
        }
    }
}
