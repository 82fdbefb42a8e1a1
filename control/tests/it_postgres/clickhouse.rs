//! A database of its own for a test, on the ClickHouse that `TEST_CLICKHOUSE_URL` names.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
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

    /// The same database behind a port on which nobody listens yet.
    pub(crate) fn later(&self) -> Later {
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let to = self.server.strip_prefix("http://").unwrap().to_owned();
        Later { url: format!("http://127.0.0.1:{port}/{}", self.name), port, to }
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

/// A server that is away until it [comes](Self::come).
pub(crate) struct Later {
    pub(crate) url: String,
    port: u16,
    to: String,
}

impl Later {
    /// From now on connections are passed on, until the test ends.
    pub(crate) fn come(&self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let to = self.to.clone();
        std::thread::spawn(move || {
            for from in listener.incoming() {
                let (from, to) = (from.unwrap(), TcpStream::connect(&to).unwrap());
                let back = (to.try_clone().unwrap(), from.try_clone().unwrap());
                for (mut from, mut to) in [(from, to), back] {
                    std::thread::spawn(move || {
                        drop(std::io::copy(&mut from, &mut to));
                        drop(to.shutdown(std::net::Shutdown::Write));
                    });
                }
            }
        });
    }
}

impl Drop for TestClickHouse {
    fn drop(&mut self) {
        self.send("default", &format!("DROP DATABASE {} SYNC", self.name));
    }
}
