//! The position: what it promises, and what it knows.

use std::time::Duration;

use mysnap::server::LockMode;
use mysnap::sys::cancel::Cancel;
use mysql::prelude::Queryable as _;

use super::{SLACK, account, hold, modes, session, table};
use crate::pulse::Pulse;
use crate::support::{SCHEMA, admin, is_mariadb};

#[test]
fn nothing_is_committed_under_the_lock() {
    let mut session = session();
    let mut admin = table("InnoDB");
    let mut count =
        || -> u64 { admin.query_first(format!("SELECT n FROM {SCHEMA}.heartbeat WHERE id = 1")).unwrap().unwrap() };
    for mode in modes(&session) {
        let heartbeat = Pulse::start();
        let outcome = hold(&mut session, mode, 5, |held| {
            let (position, rows) = (held.position()?, count());
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!((held.position()?, count()), (position.clone(), rows));
            Ok(position)
        })
        .unwrap();
        let after = hold(&mut session, mode, 5, |held| held.position()).unwrap().value;
        assert!(after.binlog.is_none() || after.binlog != outcome.value.binlog, "writers went on");
        let stall = heartbeat.longest();
        assert!(outcome.held >= Duration::from_millis(500) && outcome.held < stall + SLACK);
        assert!(stall < Duration::from_millis(500) + SLACK * 2, "{mode:?} {stall:?}");
        println!("{mode:?}: waited {:?}, held {:?}, stall {stall:?}", outcome.waited, outcome.held);
    }
}

#[test]
fn a_replica_tells_where_each_channel_stands() {
    let mut admin = admin();
    let mut session = session();
    let (change, reset) = if is_mariadb(&mut admin) {
        (
            "CHANGE MASTER 'east' TO MASTER_HOST='db0', MASTER_LOG_FILE='b.000009', MASTER_LOG_POS=1234",
            "RESET SLAVE 'east' ALL",
        )
    } else if session.facts().version.0 >= 8 {
        (
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='db0', SOURCE_LOG_FILE='b.000009', SOURCE_LOG_POS=1234, SOURCE_AUTO_POSITION=0 FOR CHANNEL 'east'",
            "RESET REPLICA ALL FOR CHANNEL 'east'",
        )
    } else {
        ("CHANGE MASTER TO MASTER_HOST='db0', MASTER_LOG_FILE='b.000009', MASTER_LOG_POS=1234", "RESET SLAVE ALL")
    };
    admin.query_drop(change).unwrap();
    let position = hold(&mut session, LockMode::Global, 5, |held| held.position());
    let replica = account(None).0.connect(&Cancel::new()).unwrap().facts().replica;
    admin.query_drop(reset).unwrap();
    let upstream = position.unwrap().value.upstream;
    assert!(replica && !session.facts().replica);
    assert_eq!(upstream.len(), 1, "{upstream:?}");
    assert_eq!((upstream[0].host.as_str(), upstream[0].port), ("db0", 3306));
    assert_eq!((upstream[0].binlog.file.as_str(), upstream[0].binlog.offset), ("b.000009", 1234));
}

/// Q3: the position is a file and an offset, and transaction ids where the server has them.
#[test]
fn a_position_has_transaction_ids_only_where_they_are_on() {
    let mut admin = table("InnoDB");
    let mut session = session();
    if is_mariadb(&mut admin) {
        let position = hold(&mut session, LockMode::Global, 5, |held| held.position()).unwrap().value;
        assert!(position.gtid_set.is_some() && position.binlog.is_some(), "{position:?}");
        return;
    }
    let before: String = admin.query_first("SELECT @@GLOBAL.gtid_mode").unwrap().unwrap();
    for mode in ["ON", "OFF"] {
        set_gtid_mode(&mut admin, mode);
        admin.query_drop(format!("REPLACE INTO {SCHEMA}.t VALUES (3, 3)")).unwrap();
        let position = hold(&mut session, LockMode::Global, 5, |held| held.position()).unwrap().value;
        assert_eq!((position.gtid_set.is_some(), position.binlog.is_some()), (mode == "ON", true), "{position:?}");
    }
    set_gtid_mode(&mut admin, &before);
}

/// One step after the other, as the server wants it.
fn set_gtid_mode(admin: &mut mysql::Conn, mode: &str) {
    const STEPS: [&str; 4] = ["OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"];
    let step = |mode: &str| STEPS.iter().position(|step| *step == mode).unwrap();
    admin.query_drop("SET GLOBAL enforce_gtid_consistency = ON").unwrap();
    let now: String = admin.query_first("SELECT @@GLOBAL.gtid_mode").unwrap().unwrap();
    let (mut at, to) = (step(&now), step(mode));
    while at != to {
        at = if at < to { at + 1 } else { at - 1 };
        admin.query_drop(format!("SET GLOBAL gtid_mode = {}", STEPS[at])).unwrap();
    }
}
