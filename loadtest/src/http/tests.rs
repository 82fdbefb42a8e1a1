use super::*;

const REDIRECT: &[u8] = b"HTTP/1.1 302 Found\r\nlocation:  https://example.com/a?b=c \t\r\n\
    Content-Length: 0\r\n\r\n";
const JSON: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\n{\"id\":1}";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
    4;x=y\r\n{\"a\"\r\nA\r\n: \"b\\r\\n\"}\r\n0\r\n\r\n";

/// What a client reads from `bytes`, which come in pieces of `piece` bytes and then end.
async fn read(bytes: &[u8], piece: usize) -> Result<(u16, String, String), HttpError> {
    let (client, mut server) = tokio::io::duplex(piece);
    let writing = async {
        server.write_all(bytes).await.expect("the client reads");
        drop(server);
    };
    let reading = async {
        let mut connection = Connection::over(client);
        let head = connection.read_head().await?;
        let response = connection.read_body(&head).await?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let location = response.location.map(text).unwrap_or_default();
        Ok((response.status, location, text(response.body)))
    };
    // `select`, not `join`: a reader that gives up leaves the writer with bytes to spare.
    tokio::pin!(reading);
    tokio::select! {
        result = &mut reading => result,
        () = writing => reading.await,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[test]
fn a_response_is_read_alike_in_any_pieces() {
    let wholes = [
        (REDIRECT, (302, "https://example.com/a?b=c", "")),
        (JSON, (201, "", "{\"id\":1}")),
        (CHUNKED, (200, "", "{\"a\": \"b\\r\\n\"}")),
    ];
    for (bytes, (status, location, body)) in wholes {
        for piece in 1..=bytes.len() {
            let got = run(read(bytes, piece)).expect("a response");
            assert_eq!(got, (status, location.to_owned(), body.to_owned()), "in pieces of {piece}");
        }
    }
}

#[test]
fn a_response_that_ends_early_is_never_a_response() {
    for bytes in [REDIRECT, JSON, CHUNKED] {
        for end in 0..bytes.len() {
            let got = run(read(&bytes[..end], 64));
            assert!(matches!(got, Err(HttpError::Cut)), "{end} bytes: {got:?}");
        }
    }
}

#[test]
fn the_head_counts_as_read_only_with_its_blank_line() {
    let end = JSON.len() - 8;
    assert_eq!(parse_head(&JSON[..end - 1], false).expect("no error"), None);
    assert_eq!(parse_head(&JSON[..end], false).expect("no error").map(|head| head.len), Some(end));
}

#[test]
fn what_is_not_an_answer_is_an_error() {
    let cases: [(&[u8], &str); 15] = [
        (b"HTTP/2 200 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "interim"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no length"),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "colon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", "not a number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "differ"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", "16 MiB"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "chunks"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "other than chunked"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", "follow"),
        (b"HTTP/1.1 302 Found\r\nLocation: a\r\nLocation: b\r\n\r\n", "twice"),
        (b"HTTP/1.1 200 OK\r\nETag: a\r\nEtag: a\r\n\r\n", "twice"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxyz\r\n", "where it says"),
    ];
    for (bytes, why) in cases {
        let got = run(read(bytes, 4096));
        let Err(error @ HttpError::Malformed(_)) = got else {
            panic!("{got:?} for {:?}", String::from_utf8_lossy(bytes));
        };
        assert!(error.to_string().contains(why), "{error} does not say {why:?}");
    }
}

#[test]
fn a_server_says_that_it_closes() {
    let closes = |bytes: &[u8]| parse_head(bytes, false).expect("no error").expect("a head").close;
    assert!(!closes(REDIRECT));
    assert!(closes(b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"));
    assert!(closes(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn the_headers_of_an_answer_given_again_are_read() {
    let again = b"HTTP/1.1 201 Created\r\nLocation: /a\r\netag: \"1\" \r\n\
        Idempotent-Replayed: true\r\nContent-Length: 2\r\n\r\n{}";
    let cases = [
        (&again[..], [Some(&b"/a"[..]), Some(b"\"1\""), Some(b"true")]),
        (JSON, [None, None, None]),
    ];
    for (bytes, values) in cases {
        let (client, mut server) = tokio::io::duplex(bytes.len());
        run(async {
            server.write_all(bytes).await.expect("it fits");
            let mut connection = Connection::over(client);
            let head = connection.read_head().await.expect("a head");
            let response = connection.read_body(&head).await.expect("a body");
            assert_eq!([response.location, response.etag, response.replayed], values);
        });
    }
}
