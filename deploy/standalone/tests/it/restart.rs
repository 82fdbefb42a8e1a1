//! A socket that outlives the program (`LISTEN_FDS`): who comes between two of its lives waits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{CAROM, Ports};

/// As systemd starts it: the socket is descriptor 3, and the variables name this process.
const HAND_OVER: &str =
    r#"exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=http; exec "$0""#;

fn start(dir: &tempfile::TempDir, ports: Ports, socket: &TcpListener) -> Child {
    Command::new("/bin/sh")
        .args(["-c", HAND_OVER, CAROM])
        .current_dir(dir.path())
        .env_clear()
        .envs(ports.settings())
        .stdin(OwnedFd::from(socket.try_clone().unwrap()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn visitors_wait_in_a_socket_that_is_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..2 {
        // Nobody accepts yet.
        let mut visitor = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        visitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        visitor
            .write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut carom = start(&dir, ports, &socket);
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        // The address of the setting stays free.
        assert!(TcpStream::connect(("127.0.0.1", ports.edge)).is_err());

        let lines = BufReader::new(carom.stdout.take().unwrap()).lines();
        let id = carom.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(carom.wait().unwrap().success());
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("Stopping")));
    }
}
