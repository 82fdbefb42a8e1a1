//! Sockets that were open before this program started (`LISTEN_FDS`, systemd's socket activation): the
//! kernel keeps visitors in their queues while one `carom` ends and the next one starts.

use std::net::TcpListener;

use carom_edge::Inherited;
use listenfd::ListenFd;

use crate::error::CommandError;

/// Gives each socket its part, by its name in `LISTEN_FDNAMES`: `https` in place of `edge.tls.listen`,
/// everything else (names that are not set, that of the socket unit) in place of `edge.listen`.
pub(crate) fn sockets(
    environment: &[(String, String)],
    given: &mut ListenFd,
) -> Result<Inherited, CommandError> {
    let names = environment.iter().find(|(name, _)| name == "LISTEN_FDNAMES");
    let names: Vec<&str> = names.map_or(Vec::new(), |(_, names)| names.split(':').collect());
    let mut inherited = Inherited::default();
    for number in 0..given.len() {
        let name = names.get(number).copied().unwrap_or_default();
        let socket = tcp(given, number).map_err(|reason| CommandError::Socket {
            number,
            name: name.to_owned(),
            reason,
        })?;
        match name {
            "https" => inherited.https.push(socket),
            _ => inherited.http.push(socket),
        }
    }
    Ok(inherited)
}

fn tcp(given: &mut ListenFd, number: usize) -> Result<TcpListener, String> {
    let socket = given.take_tcp_listener(number).map_err(|error| error.to_string())?;
    socket.ok_or_else(|| "it is not open".to_owned())
}
