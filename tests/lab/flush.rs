//! Rows and position agree, whatever the server's flush settings: a second server on the snapshot
//! itself must find exactly the rows that the binary log has up to the recorded position (Q2).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mysnap::id::RunId;
use mysnap::lvm;
use mysnap::server::{Access, Exactness, HoldLimits, LockChoice, LockMode, Position};
use mysnap::snapshot::{self, Snapshot, Spec};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::clock;
use mysnap::sys::mount::Mounted;
use mysnap::sys::units::Bytes;
use mysql::prelude::Queryable as _;

use crate::host::{self, run};
use crate::live::Undo;
use crate::restore::start_and_ask;
use crate::witness::{Row, Witness};

const MIB: u64 = 1 << 20;

/// A snapshot of the server's volume, its position and when its lock was asked for; taken as a
/// backup takes it, the lock ending when the origin is suspended. Removed when dropped.
struct Taken {
    run: RunId,
    snapshot: Snapshot,
    position: Position,
    asked: Instant,
    seen_suspended: bool,
}

impl Taken {
    fn with(choice: LockChoice) -> Self {
        let cancel = Cancel::new();
        let mut session = Access::default().connect(&cancel).unwrap();
        let mode = LockMode::choose(choice, session.facts()).unwrap();
        let origin = lvm::volume(&"vg0/data".parse().unwrap()).unwrap().unwrap();
        let run = RunId::new(clock::now());
        let group = lvm::group(&origin.name.vg).unwrap();
        let spec = Spec::new(origin, group, &run, Bytes(256 * MIB));
        let prepared = spec.prepare().unwrap();
        let asked = Instant::now();
        // Emulated guests are slow; how long writers wait is not what is asked here.
        let limits = HoldLimits { max_stall: Duration::from_secs(30) };
        let held = session.hold(mode, &limits, &cancel, |held| {
            let mut freezing = snapshot::begin(vec![prepared], held)?;
            held.write_out()?;
            freezing.written_out();
            let position = held.position()?;
            Ok((position, freezing.finish(held.deadline())?))
        });
        let (position, pending) = held.unwrap().value;
        let seen_suspended = pending[0].seen_suspended;
        let snapshot = snapshot::complete(pending).unwrap().remove(0);
        Self { run, snapshot, position, asked, seen_suspended }
    }

    /// What a server that recovers on the snapshot answers, the binary log in its place.
    fn ask(&self, query: &str) -> String {
        let at = host::scratch("/run");
        let fstype = run(&["findmnt", "-no", "FSTYPE", "/var/lib/mysql"]);
        let options = if fstype.trim() == "xfs" { "nouuid" } else { "" };
        let device = self.snapshot.spec.name.device();
        let mounted = Mounted::new(&device, at.path(), fstype.trim(), options, true).unwrap();
        let answer = start_and_ask(at.path(), query);
        mounted.release().unwrap();
        answer
    }

    fn rows(&self) -> BTreeSet<Row> {
        let number = |field: Option<&str>| field.and_then(|f| f.parse().ok()).unwrap();
        let text = self.ask("SELECT writer, n FROM witness.ledger");
        text.lines().map(|l| l.split_whitespace()).map(|mut f| (number(f.next()), number(f.next()))).collect()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        snapshot::remove_all_of(&self.run).unwrap();
    }
}

/// The settings, put back when this is dropped.
fn flushing(at_commit: u8, sync_binlog: u8) -> Undo {
    let mut root = host::root();
    let (redo, log): (u8, u32) =
        root.query_first("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.sync_binlog").unwrap().unwrap();
    let set = |redo: u8, log: u32| {
        format!("SET GLOBAL innodb_flush_log_at_trx_commit = {redo}; SET GLOBAL sync_binlog = {log}")
    };
    let back = Undo::with(&format!("{} -e '{}'", host::client(), set(redo, log)));
    set(at_commit, u32::from(sync_binlog)).split(';').for_each(|statement| root.query_drop(statement).unwrap());
    back
}

/// Takes a snapshot under load; what its server then has is what the log promises.
fn exact_rows(engine: &str, choice: LockChoice) -> Taken {
    let witness = Witness::start_on(engine, 6);
    let taken = Taken::with(choice);
    let testimony = witness.stop();
    assert_eq!(testimony.failed, 0, "a writer met an error");
    assert_eq!(taken.position.exact, Exactness::Exact);
    let binlog = taken.position.binlog.as_ref().unwrap();
    let promised = testimony.rows_up_to(&binlog.file, binlog.offset);
    assert!(promised.is_superset(&testimony.before(taken.asked)), "acknowledged rows are missing in the log");
    let found = taken.rows();
    let difference = i128::try_from(found.len()).unwrap() - i128::try_from(promised.len()).unwrap();
    println!("{engine} {choice:?}: {} rows, {difference:+}, suspend seen: {}", found.len(), taken.seen_suspended);
    assert!(found == promised, "{difference:+} rows; missing: {:?}", promised.difference(&found).take(5));
    taken
}

fn whatever_sync_binlog(at_commit: u8) {
    for sync_binlog in [0, 1] {
        let _back = flushing(at_commit, sync_binlog);
        println!("innodb_flush_log_at_trx_commit = {at_commit}, sync_binlog = {sync_binlog}");
        drop(exact_rows("InnoDB", LockChoice::Auto));
    }
}

#[test]
fn rows_are_exact_where_the_redo_log_is_not_written_at_commit() {
    whatever_sync_binlog(0);
}

#[test]
fn rows_are_exact_where_the_redo_log_is_flushed_at_commit() {
    whatever_sync_binlog(1);
}

#[test]
fn rows_are_exact_where_the_redo_log_is_written_but_not_flushed_at_commit() {
    whatever_sync_binlog(2);
}

#[test]
fn rows_are_exact_under_the_global_lock_too() {
    if host::is_mariadb() {
        let _back = flushing(0, 0);
        drop(exact_rows("InnoDB", LockChoice::Global));
    }
}

/// L8.
#[test]
fn rows_of_tables_without_transactions_are_exact_and_whole() {
    // Or the tests of long queries would find a server with such tables.
    let _gone = Undo::with(&format!("{} -e 'DROP DATABASE IF EXISTS witness'", host::client()));
    let engines: &[&str] = if host::is_mariadb() { &["MyISAM", "Aria"] } else { &["MyISAM"] };
    for engine in engines {
        let taken = exact_rows(engine, LockChoice::Auto);
        let check = taken.ask("CHECK TABLE witness.ledger");
        assert!(check.lines().last().unwrap().ends_with("OK"), "{engine}: {check}");
    }
}
