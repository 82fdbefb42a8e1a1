//! A real Redis that answers in TLS.

use crate::testing::authority::{Authority, free_port};

use super::support::Plane;
use super::*;

/// A server for `localhost`, by this authority; beside TLS it has the socket of every [`TestRedis`].
fn start(authority: &Authority, folder: &Path) -> (TestRedis, u16) {
    authority.write_server(folder, "localhost");
    let ca = authority.write(folder, "ca.pem");
    let (port, path) = (free_port(), |name: &str| folder.join(name).display().to_string());
    let server = TestRedis::start(&[
        "--tls-port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &path("server.crt"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &ca.display().to_string(),
    ]);
    (server, port)
}

#[tokio::test]
async fn the_way_to_redis_is_sealed_and_its_server_verified() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (server, port) = start(&authority, folder.path());
    let ours = folder.path().join("ca.pem");
    let others = Authority::new().write(folder.path(), "others.pem");
    let wait = Duration::from_secs(5);
    for (host, path, expected) in [
        ("127.0.0.1", &ours, "is for localhost, not for 127.0.0.1"),
        ("localhost", &others, "name a file with that authority's certificate in redis.ca_path"),
    ] {
        let at = RedisAt::new(&format!("rediss://{host}:{port}/0"), path).unwrap();
        let error = at.connect(wait).await.err().unwrap().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let url = format!("rediss://localhost:{port}/0");
    let plain = RedisAt::new(&url.replace("rediss", "redis"), Path::new("")).unwrap();
    assert!(plain.connect(wait).await.is_err());

    let plane = Plane::on_file_with(&url, &ours).await;
    assert_eq!(plane.create("sealed").await.status(), StatusCode::CREATED);
    assert_eq!(plane.route(&server, "sealed").await.unwrap().version, 1);
    eventually("a lease", || plane.has_lease(&server)).await;
    plane.app.close().await;
}
