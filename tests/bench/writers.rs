//! Four clients that commit one row after another as fast as the server lets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mysql::prelude::Queryable as _;

use crate::ground;

const CLIENTS: u32 = 4;
/// How long they write before and after what is measured.
const MARGIN: Duration = Duration::from_millis(700);

/// The clients at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<mysql::Result<Vec<Instant>>>>,
}

/// When each client heard that its rows were committed.
pub struct Commits(Vec<Vec<Instant>>);

impl Writers {
    /// Starts them on an empty table.
    pub fn start() -> anyhow::Result<Self> {
        let mut session = ground::session()?;
        session.query_drop("CREATE DATABASE IF NOT EXISTS bench")?;
        session.query_drop("DROP TABLE IF EXISTS bench.ledger")?;
        session.query_drop("CREATE TABLE bench.ledger (client INT, n INT, PRIMARY KEY (client, n)) ENGINE=InnoDB")?;
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let (session, stop) = (ground::session()?, Arc::clone(&stop));
            Ok(std::thread::spawn(move || write(session, number, &stop)))
        };
        let clients = (0..CLIENTS).map(client).collect::<anyhow::Result<_>>()?;
        std::thread::sleep(MARGIN);
        Ok(Self { stop, clients })
    }

    /// Lets them write for another moment, so that no gap is cut short, then no more.
    pub fn rest(&self) {
        std::thread::sleep(MARGIN);
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Stops them; a statement that failed is an error of the benchmark.
    pub fn stop(self) -> anyhow::Result<Commits> {
        self.rest();
        let join = |client: JoinHandle<mysql::Result<_>>| {
            client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("a client could not write")
        };
        Ok(Commits(self.clients.into_iter().map(join).collect::<anyhow::Result<_>>()?))
    }
}

fn write(mut session: mysql::Conn, client: u32, stop: &AtomicBool) -> mysql::Result<Vec<Instant>> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        session.query_drop(format!("INSERT INTO bench.ledger VALUES ({client}, {n})"))?;
        acknowledged.push(Instant::now());
    }
    Ok(acknowledged)
}

impl Commits {
    /// The longest time between two commits of one client, of those that reach into `from..to`.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let gaps = self.0.iter().flat_map(|client| client.iter().zip(client.iter().skip(1)));
        gaps.filter(|(begin, end)| **begin < to && **end > from)
            .map(|(begin, end)| *end - *begin)
            .max()
            .unwrap_or_default()
    }

    /// How many rows a second all of them committed in `from..to`.
    pub fn per_second(&self, from: Instant, to: Instant) -> f64 {
        let within = |at: &&Instant| (from..to).contains(at);
        let count = u32::try_from(self.0.iter().flatten().filter(within).count()).unwrap_or(u32::MAX);
        (f64::from(count) / (to - from).as_secs_f64()).round()
    }
}
