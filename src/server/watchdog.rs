//! What ends a hold that outlives its budget, whatever its owner is doing.
//!
//! A thread with a connection of its own, opened before the lock: with the lock held there may be
//! none left. It kills the holder's *connection*; see [`super::sql::kill_connection`] for why never
//! its query.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;

use super::session::Connection;
use super::sql;
use crate::sys::cancel::{Cancel, POLL};

/// Why the watchdog ended a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The budget was over.
    OverBudget,
    /// The run was asked to end while it waited for the lock.
    Cancelled,
}

/// A watchdog at its post; dropping it calls it off.
#[derive(Debug)]
pub(super) struct Watchdog {
    post: Arc<Post>,
    thread: Option<JoinHandle<Result<(), mysql::Error>>>,
}

#[derive(Debug, Default)]
struct Post {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    granted: bool,
    called_off: bool,
    ended: Option<Ended>,
}

impl Watchdog {
    /// From now on the connection `target` lives until `deadline`, or, while it waits for its lock,
    /// until `cancel`.
    pub(super) fn arm(
        mut connection: Connection,
        target: u32,
        deadline: Instant,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let post = Arc::new(Post::default());
        let (theirs, cancel) = (Arc::clone(&post), cancel.clone());
        let watch = move || {
            if theirs.wait(deadline, &cancel) { connection.run(&sql::kill_connection(target)) } else { Ok(()) }
        };
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
        Ok(Self { post, thread: Some(thread.context("cannot start the watchdog")?) })
    }

    /// The lock was granted: from now on a cancelled run ends the hold itself.
    pub(super) fn granted(&self) {
        self.post.state().granted = true;
    }

    /// Calls it off; says whether it had ended the hold.
    pub(super) fn call_off(mut self) -> Option<Ended> {
        let ended = self.post.call_off();
        // Logged only now: under the lock a log may be on a frozen file system.
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => tracing::warn!(%error, "the session with the lock could not be killed"),
            Some(Err(_)) => tracing::error!("the watchdog panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
        ended
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.post.call_off();
    }
}

impl Post {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call_off(&self) -> Option<Ended> {
        let mut state = self.state();
        state.called_off = true;
        self.changed.notify_all();
        state.ended
    }

    /// Whether the hold must be ended; false when it was called off. The decision is made under the
    /// mutex, so a lock released in time is never counted as lost, nor the other way round.
    fn wait(&self, deadline: Instant, cancel: &Cancel) -> bool {
        let mut state = self.state();
        while !state.called_off {
            let now = Instant::now();
            if now >= deadline {
                state.ended = Some(Ended::OverBudget);
            } else if !state.granted && cancel.signal().is_some() {
                state.ended = Some(Ended::Cancelled);
            }
            if state.ended.is_some() {
                return true;
            }
            let pause = deadline.saturating_duration_since(now).min(POLL);
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_strikes_at_the_deadline_and_not_after_it_was_called_off() {
        let soon = Instant::now() + Duration::from_millis(30);
        let post = Post::default();
        assert!(post.wait(soon, &Cancel::new()));
        assert_eq!(post.call_off(), Some(Ended::OverBudget));
        let post = Post::default();
        assert_eq!(post.call_off(), None);
        assert!(!post.wait(soon, &Cancel::new()));
    }

    #[test]
    fn cancellation_ends_the_wait_for_a_lock_but_not_a_lock() {
        let cancel = Cancel::new();
        cancel.set(15);
        let post = Post::default();
        assert!(post.wait(Instant::now() + Duration::from_secs(60), &cancel));
        assert_eq!(post.call_off(), Some(Ended::Cancelled));
        let post = Post::default();
        post.state().granted = true;
        assert!(post.wait(Instant::now() + Duration::from_millis(30), &cancel));
        assert_eq!(post.call_off(), Some(Ended::OverBudget));
    }
}
