//! The same fleet, whose way to the engine is TLS, and a server whom it does not trust.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

const CONTROL: &str = "CAROM_CLICKS__CA_PATH";
const EDGE: &str = "CAROM_EDGE__CLICKS_CA_PATH";
const NOT_TRUSTED: &str = "its certificate is of an authority that is not trusted here";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn status(port: u16, key: &str) -> String {
    let head = format!("GET /api/v1/stats HTTP/1.1\r\nAuthorization: Bearer {key}\r\n");
    ask(port, &head, "").unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn clicks_go_through_tls_and_wait_while_the_server_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ours, key) = (authority(), KeyPair::generate().unwrap());
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    for (name, text) in [
        ("ours.pem", ours.pem()),
        ("others.pem", authority().pem()),
        ("server.crt", server.signed_by(&key, &ours).unwrap().pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let [port] = free_ports();
    let more = [
        "--tls-listen",
        &format!("127.0.0.1:{port}"),
        "--cert",
        &path("server.crt"),
        "--key",
        &path("server.key"),
    ];
    let engine = Engine::start_with(more.map(str::to_owned).to_vec());
    let url = format!("https://localhost:{port}/default");
    let mut fleet = Fleet::on(engine, &url, &path("ours.pem"));
    fleet.follow(4);
    fleet.is_exact();
    assert!(fleet.by_way("straight").iter().all(|batches| *batches > 0));
    assert_eq!(fleet.by_way("control"), [0, 0]);
    let totals = fleet.call("GET /api/v1/stats", &Value::Null);
    assert_eq!(totals["totals"]["clicks"], fleet.answered());
    // What it kept is what it had: the engine dies, and comes back.
    fleet.engine.kill();
    fleet.follow(2);
    fleet.engine.restart();
    fleet.follow(2);
    fleet.is_exact();

    // From now on nobody trusts it: visitors are redirected, clicks wait, control runs and says why.
    let stored = fleet.answered();
    for (edge, _) in &mut fleet.edges {
        edge.set(EDGE, &path("others.pem"));
        edge.kill_and_restart();
    }
    fleet.control.set(CONTROL, &path("others.pem"));
    fleet.control.kill_and_restart();
    fleet.follow(3);
    for (edge, _) in &fleet.edges {
        eventually("clicks wait", || edge.metric("carom_edge_batches_waiting") > 0);
        eventually("an edge says why", || edge.log().contains(NOT_TRUSTED));
        assert!(edge.log().contains("edge.clicks_ca_path"));
    }
    assert!(fleet.control.log().contains(NOT_TRUSTED));
    assert_eq!(status(fleet.port, &fleet.key), "503");
    assert_eq!(fleet.engine.number("SELECT toUInt64(sum(n)) FROM click"), stored);

    for (edge, _) in &mut fleet.edges {
        edge.set(EDGE, &path("ours.pem"));
        edge.kill_and_restart();
    }
    fleet.control.set(CONTROL, &path("ours.pem"));
    fleet.control.kill_and_restart();
    fleet.is_exact();
    let totals = fleet.call("GET /api/v1/stats", &Value::Null);
    assert_eq!(totals["totals"]["clicks"], fleet.answered());
}
