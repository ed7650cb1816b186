//! Holding the server still for a moment.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::position::Position;
use super::session::Session;
use crate::sys::cancel::Cancel;

/// Which lock was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockChoice {
    /// The one that fits the server.
    #[default]
    Auto,
    /// FLUSH TABLES WITH READ LOCK.
    Global,
    /// BACKUP STAGE.
    Stages,
}

/// The lock that holds the server still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// FLUSH TABLES WITH READ LOCK.
    Global,
    /// MariaDB's BACKUP STAGE up to BLOCK_COMMIT.
    Stages,
}

impl LockMode {
    /// The lock that fits `choice` and the server.
    pub fn choose(choice: LockChoice, facts: &Facts) -> anyhow::Result<Self> {
        let _ = (choice, facts);
        anyhow::bail!("not built yet")
    }
}

/// What a hold may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// The longest time that writers may wait for us, getting the lock included.
    pub max_stall: Duration,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { max_stall: Duration::from_secs(5) }
    }
}

/// What came of a hold that was kept to its end.
#[derive(Debug)]
pub struct HoldOutcome<T> {
    /// What the closure returned.
    pub value: T,
    /// From asking for the lock to having it.
    pub waited: Duration,
    /// From having the lock to its release.
    pub held: Duration,
}

/// The lock, seen from inside: a witness that writers wait, and the only SQL possible meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    session: PhantomData<&'a mut Session>,
}

impl Held<'_> {
    /// Where the server's changes stand; nothing can be committed after it while this exists.
    pub fn position(&mut self) -> anyhow::Result<Position> {
        anyhow::bail!("not built yet")
    }

    /// What is left of the budget.
    pub fn remaining(&self) -> Duration {
        Duration::ZERO
    }
}

impl Session {
    /// Runs `f` while no change can be committed.
    ///
    /// The lock is taken on a connection of its own and ends when `f` returns, before anything
    /// that it returned is dropped. It also ends, and the result is an error of
    /// [`crate::fault::Kind::Lock`], when [`HoldLimits::max_stall`] is over, by a second
    /// connection; and by the server itself, when this process is frozen or cut off.
    ///
    /// `f` must not log, nor touch files on the data volume: the file system may be frozen. A value
    /// that must not be dropped under the lock belongs into its result.
    pub fn hold<T>(
        &mut self,
        mode: LockMode,
        limits: &HoldLimits,
        cancel: &Cancel,
        f: impl FnOnce(&mut Held<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<HoldOutcome<T>> {
        let mut held = Held { session: PhantomData };
        let _ = (mode, limits, cancel);
        Ok(HoldOutcome { value: f(&mut held)?, waited: Duration::ZERO, held: Duration::ZERO })
    }
}
