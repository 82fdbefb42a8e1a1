//! Who wrote a file of links, told by its columns, and what each column is.
//!
//! The names of columns are compared without case, spaces, `_` and `-`. Of the others' formats these
//! are known: the CSV that Shlink's web client writes and the one its importer takes; the table of
//! YOURLS and the CSV of its Import-Export plugin; links of Kutt's API; links of Bitly's API and its
//! CSV; links of Dub's API and its CSV; `/api/all` of Chhoto.

use clap::ValueEnum;
use serde::Serialize;

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Code,
    /// A code with slashes around it.
    Path,
    /// A domain and a code.
    ShortUrl,
    /// As `ShortUrl`, the first of several.
    ChosenUrls,
    Url,
    Domain,
    Title,
    Notes,
    /// Separated as Carom does it.
    Tags,
    /// Separated by commas or bars.
    TagList,
    RedirectStatus,
    MaxAge,
    State,
    Archived,
    Banned,
    Password,
    NotBefore,
    ExpiresAt,
    FallbackUrl,
    Forward,
    Prefer,
    Query,
    CreatedAt,
    DeletedAt,
    Clicks,
    Id,
    /// Said elsewhere in the row, or nothing that anybody would miss.
    Known,
    /// Carom has nothing like it: the report says so.
    Lost,
}

/// Whose export a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    Carom,
    Shlink,
    Yourls,
    Kutt,
    Bitly,
    Dub,
    Chhoto,
}

/// What tells an origin: any of these sets of columns. In this order: a file of Carom's may have
/// any other column too.
const MARKS: &[(Origin, &[&[&str]])] = &[
    (Origin::Carom, &[&["code", "url"]]),
    (Origin::Chhoto, &[&["shortlink", "longlink"]]),
    (
        Origin::Dub,
        &[
            &["shortlink", "destinationurl"],
            &["shortlink", "url"],
            &["link", "url"],
            &["key", "url"],
        ],
    ),
    (Origin::Kutt, &[&["address", "target"]]),
    (Origin::Yourls, &[&["keyword", "url"], &["source", "target"]]),
    (
        Origin::Bitly,
        &[
            &["link", "longurl"],
            &["bitlink", "longurl"],
            &["bitlink", "destination"],
            &["shorturl", "destination"],
            &["link", "destination"],
        ],
    ),
    (Origin::Shlink, &[&["shortcode", "longurl"], &["shorturl", "longurl"]]),
];

type Columns = &'static [(&'static str, Field)];

const CAROM: Columns = &[
    ("code", Field::Code),
    ("url", Field::Url),
    ("domain", Field::Domain),
    ("title", Field::Title),
    ("notes", Field::Notes),
    ("tags", Field::Tags),
    ("redirectstatus", Field::RedirectStatus),
    ("maxage", Field::MaxAge),
    ("state", Field::State),
    ("archived", Field::Archived),
    ("notbefore", Field::NotBefore),
    ("expiresat", Field::ExpiresAt),
    ("fallbackurl", Field::FallbackUrl),
    ("queryforward", Field::Forward),
    ("queryprefer", Field::Prefer),
    ("query", Field::Query),
    ("createdat", Field::CreatedAt),
    ("deletedat", Field::DeletedAt),
    ("clicks", Field::Clicks),
    ("importedclicks", Field::Clicks),
    ("id", Field::Id),
    ("shorturl", Field::Known),
    ("version", Field::Known),
    ("updatedat", Field::Known),
    ("createdby", Field::Known),
    ("lastclickat", Field::Known),
    // Of a file of refused rows.
    ("refusedrow", Field::Known),
    ("refusedfield", Field::Known),
    ("refusedreason", Field::Known),
];

const SHLINK: Columns = &[
    ("shortcode", Field::Code),
    ("shorturl", Field::ShortUrl),
    ("longurl", Field::Url),
    ("domain", Field::Domain),
    ("title", Field::Title),
    ("tags", Field::TagList),
    ("createdat", Field::CreatedAt),
    ("datecreated", Field::CreatedAt),
    ("visits", Field::Clicks),
    ("visitscount", Field::Clicks),
    ("visitssummary", Field::Lost),
    ("meta", Field::Lost),
    ("crawlable", Field::Lost),
    ("forwardquery", Field::Lost),
    ("hasredirectrules", Field::Lost),
];

const YOURLS: Columns = &[
    ("keyword", Field::Code),
    ("source", Field::Path),
    ("url", Field::Url),
    ("target", Field::Url),
    ("title", Field::Title),
    ("timestamp", Field::CreatedAt),
    ("date", Field::CreatedAt),
    ("clicks", Field::Clicks),
    ("hits", Field::Clicks),
    ("shorturl", Field::Known),
    ("ip", Field::Lost),
];

const KUTT: Columns = &[
    ("address", Field::Code),
    ("target", Field::Url),
    ("domain", Field::Domain),
    ("description", Field::Notes),
    ("visitcount", Field::Clicks),
    ("createdat", Field::CreatedAt),
    ("expirein", Field::ExpiresAt),
    ("banned", Field::Banned),
    ("password", Field::Password),
    ("id", Field::Known),
    ("uuid", Field::Known),
    ("link", Field::Known),
    ("updatedat", Field::Known),
];

const BITLY: Columns = &[
    ("link", Field::ShortUrl),
    ("bitlink", Field::ShortUrl),
    ("shorturl", Field::ShortUrl),
    ("custombitlinks", Field::ChosenUrls),
    ("longurl", Field::Url),
    ("destination", Field::Url),
    ("title", Field::Title),
    ("tags", Field::TagList),
    ("created", Field::CreatedAt),
    ("createdat", Field::CreatedAt),
    ("datecreated", Field::CreatedAt),
    ("date", Field::CreatedAt),
    ("clicks", Field::Clicks),
    ("engagements", Field::Clicks),
    ("archived", Field::Archived),
    ("expirationat", Field::ExpiresAt),
    ("id", Field::Known),
    ("createdby", Field::Known),
    ("clientid", Field::Known),
    ("references", Field::Known),
    ("deeplinks", Field::Lost),
];

const DUB: Columns = &[
    ("shortlink", Field::ShortUrl),
    ("link", Field::ShortUrl),
    ("key", Field::Code),
    ("domain", Field::Domain),
    ("destinationurl", Field::Url),
    ("url", Field::Url),
    ("title", Field::Title),
    ("comments", Field::Notes),
    ("tags", Field::TagList),
    ("createdat", Field::CreatedAt),
    ("expiresat", Field::ExpiresAt),
    ("expiredurl", Field::FallbackUrl),
    ("archived", Field::Archived),
    ("clicks", Field::Clicks),
    ("password", Field::Password),
    ("id", Field::Known),
    ("linkid", Field::Known),
    ("updatedat", Field::Known),
    ("lastclicked", Field::Known),
    ("qrcode", Field::Known),
    ("description", Field::Lost),
    ("leads", Field::Lost),
    ("conversions", Field::Lost),
    ("sales", Field::Lost),
    ("revenue", Field::Lost),
];

const CHHOTO: Columns = &[
    ("shortlink", Field::Code),
    ("longlink", Field::Url),
    ("hits", Field::Clicks),
    ("expirytime", Field::ExpiresAt),
    ("notes", Field::Notes),
];

impl Origin {
    /// Whose columns these are.
    pub(super) fn of<'a>(columns: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let columns: Vec<String> = columns.into_iter().map(folded).collect();
        let has = |mark: &&str| columns.iter().any(|column| column == mark);
        let is_it = |marks: &[&str]| marks.iter().all(has);
        let found = MARKS.iter().find(|(_, marks)| marks.iter().any(|set| is_it(set)));
        found.map(|(origin, _)| *origin)
    }

    const fn columns(self) -> Columns {
        match self {
            Self::Carom => CAROM,
            Self::Shlink => SHLINK,
            Self::Yourls => YOURLS,
            Self::Kutt => KUTT,
            Self::Bitly => BITLY,
            Self::Dub => DUB,
            Self::Chhoto => CHHOTO,
        }
    }

    /// What a column is; `None` if it is unknown.
    pub(super) fn field(self, column: &str) -> Option<Field> {
        let name = folded(column);
        self.columns().iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Carom => "Carom",
            Self::Shlink => "Shlink",
            Self::Yourls => "YOURLS",
            Self::Kutt => "Kutt",
            Self::Bitly => "Bitly",
            Self::Dub => "Dub",
            Self::Chhoto => "Chhoto URL",
        }
    }
}

fn folded(column: &str) -> String {
    let kept = column.trim().chars().filter(|c| !matches!(c, ' ' | '_' | '-'));
    kept.flat_map(char::to_lowercase).collect()
}
