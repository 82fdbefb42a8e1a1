//! [`Visitor`]: follows codes on one edge over a connection that it keeps.

use std::net::SocketAddr;

use tokio::time::timeout;

use crate::http::{Connection, EXCHANGE_MAX, HttpError};
use crate::traffic::{ONE_USER_AGENT, write_request};

/// What an edge answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    To(String),
    Status(u16),
}

/// A visitor of one edge.
pub(crate) struct Visitor {
    edge: SocketAddr,
    host: String,
    connection: Option<Connection>,
    request: String,
}

impl Visitor {
    pub(crate) fn of(edge: SocketAddr) -> Self {
        Self { edge, host: edge.to_string(), connection: None, request: String::new() }
    }

    /// Follows a code; once more on a new connection if the kept one turns out to be gone.
    pub(crate) async fn follow(&mut self, code: &str) -> Result<Shown, HttpError> {
        let kept = self.connection.is_some();
        match self.exchange(code).await {
            Err(HttpError::Cut | HttpError::Io(_)) if kept => self.exchange(code).await,
            result => result,
        }
    }

    async fn exchange(&mut self, code: &str) -> Result<Shown, HttpError> {
        write_request(&mut self.request, code, &self.host, ONE_USER_AGENT, None);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.edge).await?,
        };
        let exchange = async {
            connection.send(self.request.as_bytes()).await?;
            let head = connection.read_head().await?;
            let response = connection.read_body(&head).await?;
            let shown = match (response.status, response.location) {
                (302, Some(to)) => Shown::To(String::from_utf8_lossy(to).into_owned()),
                (status, _) => Shown::Status(status),
            };
            Ok::<_, HttpError>((shown, head.close))
        };
        let (shown, close) =
            timeout(EXCHANGE_MAX, exchange).await.unwrap_or(Err(HttpError::Timeout))?;
        self.connection = (!close).then_some(connection);
        Ok(shown)
    }
}
