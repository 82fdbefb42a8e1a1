//! In place of `tls` in a program that is built without it: whoever asks for TLS is refused.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;

use carom_shared::settings::InvalidSetting;
use tokio::net::TcpStream;

/// There is none.
pub type TlsStream = TcpStream;

/// There is none.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// # Errors
    /// Always.
    pub fn new(_ca_path: &Path, setting: &'static str) -> Result<Self, InvalidSetting> {
        let problem = "cannot be used, nor can what it is for: this program is built without TLS";
        Err(InvalidSetting::new(setting, problem))
    }

    /// # Errors
    /// There is nobody who could call it.
    #[expect(clippy::unused_async, reason = "as with TLS")]
    pub async fn connect(&self, _host: &str, _stream: TcpStream) -> Result<TlsStream, String> {
        match self.0 {}
    }
}

/// Nothing comes from TLS.
#[must_use]
pub fn explain_tls(_error: &(dyn Error + 'static), _setting: &str) -> Option<String> {
    None
}
