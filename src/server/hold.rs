//! Holding the server still for a moment.
//!
//! Three things end a hold, each alone sufficient:
//! - the closure returns: the lock is released and its connection closed, before anything that the
//!   closure returned is dropped;
//! - the watchdog, at the budget, counted from the moment the lock was *asked for*: on MySQL writers
//!   wait behind us from then on;
//! - the server, by session timeouts, where this process is frozen, or the network is cut.
//!
//! The server's timeouts are whole seconds. With a budget of `b` seconds, asking waits for at most
//! `b - 2`, so that something is left for the snapshot; until the lock is settled the server keeps a
//! silent session for the other 2 (FLUSH TABLES WITH READ LOCK that timed out may still hold the lock:
//! this is what frees it when we are frozen). Then a silent session is kept for what is left of the
//! budget, rounded up: less would end a hold that is within it. So a frozen process stalls writers for
//! at most `b + 1` seconds, and a living one for `b`.
//!
//! Under the lock the closure asks for the position, which flushes the engine's log first: so the
//! rows agree with the position even where commits don't flush by themselves, and LVM can be started
//! before. Except on MariaDB with `innodb_flush_log_at_trx_commit = 0`, where the flush does nothing:
//! there we wait, before the closure, until the background flush, once a second, has passed the lock. That
//! needs no privilege, while setting the variable to 1 would need SUPER, and would change the server.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::position::{Exactness, Position};
use super::session::{Connection, Session, explained};
use super::sql::{self, Dialect};
use super::version::Version;
use super::watchdog::{Ended, Watchdog};
use crate::fault::{Failure, Fault, Kind, kind_of};
use crate::sys::cancel::Cancel;

/// How long after the budget an answer of the server is still waited for.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// The background flush comes once a second.
const FLUSH_PATIENCE: Duration = Duration::from_millis(1500);
/// What must be left of the budget for the closure after waiting for that flush.
const LEFT_FOR_THE_CLOSURE: Duration = Duration::from_secs(1);
/// ER_LOCK_WAIT_TIMEOUT.
const LOCK_WAIT_TIMEOUT: u16 = 1205;

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
    /// FLUSH TABLES WITH READ LOCK: stops all writes, and waits for reads on MySQL.
    Global,
    /// MariaDB's BACKUP STAGE up to BLOCK_COMMIT: stops commits, DDL and tables without
    /// transactions, and waits for neither reads nor InnoDB.
    Stages,
}

impl LockMode {
    /// The lock that fits `choice` and the server. MySQL's LOCK INSTANCE FOR BACKUP is none of
    /// them: it lets commits through, and its position was not exact.
    pub fn choose(choice: LockChoice, facts: &Facts) -> anyhow::Result<Self> {
        let has_stages = facts.flavour.is_mariadb() && facts.version >= Version(10, 4, 0);
        match choice {
            LockChoice::Auto | LockChoice::Stages if has_stages => Ok(Self::Stages),
            LockChoice::Auto | LockChoice::Global => Ok(Self::Global),
            LockChoice::Stages => {
                Err(Fault::new(Kind::Config, format!("{} {} has no BACKUP STAGE", facts.flavour, facts.version))
                    .hint("use lock = \"auto\" or \"global\"")
                    .into())
            }
        }
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

impl HoldLimits {
    /// How long the server lets us wait for the lock.
    fn lock_wait(self) -> u64 {
        sql::seconds(self.max_stall).saturating_sub(2).max(1)
    }

    /// How long it keeps us while we say nothing, until the lock is settled.
    fn idle(self) -> u64 {
        sql::seconds(self.max_stall).saturating_sub(self.lock_wait()).max(1)
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
pub struct Held<'a> {
    connection: &'a mut Connection,
    dialect: Dialect,
    deadline: Instant,
    exact: Exactness,
    written_out: bool,
    /// How long the server lets us be silent, in seconds.
    idle: u64,
}

impl std::fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

impl Held<'_> {
    /// Where what is committed stands, which is written out first; nothing can be committed after it while
    /// this exists. A snapshot is exact only where the volume freezes after [`Held::write_out`].
    pub fn position(&mut self) -> anyhow::Result<Position> {
        self.write_out()?;
        self.limit_silence()?;
        Position::read(self.connection, self.dialect, self.exact.clone()).context("cannot read the position")
    }

    /// What is left of the budget.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// When the budget is over and the lock is taken away.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Writes out what is committed; false where that was done before.
    pub fn write_out(&mut self) -> anyhow::Result<bool> {
        if self.written_out {
            return Ok(false);
        }
        self.connection.run(sql::FLUSH_ENGINE_LOGS).context("cannot flush the engine's log")?;
        self.written_out = true;
        Ok(true)
    }

    /// Has the server keep us for the rest of the budget and no longer; before that, waits for what takes longer than a
    /// volume needs to freeze.
    fn settle(&mut self, waits_for_flush: bool) -> anyhow::Result<()> {
        if waits_for_flush {
            self.write_out()?;
            if !self.flushed_in_background()? {
                self.exact = Exactness::NotExact(
                    "innodb_flush_log_at_trx_commit is 0 and the log was not flushed within the budget".to_owned(),
                );
            }
        }
        self.limit_silence()
    }

    /// Has the server end us when we are silent for the rest of the budget, as a process does that was stopped. It counts
    /// from the last statement on, so that what was slow before that has to be taken off.
    fn limit_silence(&mut self) -> anyhow::Result<()> {
        let idle = sql::seconds(self.remaining() + Duration::from_millis(999));
        if idle < self.idle {
            self.connection.run(&sql::idle_timeout(idle)).context("cannot set the idle timeout")?;
            self.idle = idle;
        }
        Ok(())
    }

    /// Waits until MariaDB's background flush has passed what is committed now.
    fn flushed_in_background(&mut self) -> anyhow::Result<bool> {
        let end = Instant::now() + FLUSH_PATIENCE.min(self.remaining().saturating_sub(LEFT_FOR_THE_CLOSURE));
        let mut committed = None;
        loop {
            let lsn = self.connection.pairs(sql::LSN)?;
            let number = |name: &str| lsn.get(name).and_then(|value| value.parse::<u64>().ok());
            let Some(flushed) = number("innodb_lsn_flushed") else { return Ok(false) };
            let committed = *committed.get_or_insert(number("innodb_lsn_current").unwrap_or(u64::MAX));
            if flushed >= committed {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
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
        cancel.check()?;
        let guard = self.another(limits)?;
        let mut holder = self.another(limits)?;
        let waits_for_flush = self.prepare(&mut holder, mode, limits)?;

        let asked = Instant::now();
        let deadline = asked + limits.max_stall;
        let watchdog = Watchdog::arm(guard, holder.id(), deadline, cancel)?;
        let mut granted = None;
        let mut held = Held {
            connection: &mut holder,
            dialect: self.dialect(),
            deadline,
            exact: Exactness::Exact,
            written_out: false,
            idle: u64::MAX,
        };
        let result = acquire(held.connection, mode, limits).and_then(|()| {
            watchdog.granted();
            granted = Some(Instant::now());
            held.settle(waits_for_flush)?;
            f(&mut held)
        });
        let released = holder.run(mode.release());
        drop(holder);
        let end = Instant::now();
        // Who comes to the deadline first, a failing closure or the watchdog, is chance.
        let late = (result.is_err() && end >= deadline).then_some(Ended::OverBudget);
        let ended = watchdog.call_off().or(late);

        let value = match ended {
            None => kept(result, released)?,
            Some(Ended::Cancelled) => return Err(cancelled(cancel)),
            Some(Ended::OverBudget) => return Err(over_budget(limits, granted.is_some(), result.err())),
        };
        let granted = granted.unwrap_or(end);
        Ok(HoldOutcome { value, waited: granted - asked, held: end - granted })
    }

    fn another(&self, limits: &HoldLimits) -> anyhow::Result<Connection> {
        let deadline = limits.max_stall + ANSWER_GRACE;
        Connection::open(&self.address, deadline).map_err(|error| explained(error, &self.address))
    }

    /// All that can be done before anybody waits for us; whether the log must be waited for.
    fn prepare(&self, holder: &mut Connection, mode: LockMode, limits: &HoldLimits) -> anyhow::Result<bool> {
        let timeouts = sql::session_timeouts(limits.lock_wait(), limits.idle());
        holder.run(&timeouts).context("cannot set the session's timeouts")?;
        if let Some(statement) = mode.prepare() {
            holder.run(statement).map_err(|error| {
                Fault::new(Kind::Lock, format!("`{statement}` failed"))
                    .hint("does another backup of this server run?")
                    .caused_by(error)
            })?;
        }
        let redo_at_commit = holder.value(sql::REDO_AT_COMMIT).map_err(|error| {
            Fault::new(Kind::Lock, "the session was lost before the read lock was asked for").caused_by(error)
        })?;
        Ok(self.facts().flavour.is_mariadb() && redo_at_commit.as_deref() == Some("0"))
    }
}

fn acquire(connection: &mut Connection, mode: LockMode, limits: &HoldLimits) -> anyhow::Result<()> {
    connection.run(mode.acquire()).map_err(|error| {
        let timed_out = matches!(&error, mysql::Error::MySqlError(e) if e.code == LOCK_WAIT_TIMEOUT);
        let fault = if timed_out {
            let message = format!("the read lock was not granted within {} s", limits.lock_wait());
            Fault::new(Kind::Lock, message).hint(WAITS_FOR)
        } else {
            Fault::new(Kind::Lock, format!("`{}` failed", mode.acquire()))
        };
        fault.caused_by(error).into()
    })
}

const WAITS_FOR: &str = "a long statement stands in its way: see SHOW FULL PROCESSLIST, or raise max_stall";

/// A lock that could not be released was not ours to the end: whatever was made under it is void.
fn kept<T>(result: anyhow::Result<T>, released: Result<(), mysql::Error>) -> anyhow::Result<T> {
    match (result, released) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(error)) => Err(lost(error.into())),
        (Err(error), Ok(())) => Err(error),
        // What failed because the session was gone says only that.
        (Err(error), Err(_)) if kind_of(&error).is_none() => Err(lost(error)),
        (Err(error), Err(unlock)) => Err(Failure::join(error, vec![unlock.into()])),
    }
}

fn lost(cause: anyhow::Error) -> anyhow::Error {
    let fault = Fault::new(Kind::Lock, "the read lock was lost before it was released");
    fault.hint("was its session killed, or the server restarted? see the server's error log").caused_by(cause).into()
}

fn cancelled(cancel: &Cancel) -> anyhow::Error {
    let fault = || Fault::new(Kind::Cancelled, "ended while waiting for the read lock").into();
    cancel.check().err().unwrap_or_else(fault)
}

fn over_budget(limits: &HoldLimits, granted: bool, cause: Option<anyhow::Error>) -> anyhow::Error {
    let budget = limits.max_stall;
    let fault = if granted {
        Fault::new(Kind::Lock, format!("the read lock was given up after max_stall ({budget:?}), unfinished"))
            .hint("the disk or LVM is slow just now; try again, or raise max_stall")
    } else {
        Fault::new(Kind::Lock, format!("the read lock was not granted within max_stall ({budget:?})")).hint(WAITS_FOR)
    };
    match cause {
        Some(cause) => fault.caused_by(cause).into(),
        None => fault.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    #[test]
    fn the_servers_timeouts_free_writers_within_the_budget() {
        for seconds in 2..=60 {
            let limits = HoldLimits { max_stall: Duration::from_secs(seconds) };
            assert!(limits.lock_wait() < seconds, "some of the budget is left for the closure");
            assert_eq!(limits.lock_wait() + limits.idle(), seconds);
        }
        let tiny = HoldLimits { max_stall: Duration::from_millis(300) };
        assert_eq!((tiny.lock_wait(), tiny.idle()), (1, 1));
    }

    #[test]
    fn a_value_made_under_a_lost_lock_is_an_error() {
        let gone = || Err(mysql::Error::server_disconnected());
        assert_eq!(kept(Ok(1), Ok(())).unwrap(), 1);
        assert_eq!(kind_of(&kept(Ok(1), gone()).unwrap_err()), Some(Kind::Lock));
        let own = kept::<()>(Err(Fault::new(Kind::Snapshot, "lvcreate failed").into()), gone()).unwrap_err();
        assert!(own.to_string().starts_with("lvcreate failed"), "{own}");
        let dead = kept::<()>(Err(anyhow::anyhow!("the server refused `SHOW MASTER STATUS`")), gone()).unwrap_err();
        assert_eq!(kind_of(&dead), Some(Kind::Lock));
        assert!(format!("{dead:#}").contains("SHOW MASTER STATUS"), "{dead:#}");
    }

    #[test]
    fn running_over_budget_keeps_the_cause() {
        let error = over_budget(&HoldLimits::default(), true, Some(anyhow::anyhow!("connection lost")));
        assert_eq!(kind_of(&error), Some(Kind::Lock));
        assert!(format!("{error:#}").contains("connection lost"));
    }
}
