//! The server module on a real server, with each fault's real cause.

mod connect;
mod hold;
mod holder;
mod position;

use std::io::Write as _;
use std::time::{Duration, Instant};

use mysnap::fault::{Kind, kind_of};
use mysnap::server::{Access, Held, HoldLimits, HoldOutcome, LockChoice, LockMode, Session};
use mysnap::sys::cancel::Cancel;
use mysql::Conn;
use mysql::prelude::Queryable as _;

use crate::support::{SCHEMA, admin, is_mariadb, socket};

pub const ACCOUNT: &str = "mysnap_test";
pub const PASSWORD: &str = "geheim";
/// What a stall may be longer than the rule says: the guest is emulated.
pub const SLACK: Duration = Duration::from_millis(600);

/// The privileges that a backup needs, by flavour.
pub fn privileges(admin: &mut Conn) -> Vec<&'static str> {
    if is_mariadb(admin) {
        vec!["RELOAD", "BINLOG MONITOR", "SLAVE MONITOR", "PROCESS"]
    } else {
        vec!["RELOAD", "REPLICATION CLIENT", "PROCESS"]
    }
}

/// Makes the least-privilege account anew; the directory holds its option file.
pub fn account(without: Option<&str>) -> (Access, tempfile::TempDir) {
    let mut admin = admin();
    // 5.6 has no DROP USER IF EXISTS.
    drop(admin.query_drop(format!("DROP USER {ACCOUNT}@localhost")));
    admin.query_drop(format!("CREATE USER {ACCOUNT}@localhost IDENTIFIED BY '{PASSWORD}'")).unwrap();
    for privilege in privileges(&mut admin).into_iter().filter(|privilege| Some(*privilege) != without) {
        admin.query_drop(format!("GRANT {privilege} ON *.* TO {ACCOUNT}@localhost")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.cnf");
    let mut file = mysnap::sys::durable::create_private_file(&path).unwrap();
    writeln!(file, "[client]\nuser={ACCOUNT}\npassword={PASSWORD}").unwrap();
    (Access { option_file: Some(path), socket: Some(socket()), ..Access::default() }, directory)
}

pub fn session() -> Session {
    account(None).0.connect(&Cancel::new()).unwrap()
}

pub fn limits(seconds: u64) -> HoldLimits {
    HoldLimits { max_stall: Duration::from_secs(seconds) }
}

pub fn hold<T>(
    session: &mut Session,
    mode: LockMode,
    seconds: u64,
    f: impl FnOnce(&mut Held<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<HoldOutcome<T>> {
    session.hold(mode, &limits(seconds), &Cancel::new(), f)
}

/// Every lock that this server has.
pub fn modes(session: &Session) -> Vec<LockMode> {
    let stages = LockMode::choose(LockChoice::Stages, session.facts()).ok();
    [Some(LockMode::Global), stages].into_iter().flatten().collect()
}

pub fn table(engine: &str) -> Conn {
    let mut admin = admin();
    admin.query_drop(format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")).unwrap();
    admin.query_drop(format!("DROP TABLE IF EXISTS {SCHEMA}.t")).unwrap();
    admin.query_drop(format!("CREATE TABLE {SCHEMA}.t (id INT PRIMARY KEY, n INT) ENGINE={engine}")).unwrap();
    admin.query_drop(format!("INSERT INTO {SCHEMA}.t VALUES (1, 1)")).unwrap();
    admin
}

/// A statement that runs until it is dropped.
pub struct Busy {
    id: u32,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Busy {
    pub fn with(statement: &str) -> Self {
        let mut connection = admin();
        let id = connection.connection_id();
        let statement = statement.to_owned();
        let thread = std::thread::spawn(move || drop(connection.query_drop(statement)));
        std::thread::sleep(Duration::from_millis(500));
        Self { id, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(admin().query_drop(format!("KILL {}", self.id)));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// An error of class `Lock`, and no lock left: another client writes at once.
pub fn assert_lock_lost<T>(result: anyhow::Result<HoldOutcome<T>>) -> anyhow::Error {
    let Err(error) = result else { panic!("must fail") };
    assert_eq!(kind_of(&error), Some(Kind::Lock), "{error:#}");
    assert_writable();
    error
}

pub fn assert_writable() {
    let began = Instant::now();
    admin().query_drop(format!("REPLACE INTO {SCHEMA}.heartbeat VALUES (2, 0)")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "writers still wait: {:?}", began.elapsed());
}
