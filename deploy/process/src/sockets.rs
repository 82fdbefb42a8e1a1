//! Sockets that were open before this program started (`LISTEN_FDS`, systemd's socket activation): the
//! kernel keeps visitors in their queues while one process ends and the next one starts.

use std::net::TcpListener;

use listenfd::ListenFd;

/// Listening sockets that outlive the process: visitors wait in them while it is restarted.
#[derive(Debug, Default)]
pub struct Inherited {
    /// In place of `edge.listen`.
    pub http: Vec<TcpListener>,
    /// In place of `edge.tls.listen`.
    pub https: Vec<TcpListener>,
}

/// A socket that was given cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("socket {number} of LISTEN_FDS, named {name:?}: {reason}")]
pub struct SocketError {
    number: usize,
    name: String,
    reason: String,
}

impl Inherited {
    /// Gives each socket its part, by its name in `LISTEN_FDNAMES`: `https` in place of
    /// `edge.tls.listen`, everything else (names that are not set, that of the socket unit) in place
    /// of `edge.listen`.
    ///
    /// # Errors
    /// [`SocketError`] for the first one that is no listening TCP socket.
    pub fn take(
        environment: &[(String, String)],
        given: &mut ListenFd,
    ) -> Result<Self, SocketError> {
        let names = environment.iter().find(|(name, _)| name == "LISTEN_FDNAMES");
        let names: Vec<&str> = names.map_or(Vec::new(), |(_, names)| names.split(':').collect());
        let mut inherited = Self::default();
        for number in 0..given.len() {
            let name = names.get(number).copied().unwrap_or_default();
            let failed = |reason| SocketError { number, name: name.to_owned(), reason };
            let socket = given.take_tcp_listener(number);
            let socket = socket.map_err(|error| failed(error.to_string()))?;
            let socket = socket.ok_or_else(|| failed("it is not open".to_owned()))?;
            match name {
                "https" => inherited.https.push(socket),
                _ => inherited.http.push(socket),
            }
        }
        Ok(inherited)
    }
}
