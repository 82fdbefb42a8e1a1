//! [`Head`] → [`Ask`]: what a visitor wants, or why it is refused. Pure.
//!
//! The syntax of HTTP has been checked by then; what RFC 9112 3.2 tells a server to refuse beyond that
//! (no `Host`, two of them, an absolute form that contradicts it) is refused here.

mod head;
pub mod plain;

use carom_shared::{Code, DomainId};

use crate::domains::Domains;

pub use crate::proxy::ForwardedFor;
pub use head::{Fields, Head, Verb};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    pub domain: DomainId,
    /// The domain's codes are in lower case.
    pub folds_case: bool,
    pub resource: Resource<'a>,
    pub head: bool,
    pub query: Option<&'a str>,
}

/// What a path means on a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `/{code}`: go there.
    Link(&'a str),
    /// `/{code}+`: say where it goes. No code has a `+`.
    Preview(&'a str),
    /// `/robots.txt`
    Robots,
    /// `/favicon.ico`
    Favicon,
    /// `/`: the domain's home.
    Home,
    /// Paths that no code can have.
    Nothing,
}

/// Why a request is not an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No `Host`, several, one that is not a host, or one that the request target contradicts.
    Host,
    /// A body where none belongs; its bytes could be taken for the next request.
    Body,
    /// Not GET or HEAD.
    Method,
    /// A host that no domain here has.
    Misdirected,
}

/// What the form of an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Html,
    Json,
}

impl<'a> Ask<'a> {
    /// Reads a request's head.
    ///
    /// # Errors
    /// [`Refusal`], in the order in which the checks protect each other.
    pub fn parse(head: &Head<'a>, domains: &Domains) -> Result<Self, Refusal> {
        let host = head.host.ok_or(Refusal::Host)?;
        if head.has_body {
            return Err(Refusal::Body);
        }
        if head.verb == Verb::Other {
            return Err(Refusal::Method);
        }
        let domain = domains.find(host).ok_or(Refusal::Misdirected)?;
        let resource = Resource::of(head.path);
        Ok(Self {
            domain: domain.id,
            folds_case: domain.folds_case,
            resource,
            head: head.verb == Verb::Head,
            query: head.query,
        })
    }
}

impl<'a> Resource<'a> {
    fn of(path: &'a str) -> Self {
        let is_code = |text: &&str| Code::check(text.as_bytes()).is_ok();
        let Some(name) = path.strip_prefix('/') else { return Self::Nothing };
        if is_code(&name) {
            return Self::Link(name);
        }
        match name {
            "" => Self::Home,
            "robots.txt" => Self::Robots,
            "favicon.ico" => Self::Favicon,
            _ => name.strip_suffix('+').filter(is_code).map_or(Self::Nothing, Self::Preview),
        }
    }
}

/// Whether a request is for the host that its client named to TLS: else one domain's certificate would
/// stand before another's links (RFC 9110 7.4).
#[must_use]
pub fn names_host(head: &Head<'_>, server_name: &str) -> bool {
    let host = head.host.unwrap_or_default();
    let end = host.iter().rposition(|&b| b == b':').unwrap_or(host.len());
    let name = &host[..end];
    name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(server_name.as_bytes())
}

impl Form {
    /// JSON for whoever asks for it and not for HTML; HTML for everybody else.
    #[must_use]
    pub fn wanted(head: &Head<'_>) -> Self {
        let accept = head.fields.accept.unwrap_or_default();
        let names = |what: &[u8]| accept.windows(what.len()).any(|w| w.eq_ignore_ascii_case(what));
        if names(b"json") && !names(b"text/html") { Self::Json } else { Self::Html }
    }
}

/// What a request says of its visitor: the part of a click that is not about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor<'a> {
    pub prefetch: bool,
    pub do_not_track: bool,
    pub global_privacy_control: bool,
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
}

impl<'a> Visitor<'a> {
    #[must_use]
    pub fn read(head: &Head<'a>) -> Self {
        let fields = &head.fields;
        // Sec-Purpose may carry parameters: `prefetch;prerender`.
        let prefetch = fields.sec_purpose.is_some_and(|purpose| purpose.starts_with(b"prefetch"))
            || fields.purpose == Some(b"prefetch")
            || fields.x_moz == Some(b"prefetch");
        Self {
            prefetch,
            do_not_track: fields.dnt == Some(b"1"),
            global_privacy_control: fields.sec_gpc == Some(b"1"),
            user_agent: fields.user_agent.unwrap_or_default(),
            referrer: fields.referer.unwrap_or_default(),
            language: fields.accept_language.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::Host;
    use http::header::{ACCEPT, HOST};
    use http::{Request, Version};

    fn domains() -> Domains {
        let id = |n| DomainId::try_from(n).unwrap();
        Domains::new(&[
            (id(1), Host::parse("localhost").unwrap(), true),
            (id(2), Host::parse("go.example.com").unwrap(), false),
        ])
    }

    fn request(method: &str, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    fn refusal(method: &str, uri: &str, hosts: &[&str]) -> Refusal {
        Ask::parse(&Head::of(&request(method, uri, hosts), false), &domains()).unwrap_err()
    }

    #[test]
    fn a_host_and_a_path_become_a_domain_and_a_resource() {
        for (method, uri, host, domain, resource) in [
            ("GET", "/abc", "localhost:8080", 1, Resource::Link("abc")),
            ("GET", "/abc?x=1", "127.0.0.1", 1, Resource::Link("abc")),
            ("GET", "/", "localhost", 1, Resource::Home),
            ("HEAD", "/a_B-9", "Go.Example.com.", 2, Resource::Link("a_B-9")),
            ("GET", "http://go.example.com/x", "GO.example.com", 2, Resource::Link("x")),
            ("GET", "/abc+", "go.example.com", 2, Resource::Preview("abc")),
            ("GET", "/abc+?x", "go.example.com", 2, Resource::Preview("abc")),
            ("GET", "/robots.txt", "go.example.com", 2, Resource::Robots),
            ("HEAD", "/favicon.ico?v=2", "go.example.com", 2, Resource::Favicon),
        ] {
            let request = request(method, uri, &[host]);
            let ask = Ask::parse(&Head::of(&request, false), &domains()).unwrap();
            assert_eq!((ask.domain.get(), ask.resource), (domain, resource), "{uri}");
            assert_eq!(ask.head, method == "HEAD");
        }
        for path in ["/a/b", "/+", "/a++", "/+a", "/a+b", "/a%2B", "/a%41", "/Robots.txt", "//a"] {
            let request = request("GET", path, &["go.example.com"]);
            let ask = Ask::parse(&Head::of(&request, false), &domains()).unwrap();
            assert_eq!(ask.resource, Resource::Nothing, "{path}");
        }
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(refusal("GET", "/abc", &[]), Refusal::Host);
        assert_eq!(refusal("GET", "/abc", &["localhost", "localhost"]), Refusal::Host);
        assert_eq!(refusal("GET", "http://evil.test/abc", &["localhost"]), Refusal::Host);
        assert_eq!(refusal("GET", "/abc", &["evil.test"]), Refusal::Misdirected);
        assert_eq!(refusal("GET", "/abc", &[""]), Refusal::Misdirected);
        assert_eq!(refusal("POST", "/abc", &["localhost"]), Refusal::Method);
        assert_eq!(refusal("OPTIONS", "*", &["localhost"]), Refusal::Method);
        let request = Request::builder().uri("/abc").header(HOST, "localhost").body(()).unwrap();
        assert_eq!(Ask::parse(&Head::of(&request, true), &domains()), Err(Refusal::Body));
    }

    /// RFC 9113 8.3.1.
    #[test]
    fn with_http_2_the_target_names_the_host() {
        let parse = |uri: &str, hosts: &[&str]| {
            let mut request = request("GET", uri, hosts);
            *request.version_mut() = Version::HTTP_2;
            Ask::parse(&Head::of(&request, false), &domains()).map(|ask| ask.domain.get())
        };
        let uri = "https://go.example.com/abc";
        assert_eq!(parse(uri, &[]), Ok(2));
        assert_eq!(parse(uri, &["GO.example.com"]), Ok(2));
        assert_eq!(parse("/abc", &["go.example.com"]), Ok(2));
        assert_eq!(parse(uri, &["localhost"]), Err(Refusal::Host));
        assert_eq!(parse(uri, &["go.example.com", "go.example.com"]), Err(Refusal::Host));
        assert_eq!(parse("/abc", &[]), Err(Refusal::Host));
        assert_eq!(parse("https://evil.test/abc", &[]), Err(Refusal::Misdirected));
    }

    #[test]
    fn tls_and_http_name_the_same_host() {
        for (host, name, same) in [
            ("go.example.com", "go.example.com", true),
            ("GO.example.com:443", "go.example.com", true),
            ("go.example.com.", "go.example.com", true),
            ("localhost", "go.example.com", false),
            ("go.example.com.evil.test", "go.example.com", false),
            ("", "go.example.com", false),
        ] {
            assert_eq!(
                names_host(&Head::of(&request("GET", "/abc", &[host]), false), name),
                same,
                "{host}"
            );
        }
        assert!(!names_host(&Head::of(&request("GET", "/abc", &[]), false), "go.example.com"));
    }

    #[test]
    fn programs_that_ask_for_json_get_json() {
        for (accept, form) in [
            ("application/json", Form::Json),
            ("application/problem+JSON, */*", Form::Json),
            ("text/html,application/json;q=0.9", Form::Html),
            ("*/*", Form::Html),
            ("", Form::Html),
        ] {
            let request = Request::builder().header(ACCEPT, accept).body(()).unwrap();
            assert_eq!(Form::wanted(&Head::of(&request, false)), form, "{accept}");
        }
    }

    #[test]
    fn prefetches_and_privacy_signals_are_read() {
        let visitor = |name: &'static str, value: &str| {
            let request = Request::builder().header(name, value).body(()).unwrap();
            let v = Visitor::read(&Head::of(&request, false));
            [v.prefetch, v.do_not_track, v.global_privacy_control]
        };
        assert_eq!(visitor("sec-purpose", "prefetch;prerender"), [true, false, false]);
        assert_eq!(visitor("purpose", "prefetch"), [true, false, false]);
        assert_eq!(visitor("dnt", "1"), [false, true, false]);
        assert_eq!(visitor("sec-gpc", "1"), [false, false, true]);
        assert_eq!(visitor("dnt", "0"), [false, false, false]);
    }
}
