//! A visitor on a raw socket: sends any bytes and reads responses as RFC 9112 frames them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// How long a visitor waits before the test fails: far longer than anything takes, also where tests share
/// their processors and their disk with much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Read and not yet part of a reply.
    buffer: Vec<u8>,
}

/// One response, in the bytes in which it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What the edge does next on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Byte,
    /// It ended the connection, with FIN or RST.
    End,
    /// Nothing, for as long as was waited.
    Silence,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Comes from an address of this machine.
    pub(crate) fn connect_from(source: &str, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes, unless the edge has ended the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a request of these lines, to which nothing is added but the empty line.
    pub(crate) fn ask(&mut self, lines: &[&str]) {
        self.send(format!("{}\r\n\r\n", lines.join("\r\n")));
    }

    /// Asks for a path on the domain of the tests.
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.ask(&[&format!("GET {path} HTTP/1.1"), "Host: go.example.com"]);
        self.reply()
    }

    /// As [`Self::get`]; `None` if the edge ends the connection instead.
    pub(crate) fn try_get(&mut self, path: &str) -> Option<Reply> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: go.example.com\r\n\r\n");
        let is_answered =
            self.try_send(request.as_bytes()) && self.next_byte(PATIENCE) == Next::Byte;
        is_answered.then(|| self.reply())
    }

    /// The next response; its request was not HEAD.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut reply = self.head_reply();
        let len = reply.header("content-length").map_or(0, |len| len.parse().unwrap());
        self.fill_until(|buffer| (buffer.len() >= len).then_some(()));
        reply.body = text(self.buffer.drain(..len));
        reply
    }

    /// The next response to a HEAD request: it has no body, whatever its length says.
    pub(crate) fn head_reply(&mut self) -> Reply {
        let end = self.fill_until(|buffer| {
            buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
        });
        let head = text(self.buffer.drain(..end));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: String::new() }
    }

    fn fill_until<T>(&mut self, done: impl Fn(&[u8]) -> Option<T>) -> T {
        loop {
            if let Some(done) = done(&self.buffer) {
                return done;
            }
            let next = self.next(PATIENCE);
            assert_eq!(next, Next::Byte, "in the middle of {:?}", text(self.buffer.drain(..)));
        }
    }

    /// Waits for what comes after the replies that were read.
    pub(crate) fn next(&mut self, wait: Duration) -> Next {
        let mut bytes = [0; 4096];
        self.stream.set_read_timeout(Some(wait)).unwrap();
        match self.stream.read(&mut bytes) {
            Ok(0) => Next::End,
            Ok(len) => {
                self.buffer.extend(&bytes[..len]);
                Next::Byte
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Next::Silence
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Next::End,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Self::next`], unless something was read that is not part of a reply yet.
    pub(crate) fn next_byte(&mut self, wait: Duration) -> Next {
        if self.buffer.is_empty() { self.next(wait) } else { Next::Byte }
    }

    /// Whether the edge ends the connection now, with nothing more to say.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.buffer.is_empty() && self.next(PATIENCE) == Next::End
    }

    /// Sends bytes one at a time until the edge ends the connection; how long that took.
    pub(crate) fn dribble(&mut self, bytes: &[u8], pause: Duration) -> Duration {
        let begin = Instant::now();
        for byte in bytes {
            if self.stream.write_all(&[*byte]).is_err() || self.next(pause) == Next::End {
                break;
            }
        }
        begin.elapsed()
    }

    /// Reads a few bytes and forgets them.
    pub(crate) fn sip(&mut self, most: usize) {
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut bytes = vec![0; most];
        // There may be nothing, or no connection any more.
        drop(self.stream.read(&mut bytes));
    }

    /// Writes until the edge takes no more, without reading; how many bytes it took.
    pub(crate) fn stuff(&mut self, request: &[u8], wait: Duration) -> usize {
        self.stream.set_write_timeout(Some(wait)).unwrap();
        let many = request.repeat(1000);
        let mut sent = 0;
        while self.stream.write_all(&many).is_ok() {
            sent += many.len();
        }
        sent
    }
}

impl Reply {
    /// The value of a header that the response has at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.lines().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "{name} twice in {}", self.head);
        value
    }

    /// The headers as they were sent.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.lines().skip(1).filter_map(|line| line.split_once(": "))
    }
}

fn text(bytes: impl IntoIterator<Item = u8>) -> String {
    String::from_utf8_lossy(&bytes.into_iter().collect::<Vec<_>>()).into_owned()
}
