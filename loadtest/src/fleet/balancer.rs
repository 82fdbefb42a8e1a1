//! [`Balancer`]: one address for several, as a service of Kubernetes is. Each new connection goes to
//! the next one that accepts it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::Failure;

/// How long one of those behind it may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Connections, at most; more wait.
const CONNECTIONS_MAX: usize = 1024;

/// A balancer that runs. It ends with this.
#[derive(Debug)]
pub(crate) struct Balancer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Balancer {
    pub(super) async fn start(
        address: SocketAddr,
        behind: Vec<SocketAddr>,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await;
        let listener = listener
            .map_err(|error| Failure::new(format!("cannot listen on {address}: {error}")))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(balance(listener, behind));
        Ok(Self { address, _tasks: tasks })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn balance(listener: TcpListener, behind: Vec<SocketAddr>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    for turn in 0.. {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let mut order = behind.clone();
        order.rotate_left(turn % behind.len().max(1));
        connections.spawn(async move {
            // That either side goes away is what this is for.
            if let Ok(mut server) = connect(&order).await {
                drop(copy_bidirectional(&mut client, &mut server).await);
            }
            drop(slot);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(order: &[SocketAddr]) -> io::Result<TcpStream> {
    for &address in order {
        if let Ok(Ok(server)) = timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            server.set_nodelay(true)?;
            return Ok(server);
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Says its name to whoever connects.
    async fn speaker(name: &'static [u8]) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(name).await.unwrap();
            }
        });
        (address, tasks)
    }

    #[tokio::test]
    async fn connections_take_turns_and_pass_over_who_is_away() {
        let ((a, _a), (b, b_tasks)) = (speaker(b"a").await, speaker(b"b").await);
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let balancer = Balancer::start(free, vec![a, b]).await.unwrap();
        let ask = async || {
            let mut text = String::new();
            let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        assert_ne!(ask().await, ask().await);
        drop(b_tasks);
        // Its listener is gone as soon as its task is.
        tokio::task::yield_now().await;
        assert_eq!((ask().await, ask().await), ("a".to_owned(), "a".to_owned()));
    }
}
