//! A database of its own for a test, on the ClickHouse that `TEST_CLICKHOUSE_URL` names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct TestClickHouse {
    /// As `clicks.url` has it.
    pub(crate) url: String,
    server: String,
    name: String,
}

impl TestClickHouse {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test's environment")]
        let server = std::env::var("TEST_CLICKHOUSE_URL").unwrap_or_else(|_| {
            panic!("TEST_CLICKHOUSE_URL is not set: eval \"$(deploy/services up clickhouse)\"")
        });
        let server = server.trim_end_matches('/').trim_end_matches("/default").to_owned();
        #[expect(clippy::disallowed_methods, reason = "a name that no other test has")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("carom_test_{}_{now}", std::process::id());
        let made = Self { url: format!("{server}/{name}"), server, name };
        made.send("default", &format!("CREATE DATABASE {}", made.name));
        made
    }

    /// What a statement answers, without the last line's end.
    pub(crate) fn ask(&self, sql: &str) -> String {
        self.send(&self.name, sql)
    }

    fn send(&self, database: &str, sql: &str) -> String {
        let host = self.server.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /?database={database} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{sql}",
            sql.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned()
    }
}

impl Drop for TestClickHouse {
    fn drop(&mut self) {
        self.send("default", &format!("DROP DATABASE {} SYNC", self.name));
    }
}
