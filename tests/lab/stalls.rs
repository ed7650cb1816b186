//! The longest that a client waits to write, whatever is in the way of a backup or happens to it
//! while writers wait (I1), with the default budget. Prints a table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;

use crate::faults::{in_background, probe_tables, running};
use crate::host::{self, mysnap};
use crate::live::{BeforeSnapshot, DEFAULT_STALL, Undo, forget_stored, local, until};
use crate::partition::{RULES, over_tcp, ready_to_cut};
use crate::pulse::Pulse;
use crate::sweep::{Point, STALL, hit, tell, untouched};

/// What lies between asking for the lock and having given it back, as the program's own steps.
const ASKS_FOR_THE_LOCK: &str = "main sql SET SESSION lock_wait_timeout#1";
const HAS_UNLOCKED: [&str; 2] = ["main sql BACKUP STAGE END#1", "main sql UNLOCK TABLES#1"];

/// Measures one case after the other, under one writer.
struct Table {
    pulse: Pulse,
    too_long: Vec<String>,
}

impl Table {
    fn begin() -> Self {
        probe_tables();
        forget_stored();
        tell("table: what is in the way | longest wait of a writer | exit status");
        Self { pulse: Pulse::start(), too_long: Vec::new() }
    }

    /// `run` is one backup; its exit status.
    fn row(&mut self, what: &str, run: impl FnOnce() -> i32) -> i32 {
        self.pulse.reset();
        let status = run();
        let longest = self.pulse.longest();
        tell(&format!("table: {what} | {longest:?} | {status}"));
        if longest > STALL {
            self.too_long.push(format!("{what}: {longest:?}"));
        }
        drop(mysnap(&["recover"]));
        host::assert_nothing_left();
        status
    }
}

/// The job as it is, but not waiting for long statements before it asks for the lock.
fn impatient() -> String {
    local("stalls", &format!("{DEFAULT_STALL}long_query_threshold = \"10min\"\n"))
}

fn backup(config: &str) -> i32 {
    mysnap(&["--config", config, "backup", "local"]).status
}

/// `statement` runs for as long as `during` does.
fn beside(statement: &str, part: &str, during: impl FnOnce()) {
    let thread = in_background(statement);
    until(part, || running(part).is_some());
    during();
    if let Some(id) = running(part) {
        host::root().query_drop(format!("KILL {id}")).unwrap();
    }
    drop(thread.join());
}

#[test]
fn no_writer_waits_longer_than_the_budget_whatever_is_in_the_way() {
    let mut table = Table::begin();
    assert_eq!(table.row("nothing", || backup(&local("stalls", DEFAULT_STALL))), 0);
    lvm_hangs(&mut table);
    statements_run(&mut table);
    tables_are_locked(&mut table);
    the_agent_is_stopped(&mut table);
    the_connection_is_cut(&mut table);
    assert!(table.too_long.is_empty(), "{:#?}", table.too_long);
}

#[test]
fn no_writer_waits_longer_than_the_budget_while_a_table_is_rebuilt() {
    let mut table = Table::begin();
    tables_are_rebuilt(&mut table);
    assert!(table.too_long.is_empty(), "{:#?}", table.too_long);
}

fn lvm_hangs(table: &mut Table) {
    let _slow = BeforeSnapshot::runs("sleep 9");
    assert_eq!(table.row("the LVM command hangs for 9 s", || backup(&impatient())), 4);
}

fn statements_run(table: &mut Table) {
    for (what, statement, part) in [
        ("a SELECT of 60 s", "SELECT SLEEP(60) FROM faults.inno", "SLEEP(60)"),
        ("an UPDATE of 60 s", "UPDATE faults.plain SET n = n + SLEEP(60)", "SLEEP(60)"),
    ] {
        beside(statement, part, || {
            table.row(what, || backup(&impatient()));
        });
    }
    let mut reader = host::root();
    reader.query_drop("BEGIN").unwrap();
    reader.query_drop("SELECT * FROM faults.inno").unwrap();
    beside("ALTER TABLE faults.inno ADD COLUMN late INT", "ADD COLUMN late", || {
        table.row("an ALTER TABLE that waits for a reader", || backup(&impatient()));
    });
    reader.query_drop("COMMIT").unwrap();
}

/// Not stuck behind anything: the statement itself is at work, from before the lock is asked for to behind its end.
fn tables_are_rebuilt(table: &mut Table) {
    fill_a_table();
    let _gone = Undo::with(&format!("{} -e 'DROP TABLE faults.large'", host::client()));
    for way in ["COPY", "INPLACE"] {
        let rebuilding = Rebuilding::start(way);
        table.row(&format!("an ALTER TABLE at work, {way}"), || backup(&impatient()));
        let shortest = rebuilding.stop();
        tell(&format!("each took {shortest:?} at least"));
        assert!(shortest > LONG_ENOUGH, "a rebuild of {shortest:?} may have fallen beside the lock");
    }
}

/// Far longer than the pause between two rebuilds, so that nearly each moment is in the middle of one.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

fn fill_a_table() {
    let mut root = host::root();
    root.query_drop("DROP TABLE IF EXISTS faults.large").unwrap();
    root.query_drop("CREATE TABLE faults.large (n INT AUTO_INCREMENT PRIMARY KEY, pad CHAR(200)) ENGINE=InnoDB")
        .unwrap();
    root.query_drop("INSERT INTO faults.large (pad) VALUES (REPEAT('x', 200))").unwrap();
    for _ in 0..17 {
        root.query_drop("INSERT INTO faults.large (pad) SELECT pad FROM faults.large").unwrap();
    }
}

/// A table is rebuilt again and again.
struct Rebuilding {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Rebuilding {
    fn start(way: &str) -> Self {
        let statement = format!("ALTER TABLE faults.large FORCE, ALGORITHM={way}");
        let stop = Arc::new(AtomicBool::new(false));
        let (mut session, stopped) = (host::root(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut shortest = Duration::MAX;
            while !stopped.load(Ordering::SeqCst) {
                let began = Instant::now();
                session.query_drop(&statement).unwrap();
                shortest = shortest.min(began.elapsed());
            }
            shortest
        });
        until("the rebuild", || running("FORCE, ALGORITHM").is_some());
        Self { stop, thread }
    }

    /// How long the shortest took.
    fn stop(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn tables_are_locked(table: &mut Table) {
    let mut idle = host::root();
    idle.query_drop("LOCK TABLES faults.inno WRITE").unwrap();
    table.row("an idle session with LOCK TABLES", || backup(&impatient()));
    idle.query_drop("UNLOCK TABLES").unwrap();
}

fn the_agent_is_stopped(table: &mut Table) {
    let arguments = ["--config", &local("stalls", DEFAULT_STALL), "backup", "local"].map(str::to_owned);
    let (_, steps) = untouched(&arguments);
    let asks = steps.iter().position(|step| step == ASKS_FOR_THE_LOCK).expect("the lock is asked for");
    let ends = steps.iter().position(|step| HAS_UNLOCKED.contains(&step.as_str())).expect("and given back");
    let held: Vec<&String> = steps[asks..=ends].iter().filter(|step| step.starts_with("main ")).collect();
    assert!(held.len() > 4, "{held:?}");
    for step in held {
        table.row(&format!("stopped at {}", step.trim_start_matches("main ")), || {
            let (ran, reached) = hit(&arguments, &Point { step: step.clone(), fault: "stop" });
            assert!(reached, "not stopped at {step}: {}", ran.stderr);
            ran.status
        });
    }
}

fn the_connection_is_cut(table: &mut Table) {
    let _back = ready_to_cut();
    let _cut = BeforeSnapshot::runs(&format!("nft -f {RULES}"));
    assert_eq!(table.row("the connection is cut under the lock", || backup(&over_tcp("stalls"))), 4);
}
