//! A statement as a request of ClickHouse's HTTP interface, and what its answer means. Whoever does
//! the I/O sends one and hears the other.

use url::form_urlencoded::Serializer;

/// Of an answer: the code of the exception, if there was one, also behind a status of success.
pub const EXCEPTION_HEADER: &str = "X-ClickHouse-Exception-Code";
/// Of a request: as whom it asks.
pub const USER_HEADER: &str = "X-ClickHouse-User";
pub const PASSWORD_HEADER: &str = "X-ClickHouse-Key";
/// Characters of an error of the server's that are repeated.
const ERROR_LEN: usize = 500;

/// A statement and what goes with it.
#[derive(Debug)]
pub struct Statement<'a> {
    pub sql: &'a str,
    /// The bytes of an INSERT, and their `Content-Encoding`; the statement then goes into the URL.
    pub data: Option<(Vec<u8>, Option<&'static str>)>,
    pub query_id: Option<String>,
    pub settings: &'a [(&'a str, &'a str)],
    /// Settings of this one beside those.
    pub more: &'a [(&'a str, &'a str)],
}

/// What is sent with POST.
#[derive(Debug)]
pub struct StatementRequest {
    /// Path and query.
    pub target: String,
    pub body: Vec<u8>,
    /// Its `Content-Encoding`.
    pub encoding: Option<&'static str>,
}

impl<'a> Statement<'a> {
    #[must_use]
    pub const fn new(sql: &'a str, settings: &'a [(&'a str, &'a str)]) -> Self {
        Self { sql, data: None, query_id: None, settings, more: &[] }
    }

    /// The request that carries it to this database.
    #[must_use]
    pub fn request(self, database: &str) -> StatementRequest {
        let Self { sql, data, query_id, settings, more } = self;
        let mut query = Serializer::new(String::new());
        query.append_pair("database", database).extend_pairs(settings).extend_pairs(more);
        if let Some(id) = &query_id {
            query.append_pair("query_id", id);
        }
        let (body, encoding) = match data {
            Some((bytes, encoding)) => {
                query.append_pair("query", sql);
                (bytes, encoding)
            }
            None => (sql.as_bytes().to_owned(), None),
        };
        StatementRequest { target: format!("/?{}", query.finish()), body, encoding }
    }
}

/// Why a statement was not carried out, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// It was not sent.
    #[error("ClickHouse cannot be reached: {0}")]
    Away(String),
    /// It was sent, and no whole answer came.
    #[error("ClickHouse did not answer: {0}")]
    Lost(String),
    /// The server says why not.
    #[error("ClickHouse refused: {text}")]
    Refused { code: u32, text: String },
    #[error("ClickHouse gave an answer that cannot be read: {0}")]
    Answer(String),
    /// A batch is not stored yet.
    #[error("{0}")]
    Later(String),
}

impl ClickHouseError {
    /// What an answer means: its status, [`EXCEPTION_HEADER`] and body. An error that is not the
    /// server's own says nothing of what was done.
    ///
    /// # Errors
    /// Unless the answer says that the statement was carried out.
    pub fn judge(status: u16, exception: Option<&str>, body: &[u8]) -> Result<(), Self> {
        let text = || String::from_utf8_lossy(body).chars().take(ERROR_LEN).collect::<String>();
        let text = || text().trim().to_owned();
        match exception.and_then(|code| code.parse().ok()) {
            Some(code) => Err(Self::Refused { code, text: text() }),
            None if status == 200 => Ok(()),
            None => Err(Self::Lost(format!("HTTP {status}: {}", text()))),
        }
    }

    /// Whether trying again later can help, without anybody doing anything.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Away(_) | Self::Lost(_) | Self::Later(_) => true,
            Self::Answer(_) => false,
            // TIMEOUT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, SOCKET_TIMEOUT, NETWORK_ERROR,
            // TABLE_IS_READ_ONLY, MEMORY_LIMIT_EXCEEDED, TOO_MANY_PARTS, QUERY_WITH_SAME_ID,
            // NOT_ENOUGH_SPACE, KEEPER_EXCEPTION.
            Self::Refused { code, text } => {
                matches!(*code, 159 | 202 | 209 | 210 | 242 | 241 | 252 | 216 | 243 | 999)
                    || is_disk_full(text)
            }
        }
    }

    /// Whether an insert was refused for what is in it, which no other try changes: what cannot be read
    /// or is out of its type's range, and what a constraint of the table forbids. Rights, schema and load
    /// are not among them: those are not the batch's own.
    #[must_use]
    pub const fn is_content(&self) -> bool {
        // CANNOT_PARSE_TEXT, CANNOT_PARSE_ESCAPE_SEQUENCE, CANNOT_PARSE_QUOTED_STRING,
        // CANNOT_PARSE_INPUT_ASSERTION_FAILED, CANNOT_READ_ALL_DATA, INCORRECT_DATA,
        // TOO_LARGE_STRING_SIZE, VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE, VIOLATED_CONSTRAINT.
        matches!(self, Self::Refused { code: 6 | 25 | 26 | 27 | 33 | 117 | 131 | 321 | 469, .. })
    }

    /// Whether the server gave up because a question takes too long or too much.
    #[must_use]
    pub const fn is_too_long(&self) -> bool {
        matches!(self, Self::Refused { code: 158 | 159 | 160 | 241 | 307, .. })
    }
}

/// Whether a write failed because there is no room for it. A server that sees that beforehand says
/// `NOT_ENOUGH_SPACE`; one that finds out in the middle says what the system told it, under the code of whatever
/// it was doing: `CANNOT_WRITE_TO_FILE_DESCRIPTOR`, `CANNOT_CREATE_DIRECTORY`, `STD_EXCEPTION` and others. The
/// words are those of `strerror(3)` for `ENOSPC` and `EDQUOT`.
fn is_disk_full(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"].iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_passes_by_itself() {
        let judge = |code, body: &str| {
            ClickHouseError::judge(500, Some(code), body.as_bytes()).unwrap_err().is_unavailable()
        };
        assert!(judge(
            "243",
            "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space"
        ));
        for code in ["75", "481", "1001"] {
            let text = "Cannot write to file: , errno: 28, strerror: No space left on device";
            assert!(judge(code, text), "{code}");
        }
        let text = "Cannot write to file: , errno: 5, strerror: Input/output error";
        assert!(!judge("75", text));
    }

    #[test]
    fn only_the_servers_own_errors_say_that_nothing_was_done() {
        let body = b"Code: 252. DB::Exception: Too many parts\n";
        let refused = ClickHouseError::judge(500, Some("252"), body);
        assert!(matches!(refused, Err(ClickHouseError::Refused { code: 252, .. })));
        // An exception that came after the head: the status is 200.
        assert!(ClickHouseError::judge(200, Some("252"), body).is_err());
        let proxy = ClickHouseError::judge(502, None, b"");
        assert!(matches!(proxy, Err(ClickHouseError::Lost(_))));
        assert!(ClickHouseError::judge(200, None, b"").is_ok());
    }

    #[test]
    fn an_insert_has_its_statement_in_the_url_and_a_question_in_the_body() {
        let settings = &[("a", "1")][..];
        let question = Statement::new("SELECT 1", settings).request("db");
        assert_eq!((question.target.as_str(), question.encoding), ("/?database=db&a=1", None));
        assert_eq!(question.body, b"SELECT 1");
        let insert = Statement {
            data: Some((vec![1, 2], Some("zstd"))),
            query_id: Some("db/1".into()),
            more: &[("b", "x y")],
            ..Statement::new("INSERT", settings)
        };
        let insert = insert.request("db");
        assert_eq!(insert.target, "/?database=db&a=1&b=x+y&query_id=db%2F1&query=INSERT");
        assert_eq!((insert.body, insert.encoding), (vec![1, 2], Some("zstd")));
    }
}
