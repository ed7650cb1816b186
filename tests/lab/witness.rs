//! Writers that remember what the server acknowledged, and how long it made them wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;

use crate::host;

/// A row of the witness table: which writer, and its how-manieth row.
pub type Row = (u64, u64);

/// Writers that commit one row after another until they are stopped.
pub struct Witness {
    stop: Arc<AtomicBool>,
    at_ease: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Testimony>>,
    first_log: String,
}

/// What the writers saw.
#[derive(Default)]
pub struct Testimony {
    /// Every row that the server acknowledged, with the time of it.
    pub acknowledged: Vec<(Instant, Row)>,
    /// The longest time between two commits of one writer.
    pub longest_gap: Duration,
    /// Rows whose statement failed: they may or may not be there.
    pub failed: u64,
    /// The binary log that was begun with them.
    first_log: String,
}

impl Witness {
    /// Starts `writers` of them on an empty table.
    pub fn start(writers: u64) -> Self {
        Self::start_on("InnoDB", writers)
    }

    /// The same on a table of another engine.
    pub fn start_on(engine: &str, writers: u64) -> Self {
        let mut conn = host::root();
        conn.query_drop("CREATE DATABASE IF NOT EXISTS witness").unwrap();
        conn.query_drop("DROP TABLE IF EXISTS witness.ledger").unwrap();
        let columns = "writer INT, n INT, PRIMARY KEY (writer, n)";
        conn.query_drop(format!("CREATE TABLE witness.ledger ({columns}) ENGINE={engine}")).unwrap();
        // Rows of an earlier table of that name stand in earlier logs.
        conn.query_drop("FLUSH BINARY LOGS").unwrap();
        let first_log = binary_logs().pop().unwrap();
        let [stop, at_ease] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let writers = (0..writers).map(|writer| {
            let (stop, at_ease) = (Arc::clone(&stop), Arc::clone(&at_ease));
            std::thread::spawn(move || write(writer, &stop, &at_ease))
        });
        let writers = writers.collect();
        std::thread::sleep(Duration::from_secs(1));
        Self { stop, at_ease, writers, first_log }
    }

    /// They go on, but not as fast as they can: an emulated guest has other things to do too.
    pub fn ease(&self) {
        self.at_ease.store(true, Ordering::SeqCst);
    }

    /// Stops them and hears what they saw.
    pub fn stop(self) -> Testimony {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Testimony { first_log: self.first_log, ..Testimony::default() };
        for writer in self.writers {
            let one = writer.join().unwrap();
            all.longest_gap = all.longest_gap.max(one.longest_gap);
            all.failed += one.failed;
            all.acknowledged.extend(one.acknowledged);
        }
        all
    }
}

impl Testimony {
    /// The rows that were acknowledged before `moment`.
    pub fn before(&self, moment: Instant) -> BTreeSet<Row> {
        self.acknowledged.iter().filter(|(at, _)| *at < moment).map(|(_, row)| *row).collect()
    }

    /// The rows that the binary logs of this server hold up to `file` and `offset`: what a copy with
    /// that position must hold, no row more and no row less.
    pub fn rows_up_to(&self, file: &str, offset: u64) -> BTreeSet<Row> {
        let tool = if host::is_mariadb_installed() { "mariadb-binlog" } else { "mysqlbinlog" };
        let mut rows = BTreeSet::new();
        for name in binary_logs().iter().filter(|name| (self.first_log.as_str()..=file).contains(&name.as_str())) {
            let path = format!("/var/lib/mysql/{name}");
            let stop = format!("--stop-position={}", if name == file { offset } else { u64::from(u32::MAX) });
            let text = host::run(&[tool, "--base64-output=decode-rows", "-v", &stop, &path]);
            rows.extend(inserted_rows(&text));
        }
        rows
    }
}

fn write(writer: u64, stop: &AtomicBool, at_ease: &AtomicBool) -> Testimony {
    let mut seen = Testimony::default();
    let mut conn = connect();
    let mut last = Instant::now();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        if conn.query_drop(format!("INSERT INTO witness.ledger VALUES ({writer}, {n})")).is_ok() {
            seen.acknowledged.push((Instant::now(), (writer, n)));
        } else {
            seen.failed += 1;
            conn = reconnect(stop);
        }
        seen.longest_gap = seen.longest_gap.max(last.elapsed());
        if at_ease.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        last = Instant::now();
    }
    seen
}

/// A connection whose changes stand in the log row by row: that is what [`Testimony::rows_up_to`] reads.
fn connect() -> mysql::Conn {
    let mut conn = host::root();
    conn.query_drop("SET SESSION binlog_format = 'ROW'").unwrap();
    conn
}

fn reconnect(stop: &AtomicBool) -> mysql::Conn {
    let options = || mysql::OptsBuilder::new().socket(Some("/run/mysqld/mysqld.sock")).user(Some("root"));
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match mysql::Conn::new(options()) {
            Ok(_) => return connect(),
            Err(error) if stop.load(Ordering::SeqCst) || Instant::now() > end => panic!("no server: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn binary_logs() -> Vec<String> {
    host::root().query_map("SHOW BINARY LOGS", |row: mysql::Row| row.get(0).unwrap()).unwrap()
}

fn inserted_rows(decoded: &str) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    let mut lines = decoded.lines();
    while let Some(line) = lines.next() {
        if line.trim_end() != "### INSERT INTO `witness`.`ledger`" {
            continue;
        }
        let mut value =
            || lines.by_ref().find_map(|l| l.strip_prefix("###   @")?.split_once('=')?.1.parse::<u64>().ok());
        if let (Some(writer), Some(n)) = (value(), value()) {
            rows.insert((writer, n));
        }
    }
    rows
}
