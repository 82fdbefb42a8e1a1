//! Commands, settings and signals, as a person or a service manager uses them.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Server, carom, exchange, stdout};

const URL: &str = "https://www.rust-lang.org/learn?from=carom";

#[test]
fn a_click_is_counted_across_a_stop_and_a_kill() {
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, URL)["code"].as_str().unwrap().to_owned();
    let answer = server.follow(&code);
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
    assert!(answer.contains(&format!("\r\nlocation: {URL}\r\n")), "{answer}");

    // At once: nothing of the second that clicks may wait has passed.
    let dir = server.kill();
    let server = Server::start_in(dir);
    server.follow(&code);
    server.wait_for_clicks(2);
    server.follow(&code);
    let dir = tempfile::tempdir().unwrap();
    copy_data(server.dir.path(), dir.path());
    let (text, status) = server.stop();
    assert!(status.success());
    assert_eq!(
        text,
        "Stopping: answering what is under way, storing what was clicked ...\n\
         Stopped. This run recorded 2 clicks; nothing waits to be stored.\n"
    );
    // The copy was taken of a running process, as a kill at that moment would have left it.
    Server::start_in(dir).wait_for_clicks(3);
}

fn copy_data(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp")
        .args([std::ffi::OsStr::new("-r"), from.join("carom-data").as_os_str(), to.as_os_str()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn keys_work_with_and_without_a_server_and_end_when_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| carom(dir.path(), args).output().unwrap();
    let lost = run(&["key", "list"]);
    assert!(!lost.status.success() && !dir.path().join("carom-data").exists());
    let made = stdout(&run(&["key", "create", "--name", "offline"]));
    let key = made.lines().next().unwrap().to_owned();
    assert!(key.starts_with("crm_") && key.len() == 40, "{made}");
    let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("carom-data"), 0o700);

    let server = Server::start_in(dir);
    let socket = server.dir.path().join("carom-data/control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    server.shorten(&key, URL);
    let list = stdout(&server.carom(&["key", "list"]));
    let row = list.lines().find(|line| line.contains("offline")).unwrap();
    let id = row.split_whitespace().next().unwrap();
    assert!(!list.contains(&key) && row.contains("active"), "{list}");
    stdout(&server.carom(&["key", "revoke", id]));
    let head = format!("GET /api/v1/links HTTP/1.1\r\nAuthorization: Bearer {key}\r\n");
    let answer = exchange(server.ports.control, &head, "");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let unknown = server.carom(&["key", "revoke", "42"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn a_folder_is_served_by_one_process() {
    let server = Server::start();
    let second = server.carom(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("another carom serves ./carom-data"), "{text}");
}

#[test]
fn bad_settings_stop_the_start_with_64_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[edge]\nlisten = 5\n").unwrap();
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 9] = [
        (&["--set", "edge.lisen=1"], &[], "edge.lisen"),
        (&["--set", "edge.listen"], &[], "NAME=VALUE"),
        (&["--config", "bad.toml"], &[], "bad.toml"),
        (&["--config", "none.toml"], &[], "none.toml"),
        (&[], &[("CAROM_EDGE__THREADS", "many")], "CAROM_EDGE__THREADS"),
        (&["--set", "log.filter=loud=very"], &[], "log.filter"),
        (&["--set", "edge.max_connections=0"], &[], "edge.max_connections"),
        (&["--set", "clicks.url=sqlite://{data_dir}/carom.db"], &[], "clicks.url"),
        (&["--set", "database.url=postgres://u:hunter2@db/a?sslmode=always"], &[], "database.url"),
    ];
    for (args, environment, named) in cases {
        let environment = environment.iter().copied();
        let output = carom(dir.path(), args).envs(environment).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {text}");
        assert!(text.contains(named) && !text.contains("hunter2"), "{args:?}: {text}");
    }
    assert!(!dir.path().join("carom-data").exists(), "nothing was made");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("edge.listen={}", taken.local_addr().unwrap());
    let free = ["edge.admin_listen", "control.listen", "control.admin_listen"];
    let mut command = carom(dir.path(), &["--set", &address]);
    command.args(free.iter().flat_map(|name| ["--set".to_owned(), format!("{name}=127.0.0.1:0")]));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot listen on") && text.contains("edge.listen"), "{text}");
}

#[test]
fn settings_are_shown_with_where_they_come_from() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("carom.toml"), "public_url = \"https://go.example.com\"\n")
        .unwrap();
    let output = carom(dir.path(), &["config", "show", "--set", "edge.threads=3"])
        .env("CAROM_LOG__FORMAT", "json")
        .output()
        .unwrap();
    let text = stdout(&output);
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("public_url "), "public_url \"https://go.example.com\" file carom.toml");
    assert_eq!(line("edge.threads "), "edge.threads 3 flag");
    assert_eq!(line("log.format "), "log.format \"json\" environment variable CAROM_LOG__FORMAT");
    let checked = carom(dir.path(), &["config", "check"]).output().unwrap();
    assert_eq!(stdout(&checked), "The settings are valid.\n");
}

#[test]
fn health_is_asked_and_answered() {
    let server = Server::start();
    let admin = [
        ("--set", format!("edge.admin_listen=127.0.0.1:{}", server.ports.edge_admin)),
        ("--set", format!("control.admin_listen=127.0.0.1:{}", server.ports.control_admin)),
    ];
    let mut args = vec!["healthcheck"];
    args.extend(admin.iter().flat_map(|(flag, value)| [*flag, value.as_str()]));
    assert_eq!(stdout(&server.carom(&args)), "ready\n");
    for port in [server.ports.edge_admin, server.ports.control_admin] {
        let answer = exchange(port, "GET /metrics HTTP/1.1\r\n", "");
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("# TYPE carom_"),
            "{answer}"
        );
    }
    let dir = server.kill();
    args.truncate(1);
    let dead = carom(dir.path(), &args)
        .args(["--set", &admin[0].1, "--set", &admin[1].1])
        .output()
        .unwrap();
    assert_eq!(dead.status.code(), Some(1));
}

/// Traces that nobody would ever see are not taken for sent.
#[cfg(not(feature = "otel"))]
#[test]
fn a_program_that_cannot_send_traces_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "CAROM_OTEL__ENDPOINT"] {
        let mut serve = carom(dir.path(), &["serve"]);
        let output = serve.env(name, "http://localhost:4318").output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("setting otel.endpoint: needs a program"), "{error}");
    }
}
