//! A client that writes every 10 ms for as long as a test takes: how long writers had to wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;

use crate::support::{SCHEMA, admin};

/// The writer; it ends when this is dropped.
pub struct Pulse {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    began: Instant,
    stop: AtomicBool,
    /// When the write that is going on began, in milliseconds; 0 between two writes.
    waiting_since: AtomicU64,
    longest: AtomicU64,
    longest_of_all: AtomicU64,
    /// Why the writer has ended before it was asked to: no write of the server may fail.
    failed: Mutex<Option<String>>,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap().max(1)
    }

    fn note(&self, millis: u64) {
        self.longest.fetch_max(millis, Ordering::SeqCst);
        self.longest_of_all.fetch_max(millis, Ordering::SeqCst);
    }

    fn write(&self, connection: &mut mysql::Conn) {
        while !self.stop.load(Ordering::SeqCst) {
            let since = self.now();
            self.waiting_since.store(since, Ordering::SeqCst);
            if let Err(error) = connection.query_drop(format!("UPDATE {SCHEMA}.heartbeat SET n = n + 1")) {
                *self.failed.lock().unwrap() = Some(error.to_string());
                return;
            }
            self.waiting_since.store(0, Ordering::SeqCst);
            self.note(self.now() - since);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Pulse {
    /// Starts writing.
    pub fn start() -> Self {
        let mut connection = admin();
        for statement in [
            format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}"),
            format!("CREATE TABLE IF NOT EXISTS {SCHEMA}.heartbeat (id INT PRIMARY KEY, n INT) ENGINE=InnoDB"),
            format!("REPLACE INTO {SCHEMA}.heartbeat VALUES (1, 0)"),
        ] {
            connection.query_drop(statement).unwrap();
        }
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            waiting_since: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            longest_of_all: AtomicU64::new(0),
            failed: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || theirs.write(&mut connection));
        std::thread::sleep(Duration::from_millis(200));
        Self { shared, thread: Some(thread) }
    }

    /// Counts from now on.
    pub fn reset(&self) {
        self.shared.longest.store(0, Ordering::SeqCst);
    }

    /// The longest wait since then, one that has not ended included. The test fails where a write has failed.
    pub fn longest(&self) -> Duration {
        self.assert_no_write_failed();
        let since = self.shared.waiting_since.load(Ordering::SeqCst);
        if since > 0 {
            self.shared.note(self.shared.now() - since);
        }
        Duration::from_millis(self.shared.longest.load(Ordering::SeqCst))
    }

    /// The longest wait of all; the test fails where a write has failed.
    pub fn longest_of_all(&self) -> Duration {
        self.assert_no_write_failed();
        Duration::from_millis(self.shared.longest_of_all.load(Ordering::SeqCst))
    }
}

impl Pulse {
    fn assert_no_write_failed(&self) {
        let failed = self.shared.failed.lock().unwrap().clone();
        assert!(failed.is_none(), "a write of the server has failed: {failed:?}");
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
