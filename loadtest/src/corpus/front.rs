//! The proxies: as `deploy/proxy` sets them up, on ports of this experiment, without TLS and its
//! redirect to it. What they make of a request of HTTP/1.1 does not depend on that; what they make of
//! HTTP/2 is not asked here.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::{Behind, TRUSTED, at};
use crate::failure::Failure;
use crate::installation::Installation;

const LISTEN_MAX: Duration = Duration::from_secs(10);
const LISTEN_POLL: Duration = Duration::from_millis(20);

/// Where visitors come. Dropping it ends the proxy.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    _proxy: Option<Child>,
}

impl Behind {
    const fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nothing => None,
            Self::Nginx => Some(("nginx", "nginx-light")),
            Self::Haproxy | Self::HaproxyTcp => Some(("haproxy", "haproxy")),
        }
    }
}

impl Front {
    /// Its version, or what to say of one that is not here.
    pub(super) async fn find(behind: Behind) -> Result<String, String> {
        let Some((name, package)) = behind.program() else { return Ok("directly".to_owned()) };
        match program(name).await {
            Some((_, version)) => Ok(version),
            None => Err(format!("{name}: not installed; apt-get install {package}")),
        }
    }

    /// Starts it before an installation that serves.
    pub(super) async fn start(
        behind: Behind,
        proxies: &Path,
        folder: &Path,
        installation: &Installation,
    ) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| {
            Failure::new(format!("cannot start {} in {}: {error}", behind.name(), folder.display()))
        };
        let edge = installation.edge();
        let Some((name, _)) = behind.program() else {
            return Ok(Self { address: edge, _proxy: None });
        };
        let gone = || Failure::new(format!("{name} is not there any more"));
        let (program, _) = program(name).await.ok_or_else(gone)?;
        fs::create_dir_all(folder).map_err(fail)?;
        let address = at(TRUSTED, edge.port() + 4);
        let shipped = |file: &str| {
            let path = proxies.join(file);
            let text = fs::read_to_string(&path);
            text.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let config = folder.join("proxy.conf");
        let mut command = Command::new(program);
        let text = match behind {
            Behind::Nothing => String::new(),
            Behind::Nginx => {
                fs::write(folder.join("carom.conf"), nginx(&shipped("nginx.conf")?, address, edge))
                    .map_err(fail)?;
                command.arg("-e").arg(folder.join("error.log"));
                command.arg("-p").arg(folder).arg("-c").arg(&config);
                nginx_around(folder)
            }
            Behind::Haproxy => haproxy(&shipped("haproxy.cfg")?, address, edge),
            Behind::HaproxyTcp => haproxy_tcp(address, edge),
        };
        if name == "haproxy" {
            command.arg("-db").arg("-f").arg(&config);
        }
        fs::write(&config, text).map_err(fail)?;
        let log = folder.join("proxy.log");
        let out = fs::File::create(&log).map_err(fail)?;
        command.stdin(Stdio::null()).stdout(out.try_clone().map_err(fail)?).stderr(out);
        let mut proxy = command.kill_on_drop(true).spawn().map_err(fail)?;
        listens(name, address, &mut proxy, &log).await?;
        Ok(Self { address, _proxy: Some(proxy) })
    }
}

/// Where a program is, and its version.
async fn program(name: &str) -> Option<(PathBuf, String)> {
    for program in [PathBuf::from(name), Path::new("/usr/sbin").join(name)] {
        let asked = Command::new(&program).arg("-v").stdin(Stdio::null()).output().await;
        if let Ok(output) = asked
            && output.status.success()
        {
            // nginx says its version on standard error.
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().next().unwrap_or_default();
            return Some((program, line.split(" 20").next().unwrap_or_default().to_owned()));
        }
    }
    None
}

async fn listens(
    name: &str,
    address: SocketAddr,
    proxy: &mut Child,
    log: &Path,
) -> Result<(), Failure> {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        let ended = proxy.try_wait().ok().flatten();
        if ended.is_some() || begun.elapsed() > LISTEN_MAX {
            let text = fs::read_to_string(log).unwrap_or_default();
            return Err(Failure::new(format!("{name} does not listen on {address}: {text}")));
        }
        sleep(LISTEN_POLL).await;
    }
    Ok(())
}

/// The shipped configuration: its HTTPS listeners are the experiment's port, its edge the
/// experiment's edge; the server that leads to HTTPS is away, on a port of nobody.
fn nginx(shipped: &str, listen: SocketAddr, edge: SocketAddr) -> String {
    let keep = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("listen [::]") && !line.starts_with("ssl_")
    };
    let mut text = String::new();
    for line in shipped.lines().filter(keep) {
        let line = line
            .replace("listen 80;", &format!("listen {};", at(TRUSTED, listen.port() + 1)))
            .replace("listen 443 ssl http2;", &format!("listen {listen};"))
            .replace("127.0.0.1:8080", &edge.to_string());
        text += &line;
        text.push('\n');
    }
    text
}

fn nginx_around(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\n\
         error_log {folder}/error.log warn;\nevents {{}}\nhttp {{\n\
         \x20 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxied;\n\
         \x20 fastcgi_temp_path {folder}/f;\n  uwsgi_temp_path {folder}/u;\n\
         \x20 scgi_temp_path {folder}/s;\n  include {folder}/carom.conf;\n}}\n"
    )
}

fn haproxy(shipped: &str, listen: SocketAddr, edge: SocketAddr) -> String {
    let mut text = String::new();
    for line in shipped.lines() {
        if line.contains("bind :443") || line.contains("redirect scheme https") {
            continue;
        }
        let line = line
            .replace("bind :80", &format!("bind {listen}"))
            .replace("127.0.0.1:8080", &edge.to_string());
        text += &line;
        text.push('\n');
    }
    text
}

fn haproxy_tcp(listen: SocketAddr, edge: SocketAddr) -> String {
    format!(
        "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n\
         listen carom\n  bind {listen}\n  server edge {edge} send-proxy-v2\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change in what is shipped that these replacements do not know would test something else.
    #[test]
    fn what_is_shipped_is_moved_and_nothing_else() {
        let (listen, edge) = (at(TRUSTED, 18084), at(TRUSTED, 18080));
        let proxies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/proxy");
        let text = fs::read_to_string(proxies.join("nginx.conf")).expect("the shipped file");
        let moved = nginx(&text, listen, edge);
        assert_eq!(moved.matches("listen 127.0.0.1:18084;").count(), 2);
        assert_eq!(moved.matches("listen 127.0.0.1:18085;").count(), 1);
        assert_eq!(moved.matches("server 127.0.0.1:18080;").count(), 1);
        assert!(moved.contains("proxy_set_header X-Forwarded-For"));
        let text = fs::read_to_string(proxies.join("haproxy.cfg")).expect("the shipped file");
        let moved = haproxy(&text, listen, edge);
        assert_eq!(moved.matches("bind 127.0.0.1:18084\n").count(), 1);
        assert_eq!(moved.matches("bind").count(), 1);
        assert!(moved.contains("server edge1 127.0.0.1:18080 "));
    }
}
