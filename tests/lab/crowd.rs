//! A crowd of clients and one long SELECT (L2): nobody may pile up behind a lock that cannot be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;
use nix::sys::signal::Signal;

use crate::host;
use crate::live::{DEFAULT_STALL, Live, Undo, expect, local, until};

const CLIENTS: usize = 200;
/// The largest stall that the default budget allows, and what two hundred clients on an emulated
/// guest add to it.
const STALL: Duration = Duration::from_secs(8);
/// How long each waits between two statements: an emulated guest answers no more.
const THINK: Duration = Duration::from_secs(4);

/// Clients that write, each its own row of the table that the long SELECT reads, and read it.
struct Crowd {
    stop: Arc<AtomicBool>,
    counting: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Duration>>,
    _connections: Undo,
}

impl Crowd {
    fn gather() -> Self {
        let mut root = host::root();
        let before: u32 = root.query_first("SELECT @@GLOBAL.max_connections").unwrap().unwrap();
        let back = format!("{} -e 'SET GLOBAL max_connections = {before}'", host::client());
        root.query_drop(format!("SET GLOBAL max_connections = {}", CLIENTS + 100)).unwrap();
        for statement in [
            "CREATE DATABASE IF NOT EXISTS crowd",
            "DROP TABLE IF EXISTS crowd.t",
            "CREATE TABLE crowd.t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB",
        ] {
            root.query_drop(statement).unwrap();
        }
        let rows: Vec<String> = (0..CLIENTS).map(|id| format!("({id}, 0)")).collect();
        root.query_drop(format!("INSERT INTO crowd.t VALUES {}", rows.join(","))).unwrap();
        let [stop, counting] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let connections: Vec<mysql::Conn> = (0..CLIENTS).map(|_| host::root()).collect();
        let clients = connections.into_iter().enumerate().map(|(id, connection)| {
            let (stop, counting) = (Arc::clone(&stop), Arc::clone(&counting));
            let life = move || live(connection, id, &stop, &counting);
            std::thread::Builder::new().stack_size(128 << 10).spawn(life).unwrap()
        });
        let clients = clients.collect();
        std::thread::sleep(THINK * 2);
        Self { clients, stop, counting, _connections: Undo::with(&back) }
    }

    /// What they wait from now on counts.
    fn count(&self) {
        self.counting.store(true, Ordering::SeqCst);
    }

    /// Lets them go; the longest time that one of them had to wait.
    fn longest(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().map(|client| client.join().unwrap()).max().unwrap()
    }
}

fn live(mut connection: mysql::Conn, id: usize, stop: &AtomicBool, counting: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    // One after the other.
    std::thread::sleep(THINK * u32::try_from(id).unwrap() / u32::try_from(CLIENTS).unwrap());
    let statements =
        [format!("UPDATE crowd.t SET n = n + 1 WHERE id = {id}"), format!("SELECT n FROM crowd.t WHERE id = {id}")];
    for statement in statements.iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (counts, began) = (counting.load(Ordering::SeqCst), Instant::now());
        connection.query_drop(statement).unwrap();
        longest = if counts { longest.max(began.elapsed()) } else { longest };
        std::thread::sleep(THINK);
    }
    longest
}

/// A SELECT that reads the crowd's table for a minute.
struct LongSelect {
    id: u64,
    thread: Option<JoinHandle<()>>,
}

impl LongSelect {
    fn begin() -> Self {
        let mut connection = host::root();
        let id = u64::from(connection.connection_id());
        let thread =
            std::thread::spawn(move || drop(connection.query_drop("SELECT SLEEP(60) FROM crowd.t WHERE id = 0")));
        let running =
            format!("SELECT 1 FROM information_schema.processlist WHERE id = {id} AND info LIKE 'SELECT SLEEP%'");
        until("the SELECT", || host::root().query_first::<u8, _>(&running).unwrap().is_some());
        Self { id, thread: Some(thread) }
    }
}

impl Drop for LongSelect {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(host::root().query_drop(format!("KILL {}", self.id)));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A backup while the crowd is there and the SELECT has run for `age`; how long anybody waited.
fn stall_of(config: &str, age: Duration) -> Duration {
    let crowd = Crowd::gather();
    let select = LongSelect::begin();
    std::thread::sleep(age);
    crowd.count();
    let mut backup = Live::backup(config);
    // MariaDB's lock does not wait for a SELECT; nobody needs the copy.
    if backup.came_to("copy") {
        assert!(host::is_mariadb(), "MySQL's lock must not be asked for behind a SELECT");
        backup.signal(Signal::SIGTERM);
    }
    let ran = backup.finish();
    let longest = crowd.longest();
    println!("the SELECT was {age:?} old: {longest:?}, {} {}", ran.status, ran.stderr);
    if host::is_mariadb() {
        expect(&ran, 143, &[]);
    } else {
        expect(&ran, 4, &["the lock would still wait behind query", "SELECT SLEEP"]);
    }
    drop(select);
    host::assert_nothing_left();
    longest
}

#[test]
fn two_hundred_clients_and_a_long_select_do_not_pile_up() {
    let config = local("crowd", &format!("{DEFAULT_STALL}long_query_threshold = \"5s\"\nlong_query_wait = \"5s\"\n"));
    let longest = stall_of(&config, Duration::from_secs(6));
    assert!(longest < STALL, "a client waited {longest:?}");
}

#[test]
fn nor_by_the_defaults() {
    let config = local("crowd-young", &format!("{DEFAULT_STALL}long_query_wait = \"5s\"\n"));
    let longest = stall_of(&config, Duration::from_secs(12));
    assert!(longest < STALL, "a client waited {longest:?}");
}
