//! Holding the server still: what ends a hold, and what is in its way.

use std::time::{Duration, Instant};

use mysnap::fault::{Kind, kind_of};
use mysnap::server::{Exactness, LockChoice, LockMode, LongQueryPolicy};
use mysnap::sys::cancel::Cancel;
use mysql::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ACCOUNT, Busy, SLACK, account, assert_lock_lost, assert_writable, hold, limits, modes, session, table};
use crate::pulse::Pulse;
use crate::support::{SCHEMA, admin, is_mariadb, start_server};

#[test]
fn the_least_account_holds_the_server() {
    let mut session = session();
    assert_eq!(session.missing_privileges().unwrap(), []);
    for mode in modes(&session) {
        let outcome = hold(&mut session, mode, 5, |held| held.position()).unwrap();
        assert_eq!(outcome.value.exact, Exactness::Exact);
        assert_eq!(outcome.value.binlog.is_some(), session.facts().binary_log.is_some());
    }
}

#[test]
fn a_lock_behind_a_long_write_is_given_up_cleanly() {
    let mut session = session();
    for engine in ["InnoDB", "MyISAM"] {
        for mode in modes(&session) {
            drop(table(engine));
            let heartbeat = Pulse::start();
            let busy = Busy::with(&format!("UPDATE {SCHEMA}.t SET n = SLEEP(20)"));
            let began = Instant::now();
            let result = hold(&mut session, mode, 3, |_| Ok(()));
            let took = began.elapsed();
            // BACKUP STAGE does not wait for InnoDB.
            if mode == LockMode::Stages && engine == "InnoDB" {
                result.unwrap();
            } else {
                assert_lock_lost(result);
            }
            drop(busy);
            let stall = heartbeat.longest();
            println!("{engine} {mode:?}: {took:?}, stall {stall:?}");
            assert!(stall < Duration::from_secs(3) + SLACK, "{engine} {mode:?} {stall:?}");
        }
    }
}

#[test]
fn a_lock_behind_a_long_read_is_given_up_cleanly() {
    let mut session = session();
    let mut admin = table("InnoDB");
    for mode in modes(&session) {
        let heartbeat = Pulse::start();
        let busy = Busy::with(&format!("SELECT SLEEP(20) FROM {SCHEMA}.t"));
        let result = hold(&mut session, mode, 3, |_| Ok(()));
        // MariaDB's locks don't wait for reads.
        if is_mariadb(&mut admin) {
            assert!(result.unwrap().waited < Duration::from_secs(1));
        } else {
            assert_lock_lost(result);
        }
        drop(busy);
        let stall = heartbeat.longest();
        println!("{mode:?}: stall {stall:?}");
        assert!(stall < Duration::from_secs(3) + SLACK, "{mode:?} {stall:?}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_lock() {
    let mut session = session();
    drop(table("InnoDB"));
    let heartbeat = Pulse::start();
    let busy = Busy::with(&format!("UPDATE {SCHEMA}.t SET n = SLEEP(20)"));
    let cancel = Cancel::new();
    let signal = cancel.clone();
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        signal.set(15);
    });
    let error = session.hold(LockMode::Global, &limits(10), &cancel, |_| Ok(())).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Cancelled), "{error:#}");
    sender.join().unwrap();
    drop(busy);
    let stall = heartbeat.longest();
    assert!(stall < Duration::from_millis(500) + SLACK, "{stall:?}");
}

#[test]
fn a_closure_that_outlives_the_budget_loses_the_lock() {
    let mut session = session();
    for mode in modes(&session) {
        let heartbeat = Pulse::start();
        let result = hold(&mut session, mode, 2, |held| {
            std::thread::sleep(Duration::from_secs(4));
            assert_eq!(held.remaining(), Duration::ZERO);
            Ok(())
        });
        let error = assert_lock_lost(result);
        assert!(error.to_string().contains("given up"), "{error:#}");
        let stall = heartbeat.longest();
        println!("{mode:?}: stall {stall:?}");
        assert!(stall < Duration::from_secs(2) + SLACK, "{mode:?} {stall:?}");
    }
}

#[test]
fn a_closure_may_use_the_whole_budget() {
    let mut session = session();
    for mode in modes(&session) {
        for seconds in [1, 3] {
            let quiet = Duration::from_secs(seconds).saturating_sub(Duration::from_millis(400));
            hold(&mut session, mode, seconds, |held| {
                std::thread::sleep(quiet.saturating_sub(Duration::from_secs(seconds).saturating_sub(held.remaining())));
                Ok(())
            })
            .unwrap();
        }
    }
}

#[test]
fn a_failure_under_the_lock_releases_it_and_is_reported() {
    let mut session = session();
    for mode in modes(&session) {
        let error =
            hold(&mut session, mode, 5, |_| anyhow::bail!("lvcreate failed") as anyhow::Result<()>).unwrap_err();
        assert_eq!(error.to_string(), "lvcreate failed");
        assert_writable();
    }
}

#[test]
fn a_session_killed_under_the_lock_voids_what_was_made() {
    let mut session = session();
    for mode in modes(&session) {
        let result = hold(&mut session, mode, 5, |_| {
            let mut admin = admin();
            let ids: Vec<u64> = admin.query_map("SHOW PROCESSLIST", |row: mysql::Row| {
                let user: String = row.get("User").unwrap();
                if user == ACCOUNT { row.get::<u64, _>("Id").unwrap() } else { 0 }
            })?;
            ids.into_iter().filter(|id| *id > 0).for_each(|id| admin.query_drop(format!("KILL {id}")).unwrap());
            Ok(())
        });
        let error = assert_lock_lost(result);
        assert!(error.to_string().contains("lost"), "{error:#}");
        session = account(None).0.connect(&Cancel::new()).unwrap();
    }
}

#[test]
fn a_server_that_dies_under_the_lock_voids_what_was_made() {
    let mut session = session();
    let pid: i32 = std::fs::read_to_string(&session.facts().pid_file).unwrap().trim().parse().unwrap();
    let mode = LockMode::choose(LockChoice::Auto, session.facts()).unwrap();
    let result = hold(&mut session, mode, 5, |_| {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    });
    start_server();
    assert_lock_lost(result);
}

#[test]
fn long_queries_are_waited_for_and_named() {
    let mut session = session();
    let mut admin = table("MyISAM");
    let mariadb = is_mariadb(&mut admin);
    let policy =
        LongQueryPolicy { threshold: Duration::from_secs(1), wait: Duration::from_secs(2), kill_selects: None };
    for mode in modes(&session) {
        let busy = Busy::with(&format!("UPDATE {SCHEMA}.t SET n = SLEEP(20) + CHAR_LENGTH('geheim')"));
        std::thread::sleep(Duration::from_secs(1));
        let error = session.wait_for_calm(mode, &policy, &Cancel::new()).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Lock), "{error:#}");
        let text = error.to_string();
        assert!(text.contains("\"root\"") && text.contains("UPDATE") && !text.contains("geheim"), "{text}");
        drop(busy);
        let busy = Busy::with(&format!("SELECT SLEEP(20) FROM {SCHEMA}.t"));
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(session.long_queries(mode, policy.threshold).unwrap().is_empty(), mariadb);
        drop(busy);
    }
    drop(table("InnoDB"));
    let _busy = Busy::with(&format!("UPDATE {SCHEMA}.t SET n = SLEEP(20)"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(session.long_queries(LockMode::Stages, policy.threshold).unwrap(), []);
    assert_eq!(session.long_queries(LockMode::Global, policy.threshold).unwrap().len(), 1);
}

#[test]
fn long_selects_are_killed_where_that_is_wanted() {
    let mut admin = table("InnoDB");
    if is_mariadb(&mut admin) {
        return; // No lock waits for them there.
    }
    let (access, _files) = account(None);
    admin.query_drop(format!("GRANT SUPER ON *.* TO {ACCOUNT}@localhost")).unwrap();
    // 8.0 protects root's sessions from anybody else's SUPER.
    drop(admin.query_drop(format!("GRANT SYSTEM_USER ON *.* TO {ACCOUNT}@localhost")));
    let mut session = access.connect(&Cancel::new()).unwrap();
    let policy = LongQueryPolicy {
        threshold: Duration::from_secs(1),
        wait: Duration::from_secs(8),
        kill_selects: Some(Duration::from_secs(1)),
    };
    let _busy = Busy::with(&format!("SELECT SLEEP(60) FROM {SCHEMA}.t"));
    std::thread::sleep(Duration::from_secs(1));
    session.wait_for_calm(LockMode::Global, &policy, &Cancel::new()).unwrap();
}
