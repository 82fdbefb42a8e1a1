//! What a client makes of a control plane's answers, over real sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use carom_shared::SystemRandom;
use carom_shared::UnixMillis;
use carom_shared::batch::BatchBuilder;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Longer than an answer takes that comes at all, also on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers each request by its number, and what it was asked and how often it
/// accepted a connection.
struct Server {
    url: ControlUrls,
    connections: Arc<AtomicUsize>,
    requests: std::sync::mpsc::Receiver<String>,
}

/// What is said to a request.
#[derive(Clone, Copy)]
enum Say {
    /// A status and a text.
    This(u16, &'static str),
    /// Nothing: the connection ends.
    Nothing,
    /// Nothing at all.
    Silence,
}

impl Server {
    fn start(answer: impl Fn(usize) -> Say + Send + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (accepted, number) = (Arc::clone(&connections), Arc::new(AtomicUsize::new(0)));
        let (sender, requests) = std::sync::mpsc::sync_channel(64);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (sender, answer, number) =
                    (sender.clone(), answer.clone(), Arc::clone(&number));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(head) = head(&mut reader) {
                        drop(sender.send(head));
                        match answer(number.fetch_add(1, Ordering::SeqCst)) {
                            Say::This(status, text) => reply(&stream, status, text),
                            Say::Nothing => return,
                            Say::Silence => std::thread::sleep(PATIENCE),
                        }
                    }
                });
            }
        });
        let url = ControlUrls::parse(&format!("http://localhost:{port}")).unwrap();
        Self { url, connections, requests }
    }

    fn client(&self) -> ControlClient {
        self.client_within(PATIENCE)
    }

    fn client_within(&self, max: Duration) -> ControlClient {
        ControlClient::new(&self.url, TOKEN, max, Arc::new(SystemRandom)).unwrap()
    }
}

/// The head of the next request; its body must fit in one.
fn head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        head.push_str(&std::mem::take(&mut line));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    std::io::Read::read_exact(reader, &mut body).ok()?;
    (!head.is_empty()).then_some(head)
}

fn reply(mut stream: &TcpStream, status: u16, text: &str) {
    let length = text.len();
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n");
    drop(stream.write_all((head + text).as_bytes()));
}

fn ask(client: &ControlClient) -> OriginFuture {
    client.resolve(DomainId::try_from(7).unwrap(), &Code::parse("abc").unwrap())
}

#[tokio::test]
async fn questions_share_a_connection_and_say_who_asks() {
    let server = Server::start(|_| Say::This(204, ""));
    let client = server.client();
    for _ in 0..3 {
        assert_eq!(ask(&client).await.unwrap(), None);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let head = server.requests.recv().unwrap();
    assert!(head.starts_with("GET /internal/v1/routes/7/abc HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{head}");
    let url = server.url.to_string();
    let host = url.strip_prefix("http://").unwrap();
    assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
}

#[tokio::test]
async fn only_204_says_that_there_is_no_such_code() {
    for (status, text) in
        [(404, ""), (200, ""), (200, "no record"), (401, ""), (410, ""), (500, ""), (302, "")]
    {
        let server = Server::start(move |_| Say::This(status, text));
        let answer = ask(&server.client()).await;
        assert!(answer.is_err(), "{status} {answer:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_ended_is_replaced() {
    let server = Server::start(|number| match number {
        1 => Say::Nothing,
        _ => Say::This(204, ""),
    });
    let client = server.client();
    for _ in 0..3 {
        assert_eq!(ask(&client).await.unwrap(), None);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);

    // A report that may have arrived is not sent again.
    let server = Server::start(|number| match number {
        0 => Say::This(204, ""),
        _ => Say::Nothing,
    });
    let client = server.client();
    client.report_missing(&MissingCounts::default()).await.unwrap();
    client.report_missing(&MissingCounts::default()).await.unwrap_err();
    assert_eq!(server.requests.try_iter().count(), 2);
}

#[tokio::test]
async fn silence_is_waited_for_three_times_and_then_visitors_are_told_at_once() {
    let server = Server::start(|_| Say::Silence);
    let client = server.client_within(Duration::from_millis(500));
    for _ in 0..3 {
        let begin = Instant::now();
        assert!(ask(&client).await.is_err());
        assert!(begin.elapsed() >= Duration::from_millis(400));
    }
    // One of several: this thread may have to wait for a processor.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        assert!(ask(&client).await.is_err());
        quickest = quickest.min(begin.elapsed());
    }
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
}

#[tokio::test]
async fn a_batch_is_stored_now_or_before_or_never_or_later() {
    let server = Server::start(|number| match number {
        0 => Say::This(201, "stored\n"),
        1 => Say::This(200, "stored before\n"),
        2 => Say::This(422, "it is damaged\n"),
        3 => Say::This(404, ""),
        _ => Say::This(503, ""),
    });
    let client = server.client();
    let batch = BatchBuilder::new().finish(UnixMillis::new(0), &[]);
    let token = Token::new(1, 1, 1, batch.rows, batch.crc);
    let mut stored = Vec::new();
    for _ in 0..5 {
        stored.push(client.store(token.clone(), batch.bytes.clone().into()).await);
    }
    assert!(matches!(stored[0], Ok(Stored::New)), "{stored:?}");
    assert!(matches!(stored[1], Ok(Stored::Already)), "{stored:?}");
    assert!(matches!(&stored[2], Err(SinkError::Refused(why)) if why == "it is damaged"));
    for later in &stored[3..] {
        assert!(matches!(later, Err(SinkError::Unavailable(_))), "{later:?}");
    }
    let head = server.requests.recv().unwrap();
    assert!(head.starts_with(&format!("POST /internal/v1/clicks/{token} HTTP/1.1\r\n")), "{head}");
}

#[tokio::test]
async fn clicks_go_to_another_control_plane_only_where_all_share_a_store() {
    const APART: &str = r#"{"format":1,"domains":[],"salts":[]}"#;
    const SHARED: &str = r#"{"format":1,"domains":[],"salts":[],"are_clicks_shared":true}"#;
    let first = Server::start(|number| match number {
        0 => Say::This(200, APART),
        2 => Say::This(200, SHARED),
        // Its fate is not known.
        3 => Say::Nothing,
        _ => Say::This(503, ""),
    });
    let second = Server::start(|number| match number {
        1 => Say::This(503, ""),
        _ => Say::This(200, "stored before\n"),
    });
    let urls = ControlUrls::parse(&format!("{},{}", first.url, second.url)).unwrap();
    let client = ControlClient::new(&urls, TOKEN, PATIENCE, Arc::new(SystemRandom)).unwrap();
    let batch = BatchBuilder::new().finish(UnixMillis::new(0), &[]);
    let token = Token::new(1, 1, 1, batch.rows, batch.crc);
    let store = || client.store(token.clone(), batch.bytes.clone().into());

    assert!(!client.bundle().await.unwrap().are_clicks_shared);
    assert!(matches!(store().await, Err(SinkError::Unavailable(_))));
    assert_eq!(second.requests.try_iter().count(), 0);
    assert!(client.bundle().await.unwrap().are_clicks_shared);
    assert!(matches!(store().await, Ok(Stored::Already)));
    assert_eq!(second.requests.try_iter().count(), 1);
    // Who answered is asked first, and the other one when it fails.
    let asked = first.requests.try_iter().count();
    assert!(matches!(store().await, Err(SinkError::Unavailable(_))));
    assert_eq!((first.requests.try_iter().count(), second.requests.try_iter().count()), (1, 1));
    assert!(asked >= 4, "{asked}");
}

#[tokio::test]
async fn nobody_there_is_an_answer_too() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        let url = ControlUrls::parse(&format!("http://{host}:{port}")).unwrap();
        let client =
            ControlClient::new(&url, TOKEN, Duration::from_secs(2), Arc::new(SystemRandom));
        let error = ask(&client.unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");
    }
}
