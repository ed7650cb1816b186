//! Queries that would keep the lock waiting, and every writer behind it.

use std::time::Duration;

use super::hold::LockMode;
use super::session::Session;
use crate::sys::cancel::Cancel;

/// What to do about queries that would block the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongQueryPolicy {
    /// From when on a query counts as long.
    pub threshold: Duration,
    /// How long to wait for long queries to end before giving up.
    pub wait: Duration,
    /// After how much waiting long SELECTs, and only SELECTs, are killed; never where `None`.
    pub kill_selects: Option<Duration>,
}

impl Default for LongQueryPolicy {
    fn default() -> Self {
        Self { threshold: Duration::from_secs(60), wait: Duration::from_secs(180), kill_selects: None }
    }
}

/// A query that would block the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongQuery {
    /// The connection.
    pub id: u64,
    /// Whose it is.
    pub user: String,
    /// For how long it has been running.
    pub running: Duration,
    /// The head of the statement, literals masked.
    pub statement: String,
}

impl Session {
    /// The queries that have been running for `threshold` or longer and would block a lock of
    /// `mode`.
    pub fn long_queries(&mut self, mode: LockMode, threshold: Duration) -> anyhow::Result<Vec<LongQuery>> {
        let _ = (mode, threshold);
        anyhow::bail!("not built yet")
    }

    /// Waits until no long query would block a lock of `mode`; gives up with an error of
    /// [`crate::fault::Kind::Lock`] that names them.
    pub fn wait_for_calm(&mut self, mode: LockMode, policy: &LongQueryPolicy, cancel: &Cancel) -> anyhow::Result<()> {
        let _ = (mode, policy, cancel);
        anyhow::bail!("not built yet")
    }
}
