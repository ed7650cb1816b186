//! A holder that is killed, frozen or cut off: the server frees its writers by itself.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use mysnap::server::{Access, LockMode};
use mysnap::sys::cancel::Cancel;
use mysql::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Busy, SLACK, account, assert_writable, hold, modes, session, table};
use crate::pulse::Pulse;
use crate::support::{SCHEMA, admin, is_mariadb, socket};

/// Not a test: the process that `Child` starts, to be killed or frozen while it holds the lock.
#[test]
#[ignore = "started by other tests"]
fn child_that_holds() {
    let Ok(mode) = std::env::var("MYSNAP_TEST_MODE") else { return };
    let mode = if mode == "Stages" { LockMode::Stages } else { LockMode::Global };
    let access = Access {
        socket: Some(socket()),
        option_file: std::env::var_os("MYSNAP_TEST_FILE").map(Into::into),
        ..Access::default()
    };
    let mut session = access.connect(&Cancel::new()).unwrap();
    // What comes of it is the other process's to see.
    let flushes = std::env::var("MYSNAP_TEST_FLUSHES").map_or(0, |seconds| seconds.parse().unwrap());
    drop(hold(&mut session, mode, 5, |held| {
        // As on a disk that takes long.
        std::thread::sleep(Duration::from_secs(flushes));
        held.position()?;
        println!("\n{HELD}");
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }));
}

/// What that process says when it has the lock.
const HELD: &str = "held";

struct Child {
    child: std::process::Child,
    _files: tempfile::TempDir,
}

impl Child {
    #[expect(clippy::disallowed_methods, reason = "this program itself, with variables that sys::cmd would drop")]
    fn that_holds(mode: LockMode, flushes: u64) -> Self {
        let (access, files) = account(None);
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::holder::child_that_holds", "--ignored", "--nocapture"])
            .env("MYSNAP_TEST_MODE", format!("{mode:?}"))
            .env("MYSNAP_TEST_FILE", access.option_file.unwrap())
            .env("MYSNAP_TEST_FLUSHES", flushes.to_string())
            .env("MYSNAP_SOCKET", socket())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, _files: files }
    }

    fn wait_until_it_holds(&mut self) {
        let mut output = BufReader::new(self.child.stdout.as_mut().unwrap()).lines();
        assert!(output.any(|line| line.unwrap() == HELD), "it never had the lock");
        std::thread::sleep(Duration::from_millis(100));
    }

    fn wait_until_it_waits() {
        let mut admin = admin();
        let is_waiting = || -> Result<(), ()> {
            let rows: Vec<mysql::Row> = admin.query("SHOW FULL PROCESSLIST").unwrap();
            let statements = rows.iter().filter_map(|row| row.get::<Option<String>, _>("Info").unwrap());
            let mut locks = statements.filter(|statement| statement.starts_with("FLUSH LOCAL TABLES"));
            locks.next().map(drop).ok_or(())
        };
        mysnap::sys::retry::until(Duration::from_secs(10), is_waiting).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// How long writers waited from `signal` on, which the child gets under the lock.
fn stall_after(signal: Signal, mode: LockMode, flushes: u64) -> Duration {
    let mut child = Child::that_holds(mode, flushes);
    child.wait_until_it_holds();
    let began = Instant::now();
    child.signal(signal);
    admin().query_drop(format!("REPLACE INTO {SCHEMA}.heartbeat VALUES (3, 0)")).unwrap();
    began.elapsed()
}

#[test]
fn a_holder_that_is_killed_frees_the_writers_at_once() {
    Pulse::start().longest();
    for mode in modes(&session()) {
        let stall = stall_after(Signal::SIGKILL, mode, 0);
        println!("{mode:?}: {stall:?}");
        assert!(stall < Duration::from_secs(1), "{mode:?} {stall:?}");
    }
}

/// How long writers waited from the moment on at which a holder was frozen, and in all, which has a bound.
fn stall_of_a_frozen_one(mode: LockMode, flushes: u64) -> (Duration, Duration) {
    let heartbeat = Pulse::start();
    let frozen = stall_after(Signal::SIGSTOP, mode, flushes);
    let stall = heartbeat.longest();
    println!("{mode:?}: {frozen:?} after it was frozen, stall {stall:?}");
    assert!(stall < Duration::from_secs(6) + SLACK, "{mode:?} {stall:?}");
    (frozen, stall)
}

#[test]
fn a_holder_that_is_frozen_is_dropped_by_the_server() {
    for mode in modes(&session()) {
        let (frozen, _) = stall_of_a_frozen_one(mode, 0);
        assert!(frozen > Duration::from_secs(2), "it must have held the lock: {frozen:?}");
    }
}

#[test]
fn what_was_slow_before_a_holder_was_frozen_is_taken_off() {
    for mode in modes(&session()) {
        let (_, stall) = stall_of_a_frozen_one(mode, 3);
        assert!(stall > Duration::from_secs(3), "it must have held the lock: {stall:?}");
    }
}

#[test]
fn a_holder_that_is_killed_or_frozen_while_it_waits_frees_the_writers_in_time() {
    let mut admin = admin();
    let mariadb = is_mariadb(&mut admin);
    for statement in ["UPDATE mysnap_test.t SET n = SLEEP(20)", "SELECT SLEEP(20) FROM mysnap_test.t"] {
        if mariadb && statement.starts_with("SELECT") {
            continue; // Its lock does not wait for it.
        }
        for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
            drop(table("InnoDB"));
            let heartbeat = Pulse::start();
            let busy = Busy::with(statement);
            let child = Child::that_holds(LockMode::Global, 0);
            Child::wait_until_it_waits();
            child.signal(signal);
            std::thread::sleep(Duration::from_secs(7));
            assert_writable();
            drop((child, busy));
            let stall = heartbeat.longest();
            println!("{signal} behind {statement}: {stall:?}");
            assert!(stall < Duration::from_secs(6) + SLACK, "{signal} {stall:?}");
        }
    }
}
