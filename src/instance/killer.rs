//! Ends the second server at once when the run is to end: it may be reading a big table for an hour.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;

use crate::sys::cancel::{Cancel, POLL};
use crate::sys::cmd::Running;

/// A thread that kills the server when the run is ended, or when its time is over. Called off when this is dropped, which
/// must be before the server's own end is waited for.
pub(super) struct Killer {
    called_off: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Killer {
    pub(super) fn of(server: &Running<'_>, cancel: &Cancel, until: Option<Instant>) -> anyhow::Result<Self> {
        let (called_off, over) = channel();
        let (kill, cancel) = (server.killer(), cancel.clone());
        let watch = move || {
            while over.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                if cancel.signal().is_some() || until.is_some_and(|until| Instant::now() >= until) {
                    return kill();
                }
            }
        };
        let thread = std::thread::Builder::new().name("killer".into()).spawn(watch);
        Ok(Self { called_off: Some(called_off), thread: Some(thread.context("cannot start a thread")?) })
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.called_off = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that ends the second server panicked");
        }
    }
}
