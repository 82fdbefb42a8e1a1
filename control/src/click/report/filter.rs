//! Filters: which clicks a report is about.
//!
//! ```text
//! filter     = condition *(";" condition)                all of them must hold
//! condition  = dimension operator value *("," value)     one of the values must fit
//! operator   = "==" is, "!=" is none of, "=@" contains, "!@" contains none of
//! ```
//!
//! A value is percent-encoded (RFC 3986, 2.1) once more than the query is, where it holds one of
//! `;`, `,` or `%`. An empty value means unknown. `==` compares exactly; `=@` takes ASCII letters of
//! either case as alike.

use carom_shared::LinkId;
use carom_shared::click::Detail;

use super::Dimension;

/// Conditions of a filter, at most; values of a condition; bytes of a value.
const CONDITIONS_MAX: usize = 10;
const VALUES_MAX: usize = 50;
const VALUE_LEN_MAX: usize = 1024;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) is_negated: bool,
    pub(crate) test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// The name is one of these.
    Is(Detail, Vec<String>),
    /// The name contains one of these, all in lower case, of ASCII letters of either case.
    Contains(Detail, Vec<String>),
    /// The number is one of these, of a dimension that is no detail.
    Number(Dimension, Vec<i64>),
}

/// Why a filter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error(
        "filter has at most {CONDITIONS_MAX} conditions, each with at most {VALUES_MAX} values"
    )]
    TooMany,
    #[error(
        "filter: {0:?} is not a condition; write one such as country==DE,FR or referrer=@news, \
         with one of the operators == != =@ !@"
    )]
    Condition(String),
    #[error("filter: there is no dimension {0:?}; the dimensions are {names}", names = names())]
    Dimension(String),
    #[error("filter: {0} can be compared with == and != only")]
    Operator(&'static str),
    #[error("filter: {1:?} is not a value of {0}")]
    Value(&'static str, String),
    #[error("filter: a value has at most {VALUE_LEN_MAX} bytes and is percent-encoded UTF-8")]
    Text,
    #[error("filter: a text to search for in {0} must not be empty")]
    Empty(&'static str),
}

/// All dimensions' names.
pub(crate) fn names() -> String {
    let names: Vec<&str> = Dimension::all().map(Dimension::as_str).collect();
    names.join(", ")
}

/// Reads a filter. `domains` are those that the workspace may use.
pub(crate) fn parse(text: &str, domains: &[(i64, String)]) -> Result<Vec<Filter>, FilterError> {
    let conditions: Vec<&str> = text.split(';').collect();
    if conditions.len() > CONDITIONS_MAX {
        return Err(FilterError::TooMany);
    }
    conditions.into_iter().map(|condition| parse_condition(condition, domains)).collect()
}

fn parse_condition(text: &str, domains: &[(i64, String)]) -> Result<Filter, FilterError> {
    let malformed = || FilterError::Condition(shown(text));
    let at = text.find(['=', '!']).ok_or_else(malformed)?;
    let (name, rest) = text.split_at_checked(at).ok_or_else(malformed)?;
    let (operator, values) = rest.split_at_checked(2).ok_or_else(malformed)?;
    let (is_negated, is_search) = match operator {
        "==" => (false, false),
        "!=" => (true, false),
        "=@" => (false, true),
        "!@" => (true, true),
        _ => return Err(malformed()),
    };
    let dimension = Dimension::parse(name).ok_or_else(|| FilterError::Dimension(shown(name)))?;
    let values: Vec<&str> = values.split(',').collect();
    if values.len() > VALUES_MAX {
        return Err(FilterError::TooMany);
    }
    let values = values.into_iter().map(|value| decode(value).ok_or(FilterError::Text));
    let values: Vec<String> = values.collect::<Result<_, _>>()?;
    if is_search && values.iter().any(String::is_empty) {
        return Err(FilterError::Empty(dimension.as_str()));
    }
    let test = match dimension {
        Dimension::Detail(detail) if is_search => {
            Test::Contains(detail, values.iter().map(|value| value.to_ascii_lowercase()).collect())
        }
        Dimension::Detail(detail) => Test::Is(detail, values),
        _ => Test::Number(dimension, numbers(dimension, &values, is_search, domains)?),
    };
    Ok(Filter { is_negated, test })
}

/// The numbers that stand for values of a dimension that is no detail.
fn numbers(
    dimension: Dimension,
    values: &[String],
    is_search: bool,
    domains: &[(i64, String)],
) -> Result<Vec<i64>, FilterError> {
    let known: Vec<(i64, &str)> = match dimension {
        Dimension::Domain => domains.iter().map(|(id, host)| (*id, host.as_str())).collect(),
        _ => dimension.words().unwrap_or_default(),
    };
    if is_search && known.is_empty() {
        return Err(FilterError::Operator(dimension.as_str()));
    }
    let mut numbers = Vec::new();
    for value in values {
        let unknown = || FilterError::Value(dimension.as_str(), shown(value));
        let folded = value.to_ascii_lowercase();
        match dimension {
            Dimension::Link => {
                numbers.push(value.parse::<LinkId>().map_err(|_| unknown())?.get());
            }
            Dimension::Status | Dimension::Variant | Dimension::TargetRevision => {
                numbers.push(value.parse::<u32>().map_err(|_| unknown())?.into());
            }
            _ if is_search => {
                let found = known.iter().filter(|(_, word)| word.contains(&folded));
                numbers.extend(found.map(|(number, _)| number));
            }
            _ => {
                let found = known.iter().find(|(_, word)| *word == folded);
                numbers.push(found.ok_or_else(unknown)?.0);
            }
        }
    }
    Ok(numbers)
}

/// As much of a client's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(50).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| text.len() <= VALUE_LEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_one(text: &str) -> Result<Vec<Filter>, FilterError> {
        parse(text, &[(7, "go.example".to_owned()), (8, "own.example".to_owned())])
    }

    #[test]
    fn conditions_are_read() {
        let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let filters = parse_one(
            "country==DE,FR;browser!=Chrome;referrer=@News;utm_source!@x;city==a%3Bb%2C%25=c;\
             device==mobile;domain=@EXAMPLE;status!=404;language==",
        );
        let of = |is_negated, test| Filter { is_negated, test };
        let expected = vec![
            of(false, Test::Is(Detail::Country, texts(&["DE", "FR"]))),
            of(true, Test::Is(Detail::Browser, texts(&["Chrome"]))),
            of(false, Test::Contains(Detail::Referrer, texts(&["news"]))),
            of(true, Test::Contains(Detail::UtmSource, texts(&["x"]))),
            of(false, Test::Is(Detail::City, texts(&["a;b,%=c"]))),
            of(false, Test::Number(Dimension::Device, vec![2])),
            of(false, Test::Number(Dimension::Domain, vec![7, 8])),
            of(true, Test::Number(Dimension::Status, vec![404])),
            of(false, Test::Is(Detail::Language, texts(&[""]))),
        ];
        assert_eq!(filters, Ok(expected));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, start) in [
            ("", "filter: \"\" is not a condition"),
            ("country", "filter: \"country\" is not"),
            ("country=DE", "filter: \"country=DE\" is not"),
            ("country=é", "filter: \"country=é\" is not"),
            ("planet==X", "filter: there is no dimension \"planet\"; the dimensions are referrer,"),
            ("status=@4", "filter: status can be compared"),
            ("device==fridge", "filter: \"fridge\" is not a value of device"),
            ("domain==evil.example", "filter: \"evil.example\" is not"),
            ("link==x", "filter: \"x\" is not a value of link"),
            ("city==%zz", "filter: a value has"),
            ("city==%ff", "filter: a value has"),
            ("city=@", "filter: a text to search for in city"),
        ] {
            let error = parse_one(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{text}: {error}");
        }
        assert_eq!(parse_one(&"city==a;".repeat(10)), Err(FilterError::TooMany));
        assert_eq!(parse_one(&format!("city=={}", ",".repeat(50))), Err(FilterError::TooMany));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[a-z]{0,5}(==|!=|=@|!@)\\PC{0,20}") {
            let _filters: Result<_, _> = parse_one(&text);
        }
    }
}
