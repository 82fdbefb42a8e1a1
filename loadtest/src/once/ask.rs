//! The request of `once`, and what its answer says.

use serde::Deserialize;
use tokio::time::timeout;

use super::verdict::{Answer, Created, Promise};
use crate::api::Api;
use crate::http::{Connection, EXCHANGE_MAX, HttpError, Response};

/// One create with an idempotency key, to be sent as often as one likes.
pub(super) struct Request {
    api: Api,
    bytes: Vec<u8>,
}

impl Request {
    /// `key` has letters, digits and hyphens only.
    pub(super) fn new(api: Api, key: &str, target: &str) -> Self {
        let body = serde_json::json!({ "url": target }).to_string();
        let bytes = format!(
            "POST /api/v1/links HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\n\
             Idempotency-Key: \"{key}\"\r\nContent-Length: {}\r\n\r\n{body}",
            api.control,
            api.key,
            body.len()
        );
        Self { api, bytes: bytes.into_bytes() }
    }

    /// A connection that was used once, so that opening it is not in what follows.
    pub(super) async fn connect(&self) -> Result<Connection, HttpError> {
        let Api { control, key } = &self.api;
        let mut connection = Connection::open(*control).await?;
        let warm_up = format!(
            "GET /api/v1/links?limit=1 HTTP/1.1\r\nHost: {control}\r\n\
             Authorization: Bearer {key}\r\n\r\n"
        );
        exchange(&mut connection, warm_up.as_bytes(), |_| ()).await?;
        Ok(connection)
    }

    /// Sends it, on a connection of [`Request::connect`], and reads the answer.
    pub(super) async fn ask(&self, connection: &mut Connection) -> Answer {
        match exchange(connection, &self.bytes, read_answer).await {
            Ok(answer) => answer,
            Err(HttpError::Malformed(what)) => Answer::Wrong(format!("malformed: {what}")),
            Err(error) => Answer::Cut(error.to_string()),
        }
    }
}

async fn exchange<T>(
    connection: &mut Connection,
    request: &[u8],
    read: impl FnOnce(&Response<'_>) -> T,
) -> Result<T, HttpError> {
    let exchange = async {
        connection.send(request).await?;
        let head = connection.read_head().await?;
        Ok(read(&connection.read_body(&head).await?))
    };
    timeout(EXCHANGE_MAX, exchange).await.unwrap_or(Err(HttpError::Timeout))
}

/// What a whole answer says.
fn read_answer(response: &Response<'_>) -> Answer {
    #[derive(Deserialize)]
    struct Made {
        id: String,
    }
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
    }
    let body = String::from_utf8_lossy(response.body);
    let wrong = || Answer::Wrong(format!("status {} {body}", response.status));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match response.status {
        201 => {
            let replayed = match response.replayed {
                None => false,
                Some(b"true") => true,
                Some(_) => return wrong(),
            };
            let (Ok(Made { id }), Some(location), Some(etag)) =
                (serde_json::from_str(&body), response.location, response.etag)
            else {
                return wrong();
            };
            let (location, etag) = (text(location), text(etag));
            let promise = Promise { id, location, etag, body: body.into_owned() };
            Answer::Created(Created { replayed, promise })
        }
        409 => {
            let Problem { kind } = serde_json::from_str(&body).unwrap_or_default();
            if kind.ends_with("idempotency-in-progress") { Answer::UnderWay } else { wrong() }
        }
        503 => Answer::Busy,
        _ => wrong(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let made = r#"{"id":"lnk_1","url":"https://a.test/"}"#;
        let under_way = r#"{"type":"https://carom.test/problems/idempotency-in-progress"}"#;
        let taken = r#"{"type":"https://carom.test/problems/code-taken"}"#;
        let cases = [
            (201, true, None, made, "201 lnk_1"),
            (201, true, Some("true"), made, "201 lnk_1, given again"),
            (201, true, Some("false"), made, "status 201"),
            (201, false, None, made, "status 201"),
            (201, true, None, "{}", "status 201"),
            (409, false, None, under_way, "409, under way"),
            (409, false, None, taken, "status 409"),
            (503, false, None, "", "503"),
        ];
        for (status, complete, replayed, body, tells) in cases {
            let location = complete.then_some(b"/api/v1/links/lnk_1".as_slice());
            let etag = complete.then_some(b"\"1\"".as_slice());
            let replayed = replayed.map(str::as_bytes);
            let (body, retry_after) = (body.as_bytes(), None);
            let set_cookie = None;
            let response =
                Response { status, location, etag, replayed, retry_after, set_cookie, body };
            let told = read_answer(&response).to_string();
            let is_wrong = tells.starts_with("status");
            assert!(if is_wrong { told.starts_with(tells) } else { told == tells }, "{told}");
        }
    }
}
