//! One flag that ends every wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::fault::{Fault, Kind, kind_of};

/// How often a wait looks at the flag.
pub const POLL: Duration = Duration::from_millis(20);

/// Set once by a signal, seen by every wait; teardown ignores it and has deadlines of its own.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    signal: Arc<AtomicI32>,
    parent: Option<Arc<Cancel>>,
}

impl Cancel {
    /// A flag that nobody has set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag of its own that is also set when `self` is: for a part of a run that can be given up
    /// without giving up the run.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { signal: Arc::default(), parent: Some(Arc::new(self.clone())) }
    }

    /// Asks every wait to end because of `signal`. The first signal stays.
    pub fn set(&self, signal: i32) {
        // A second signal changes nothing: the exit status names the one that ended the run.
        if self.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            tracing::debug!(signal, "already ending");
        }
    }

    /// The signal that was received, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::SeqCst) {
            0 => self.parent.as_ref()?.signal(),
            signal => Some(signal),
        }
    }

    /// An error once the flag is set.
    pub fn check(&self) -> anyhow::Result<()> {
        self.signal().map_or(Ok(()), |signal| Err(ended_by(signal).into()))
    }

    /// `error` as the end that was asked for, once the flag is set: a service manager may have told the commands of a run
    /// too, which then fail.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.signal() {
            Some(signal) if kind_of(&error) != Some(Kind::Cancelled) => ended_by(signal).caused_by(error).into(),
            _ => error,
        }
    }

    /// Sleeps for `duration`, or fails as soon as the flag is set.
    pub fn sleep(&self, duration: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + duration;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(POLL));
        }
    }
}

fn ended_by(signal: i32) -> Fault {
    Fault::new(Kind::Cancelled, format!("ended by signal {signal}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_parent_and_not_the_other_way_round() {
        let parent = Cancel::new();
        let (one, other) = (parent.child(), parent.child());
        one.set(15);
        assert_eq!((one.signal(), other.signal(), parent.signal()), (Some(15), None, None));
        parent.set(2);
        assert_eq!(other.signal(), Some(2));
    }

    #[test]
    fn what_fails_after_the_signal_is_its_end() {
        let cancel = Cancel::new();
        let failed = || anyhow::Error::from(Fault::new(Kind::Snapshot, "lvconvert was killed"));
        assert_eq!(kind_of(&cancel.explain(failed())), Some(Kind::Snapshot));
        cancel.set(15);
        let explained = cancel.explain(failed());
        assert_eq!(kind_of(&explained), Some(Kind::Cancelled));
        assert!(format!("{explained:#}").ends_with("ended by signal 15: lvconvert was killed"), "{explained:#}");
    }

    #[test]
    fn a_sleep_ends_when_the_flag_is_set() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        let waiter = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        cancel.set(15);
        cancel.set(2);
        assert!(waiter.join().unwrap().is_err());
        assert_eq!(cancel.signal(), Some(15));
    }
}
