//! The form with which people report a link, and what they are told then.

use axum::response::{IntoResponse, Response};
use http::header;

use super::ReportReason;

/// Nothing runs, nothing is loaded, and the form goes where it came from.
const POLICY: &str = "default-src 'none'; style-src 'sha256-2se4PQ7qQC7NPpr8S8NI4VZoM1YvPvs13M6pP0hzYM8='; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";
const STYLE: &str = ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
     body{max-width:34rem;margin:10vh auto 3rem;padding:0 1.25rem}\
     h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}\
     label{display:block;margin:0 0 1rem}\
     input,select,textarea{display:block;box-sizing:border-box;width:100%;font:inherit;padding:.4rem}\
     button{font:inherit;padding:.4rem 1rem}";

/// The form, with a short URL in it.
pub(super) fn form(short_url: &str) -> Response {
    let reasons = ReportReason::ALL.map(|reason| {
        let what = match reason {
            ReportReason::Phishing => "It pretends to be somebody else (phishing)",
            ReportReason::Malware => "It leads to harmful software",
            ReportReason::Spam => "It is advertised by spam",
            ReportReason::Illegal => "What it leads to is illegal",
            ReportReason::Other => "Something else",
        };
        format!("<option value={}>{what}", reason.as_str())
    });
    page(
        "Report a link",
        &format!(
            "<form method=post action=report>\
             <label>Short link <input name=short_url required maxlength=400 value=\"{}\"></label>\
             <label>What is wrong with it? <select name=reason required>{}</select></label>\
             <label>Anything that helps us (not required) \
             <textarea name=comment rows=4 maxlength=2000></textarea></label>\
             <label>How we can reach you (not required) \
             <input name=contact maxlength=200></label>\
             <button>Report</button></form>",
            escaped(short_url),
            reasons.concat(),
        ),
    )
}

/// The answer to a form that was sent.
pub(super) fn thanks() -> Response {
    page("Thank you", "<p>We will look at this link.")
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1>{body}</html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, html).into_response()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = bytes.chunks(3).flat_map(|chunk| {
            let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
            let word = at(0) << 16 | at(1) << 8 | at(2);
            let len = chunk.len();
            (0..4).map(move |digit| match digit > len {
                true => '=',
                false => char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]),
            })
        });
        digits.collect()
    }

    /// A browser ignores a stylesheet whose hash is another.
    #[test]
    fn the_form_may_have_its_stylesheet() {
        let hash = base64(&Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "{hash}");
    }

    #[test]
    fn what_stands_in_the_form_cannot_leave_its_place() {
        assert_eq!(escaped("a\"><script>&'"), "a&quot;&gt;&lt;script&gt;&amp;&#39;");
    }
}
