//! The form with which people report a link, and what they are told then.

use axum::response::{IntoResponse, Response};
use http::header;

use super::ReportReason;

/// Nothing runs, nothing is loaded, and the form goes where it came from.
const POLICY: &str = "default-src 'none'; style-src 'sha256-zYYL2nSUyByNzV9KWG1r83JBmX5vXMX3BogCahclwxQ='; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";
/// The hand of the dashboard, without its files: nothing is loaded for a stranger.
const STYLE: &str = ":root{color-scheme:light dark;--p:#faf9f6;--c:#fff;--l:#c9c5b8;--i:#1c201e;--m:#545c58;--a:#0a6b4f;\
     font:1rem/1.5 system-ui,sans-serif;background:var(--p);color:var(--i)}\
     @media(prefers-color-scheme:dark){:root{--p:#121514;--c:#1a1e1c;--l:#454d49;--i:#e9ece9;--m:#aab2ad;\
     --a:#43c99a}}\
     main{max-width:30rem;margin:10vh auto 3rem;padding:0 1.25rem}\
     h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.015em;font-weight:650;margin:0 0 .5rem}\
     p{margin:0 0 1.5rem;color:var(--m)}small{font-size:1em;font-weight:400;color:var(--m)}\
     label{display:block;margin:0 0 1rem;font-weight:550}\
     input,select,textarea{display:block;box-sizing:border-box;width:100%;min-height:2.75rem;margin:.375rem 0 0;\
     padding:.5rem .75rem;font:inherit;font-weight:400;color:inherit;background:var(--c);\
     border:1px solid var(--l);border-radius:.5rem}\
     button{padding:.625rem 1.25rem;font:inherit;font-weight:550;border:0;border-radius:.5rem;\
     background:var(--a);color:var(--p);cursor:pointer}\
     :focus-visible{outline:2px solid var(--a);outline-offset:2px}";

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
            "<p>Somebody misuses a short link? Whoever runs this service will look at it.\
             <form method=post action=report>\
             <label>Short link <input name=short_url required maxlength=400 value=\"{}\"></label>\
             <label>What is wrong with it? <select name=reason required>{}</select></label>\
             <label>What helps us to see it <small>(if you like)</small>\
             <textarea name=comment rows=4 maxlength=2000></textarea></label>\
             <label>How we can reach you <small>(if you like)</small>\
             <input name=contact maxlength=200></label>\
             <button>Report</button></form>",
            escaped(short_url),
            reasons.concat(),
        ),
    )
}

/// The answer to a form that was sent.
pub(super) fn thanks() -> Response {
    page("Thank you", "<p>We will look at this link. You can close this page.")
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><main><h1>{title}</h1>{body}</main></html>\n"
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
