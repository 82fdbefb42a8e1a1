//! Signals that end a program.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM. Made before anything starts, so that no moment is left in which a signal just
/// kills.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// If the system does not let signals be heard.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Ends when somebody wants the program to stop.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Ends when a person wants it at once: Ctrl-C once more.
    pub async fn at_once(&mut self) {
        self.interrupt.recv().await;
    }
}
