//! A mail server that keeps what it is given: just enough of SMTP (RFC 5321) for a client that wants
//! to hand over plain text.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A letter that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) to: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Arrived {
    /// The address of the first link, and what stands behind its #.
    pub(crate) fn link(&self) -> (&str, &str) {
        let link = self.body.lines().find(|line| line.starts_with("http"));
        link.and_then(|link| link.split_once('#')).unwrap_or_else(|| panic!("{}", self.body))
    }

    pub(crate) fn token(&self) -> String {
        self.link().1.to_owned()
    }
}

/// The server; it ends with this.
pub(crate) struct Sink {
    pub(crate) url: String,
    letters: Arc<Mutex<Vec<Arrived>>>,
    /// Connections that are still to be refused.
    refusals: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let letters: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let refusals: Arc<Mutex<usize>> = Arc::default();
        let (kept, refused) = (Arc::clone(&letters), Arc::clone(&refusals));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let is_refused = {
                    let mut left = refused.lock().unwrap();
                    let is_refused = *left > 0;
                    *left = left.saturating_sub(1);
                    is_refused
                };
                // One after the other: nobody sends many at a time.
                drop(converse(stream, &kept, is_refused).await);
            }
        });
        Self { url, letters, refusals, _tasks: tasks }
    }

    /// Answers the next connections as a server that is not ready.
    pub(crate) fn refuse(&self, connections: usize) {
        *self.refusals.lock().unwrap() = connections;
    }

    /// Takes the oldest letter to an address, when it is there.
    pub(crate) async fn next(&self, to: &str) -> Arrived {
        for _ in 0..2000 {
            if let Some(letter) = self.take(to) {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no letter to {to} arrived; there are {:?}", self.letters.lock().unwrap());
    }

    fn take(&self, to: &str) -> Option<Arrived> {
        let mut letters = self.letters.lock().unwrap();
        let at = letters.iter().position(|letter| letter.to == to)?;
        Some(letters.remove(at))
    }

    /// Letters that nobody has taken.
    pub(crate) fn waiting(&self) -> Vec<Arrived> {
        self.letters.lock().unwrap().clone()
    }
}

async fn converse(
    stream: TcpStream,
    letters: &Mutex<Vec<Arrived>>,
    is_refused: bool,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    if is_refused {
        return write.write_all(b"421 come back later\r\n").await;
    }
    write.write_all(b"220 sink\r\n").await?;
    let mut to = String::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "HELO" => "250 sink",
            "RCPT" => {
                let address = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                to = address.unwrap().0.to_owned();
                "250 yes"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = Vec::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text.push(line.strip_prefix('.').map_or(line.clone(), ToOwned::to_owned));
                }
                let text = text.join("\n");
                let (head, body) = text.split_once("\n\n").unwrap();
                let is_quoted = head.contains("Content-Transfer-Encoding: quoted-printable");
                let body = if is_quoted { unquoted(body) } else { body.to_owned() };
                let letter = Arrived { to: to.clone(), head: head.into(), body };
                letters.lock().unwrap().push(letter);
                "250 taken"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 yes",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// Takes back quoted-printable (RFC 2045, 6.7) of a text in ASCII.
fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let mut parts = text.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        plain.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        plain.push_str(rest);
    }
    plain
}
