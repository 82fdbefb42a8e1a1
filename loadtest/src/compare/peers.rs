//! nginx and `HAProxy` as somebody would set them up who has to redirect a million fixed links with
//! them: a map from paths to targets, read at the start.
//!
//! Both answer with the status and the headers that Carom answers with. nginx writes its access log,
//! buffered, which is its record of clicks; `HAProxy` can only send its log elsewhere, so it keeps
//! none, and does less than the others. `HAProxy`'s answers have no `Date`, nginx's have a small body.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::requests::LinkFiles;
use crate::failure::Failure;

/// Requests on one connection: as many as come. nginx ends a connection after 1,000 otherwise.
const KEPT_REQUESTS: u64 = 1_000_000_000;

/// A program that is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Nginx,
    Haproxy,
}

/// One that is here.
#[derive(Debug)]
pub(crate) struct Installed {
    peer: Peer,
    program: PathBuf,
    pub(crate) version: String,
}

impl Peer {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-light",
            Self::Haproxy => "haproxy",
        }
    }

    /// Looks for it where programs are, and where Debian puts servers.
    ///
    /// # Errors
    /// What to say of one that is not here.
    pub(crate) async fn find(self) -> Result<Installed, String> {
        for program in [PathBuf::from(self.name()), Path::new("/usr/sbin").join(self.name())] {
            let asked = Command::new(&program).arg("-v").stdin(Stdio::null()).output().await;
            if let Ok(output) = asked
                && output.status.success()
            {
                // nginx says its version on standard error.
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&text);
                let version = text.lines().next().unwrap_or_default();
                let version = version.trim_start_matches("nginx version: ");
                let version = version.split(" 20").next().unwrap_or_default().to_owned();
                return Ok(Installed { peer: self, program, version });
            }
        }
        Err(format!("{}: not installed; apt-get install {}", self.name(), self.package()))
    }
}

impl Installed {
    pub(crate) const fn name(&self) -> &'static str {
        self.peer.name()
    }

    /// Writes its configuration into `folder` and starts it there, in one process.
    pub(crate) fn start(
        &self,
        folder: &Path,
        listen: SocketAddr,
        links: &LinkFiles,
        count: usize,
    ) -> Result<Child, Failure> {
        let fail = |error| Failure::new(format!("cannot start {}: {error}", self.name()));
        let config = folder.join(format!("{}.conf", self.name()));
        let text = match self.peer {
            Peer::Nginx => nginx_config(folder, listen, &links.nginx, count),
            Peer::Haproxy => haproxy_config(listen, &links.haproxy),
        };
        fs::write(&config, text).map_err(fail)?;
        let log = fs::File::create(folder.join(format!("{}.log", self.name()))).map_err(fail)?;
        let mut command = Command::new(&self.program);
        match self.peer {
            Peer::Nginx => {
                command.arg("-e").arg(folder.join("nginx-error.log"));
                command.arg("-p").arg(folder).arg("-c").arg(&config);
            }
            Peer::Haproxy => {
                command.arg("-db").arg("-f").arg(&config);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(fail)?).stderr(log);
        command.kill_on_drop(true).spawn().map_err(fail)
    }

    /// Empties what it wrote of the requests so far: a comparison is not to fill the disk.
    pub(crate) fn forget_requests(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join("access.log");
        match (self.peer, fs::OpenOptions::new().write(true).open(&path)) {
            (Peer::Haproxy, _) => Ok(()),
            (Peer::Nginx, opened) => opened
                .and_then(|file| file.set_len(0))
                .map_err(|error| Failure::new(format!("{}: {error}", path.display()))),
        }
    }
}

/// `master_process off`: what answers is the same as in a worker, and the map's pages are not shared
/// with a process that only watches.
fn nginx_config(folder: &Path, listen: SocketAddr, map: &Path, count: usize) -> String {
    let (folder, map) = (folder.display(), map.display());
    // Two buckets for each link, so that none is full: nginx would look for a fitting size for long.
    let buckets = (2 * count).next_power_of_two().max(2048);
    format!(
        "daemon off;\n\
         master_process off;\n\
         worker_processes 1;\n\
         pid {folder}/nginx.pid;\n\
         error_log {folder}/nginx-error.log warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         \x20 server_tokens off;\n\
         \x20 client_body_temp_path {folder}/nginx-body;\n\
         \x20 keepalive_timeout 75s;\n\
         \x20 keepalive_requests {KEPT_REQUESTS};\n\
         \x20 access_log {folder}/access.log combined buffer=64k flush=1s;\n\
         \x20 map_hash_max_size {buckets};\n\
         \x20 map_hash_bucket_size 256;\n\
         \x20 map $uri $target {{ default \"\"; include {map}; }}\n\
         \x20 server {{\n\
         \x20   listen {listen} backlog=4096;\n\
         \x20   add_header Cache-Control \"private, no-store\" always;\n\
         \x20   add_header Referrer-Policy \"strict-origin-when-cross-origin\" always;\n\
         \x20   add_header X-Robots-Tag \"noindex, nofollow\" always;\n\
         \x20   if ($target = \"\") {{ return 404; }}\n\
         \x20   return 302 $target;\n\
         \x20 }}\n\
         }}\n"
    )
}

fn haproxy_config(listen: SocketAddr, map: &Path) -> String {
    let map = map.display();
    format!(
        "global\n\
         \x20 nbthread 1\n\
         \x20 maxconn 8192\n\
         defaults\n\
         \x20 mode http\n\
         \x20 timeout client 60s\n\
         \x20 timeout http-request 10s\n\
         \x20 timeout http-keep-alive 60s\n\
         \x20 timeout connect 5s\n\
         \x20 timeout server 60s\n\
         frontend links\n\
         \x20 bind {listen} backlog 4096\n\
         \x20 http-request set-var(txn.target) path,map_str({map})\n\
         \x20 http-request redirect code 302 location %[var(txn.target)] if {{ var(txn.target) -m found }}\n\
         \x20 http-request return status 404 content-type text/plain string \"not found\"\n\
         \x20 http-after-response set-header Cache-Control \"private, no-store\"\n\
         \x20 http-after-response set-header Referrer-Policy \"strict-origin-when-cross-origin\"\n\
         \x20 http-after-response set-header X-Robots-Tag \"noindex, nofollow\"\n"
    )
}
