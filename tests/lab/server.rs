//! The server module on a real server, with each fault's real cause.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::server::{
    Access, Exactness, Held, HoldLimits, HoldOutcome, LockChoice, LockMode, LongQueryPolicy, PlaceKind, Session,
    running,
};
use mysnap::sys::cancel::Cancel;
use mysql::Conn;
use mysql::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Heartbeat, SCHEMA, admin, connect, is_mariadb, socket, start_server};

const ACCOUNT: &str = "mysnap_test";
const PASSWORD: &str = "geheim";
/// What a stall may be longer than the rule says: the guest is emulated.
const SLACK: Duration = Duration::from_millis(600);

/// The privileges that a backup needs, by flavour.
fn privileges(admin: &mut Conn) -> Vec<&'static str> {
    if is_mariadb(admin) {
        vec!["RELOAD", "BINLOG MONITOR", "SLAVE MONITOR", "PROCESS"]
    } else {
        vec!["RELOAD", "REPLICATION CLIENT", "PROCESS"]
    }
}

/// Makes the least-privilege account anew; the directory holds its option file.
fn account(without: Option<&str>) -> (Access, tempfile::TempDir) {
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

fn session() -> Session {
    account(None).0.connect(&Cancel::new()).unwrap()
}

fn limits(seconds: u64) -> HoldLimits {
    HoldLimits { max_stall: Duration::from_secs(seconds) }
}

fn hold<T>(
    session: &mut Session,
    mode: LockMode,
    seconds: u64,
    f: impl FnOnce(&mut Held<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<HoldOutcome<T>> {
    session.hold(mode, &limits(seconds), &Cancel::new(), f)
}

/// Every lock that this server has.
fn modes(session: &Session) -> Vec<LockMode> {
    let stages = LockMode::choose(LockChoice::Stages, session.facts()).ok();
    [Some(LockMode::Global), stages].into_iter().flatten().collect()
}

fn table(engine: &str) -> Conn {
    let mut admin = admin();
    admin.query_drop(format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")).unwrap();
    admin.query_drop(format!("DROP TABLE IF EXISTS {SCHEMA}.t")).unwrap();
    admin.query_drop(format!("CREATE TABLE {SCHEMA}.t (id INT PRIMARY KEY, n INT) ENGINE={engine}")).unwrap();
    admin.query_drop(format!("INSERT INTO {SCHEMA}.t VALUES (1, 1)")).unwrap();
    admin
}

/// A statement that runs until it is dropped.
struct Busy {
    id: u32,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Busy {
    fn with(statement: &str) -> Self {
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
fn assert_lock_lost<T>(result: anyhow::Result<HoldOutcome<T>>) -> anyhow::Error {
    let Err(error) = result else { panic!("must fail") };
    assert_eq!(kind_of(&error), Some(Kind::Lock), "{error:#}");
    assert_writable();
    error
}

fn assert_writable() {
    let began = Instant::now();
    admin().query_drop(format!("REPLACE INTO {SCHEMA}.heartbeat VALUES (2, 0)")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "writers still wait: {:?}", began.elapsed());
}

#[test]
fn the_server_is_known_and_its_places_are_found() {
    let mut session = session();
    let facts = session.facts().clone();
    let mut admin = admin();
    assert_eq!(facts.flavour.is_mariadb(), is_mariadb(&mut admin));
    assert_eq!(facts.uuid.is_none(), facts.flavour.is_mariadb());
    session.prove_local().unwrap();
    let json = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<mysnap::server::Facts>(&json).unwrap(), facts);

    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let link = facts.datadir.join("linked_by_test");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let places = session.layout();
    std::fs::remove_file(&link).unwrap();
    let places = places.unwrap();
    assert_eq!((places[0].kind, &places[0].real), (PlaceKind::DataDirectory, &facts.datadir));
    assert!(places.iter().any(|place| place.path == link && place.real == elsewhere.path()), "{places:?}");
}

#[test]
fn a_table_in_another_directory_is_a_place() {
    let mut admin = table("InnoDB");
    if !is_mariadb(&mut admin) {
        return; // MySQL 8 needs the directory in innodb_directories, which needs a restart.
    }
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let owner = nix::unistd::User::from_name("mysql").unwrap().map(|user| user.uid);
    nix::unistd::chown(elsewhere.path(), owner, None).unwrap();
    let directory = elsewhere.path().display();
    admin.query_drop(format!("DROP TABLE IF EXISTS {SCHEMA}.outside")).unwrap();
    admin.query_drop(format!("CREATE TABLE {SCHEMA}.outside (id INT) DATA DIRECTORY='{directory}'")).unwrap();
    let places = session().layout().unwrap();
    admin.query_drop(format!("DROP TABLE {SCHEMA}.outside")).unwrap();
    let found = places.iter().find(|place| place.real.starts_with(elsewhere.path()));
    assert_eq!(found.map(|place| place.kind), Some(PlaceKind::Tablespace), "{places:?}");
}

#[test]
fn a_socket_that_leads_elsewhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            let server = UnixStream::connect(socket()).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || {
                    // Either side may hang up first.
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(std::net::Shutdown::Both));
                });
            }
        }
    });
    let (access, _files) = account(None);
    let session = Access { socket: Some(path), ..access }.connect(&Cancel::new()).unwrap();
    let error = session.prove_local().unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
}

#[test]
fn each_missing_privilege_is_named_with_its_grant() {
    let mut admin = admin();
    for privilege in privileges(&mut admin) {
        let (access, _files) = account(Some(privilege));
        let missing = access.connect(&Cancel::new()).unwrap().missing_privileges().unwrap();
        assert_eq!(missing.iter().map(|m| m.privilege).collect::<Vec<_>>(), [privilege]);
        admin.query_drop(&missing[0].grant).unwrap();
        assert_eq!(access.connect(&Cancel::new()).unwrap().missing_privileges().unwrap(), []);
    }
}

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
fn a_wrong_password_is_a_matter_of_configuration_and_said_at_once() {
    let (access, files) = account(None);
    mysnap::sys::durable::write(
        &files.path().join("test.cnf"),
        format!("[client]\nuser={ACCOUNT}\npassword=x\n").as_bytes(),
    )
    .unwrap();
    let began = Instant::now();
    let error = access.connect(&Cancel::new()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
    assert!(!hints_of(&error).is_empty() && began.elapsed() < Duration::from_secs(5));
    access.wait_until_answering(Duration::from_secs(1), &Cancel::new()).unwrap();
}

#[test]
fn a_server_that_does_not_prove_itself_is_refused() {
    let (access, _files) = account(None);
    let port = access.connect(&Cancel::new()).unwrap().facts().port;
    // Not known as this host, so that the server must prove who it is; its certificate is its own,
    // or there is none.
    let access = Access { socket: None, host: Some("::ffff:127.0.0.1".into()), port: Some(port), ..access };
    let error = access.connect(&Cancel::new()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
    assert!(format!("{error:#}").contains("did not prove"), "{error:#}");
}

#[test]
fn a_full_server_is_tried_again_for_a_while() {
    let mut admin = admin();
    let (access, _files) = account(None);
    let before: u32 = admin.query_first("SELECT @@GLOBAL.max_connections").unwrap().unwrap();
    admin.query_drop("SET GLOBAL max_connections = 10").unwrap();
    let mut full: Vec<Conn> = Vec::new();
    while let Ok(connection) = connect(ACCOUNT, Some(PASSWORD)) {
        full.push(connection);
    }
    let error = access.connect(&Cancel::new()).unwrap_err();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(full);
    });
    let connected = access.connect(&Cancel::new());
    admin.query_drop(format!("SET GLOBAL max_connections = {before}")).unwrap();
    later.join().unwrap();
    assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
    connected.unwrap();
}

#[test]
fn a_server_that_is_not_there_is_refused_and_waited_for() {
    let access = Access { socket: Some("/nonexistent.sock".into()), ..Access::default() };
    assert_eq!(kind_of(&access.connect(&Cancel::new()).unwrap_err()), Some(Kind::Refused));
    let cancel = Cancel::new();
    cancel.set(15);
    assert_eq!(kind_of(&access.connect(&cancel).unwrap_err()), Some(Kind::Cancelled));
}

#[test]
fn children_do_not_inherit_the_session() {
    let _session = session();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let is_socket = path.read_link().is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if is_socket {
            let info = std::fs::read_to_string(path.to_string_lossy().replace("/fd/", "/fdinfo/")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            assert_ne!(flags & 0o2_000_000, 0, "{info}");
        }
    }
}

#[test]
fn nothing_is_committed_under_the_lock() {
    let mut session = session();
    let mut admin = table("InnoDB");
    let mut count =
        || -> u64 { admin.query_first(format!("SELECT n FROM {SCHEMA}.heartbeat WHERE id = 1")).unwrap().unwrap() };
    for mode in modes(&session) {
        let heartbeat = Heartbeat::start();
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

#[test]
fn a_lock_behind_a_long_write_is_given_up_cleanly() {
    let mut session = session();
    for engine in ["InnoDB", "MyISAM"] {
        for mode in modes(&session) {
            drop(table(engine));
            let heartbeat = Heartbeat::start();
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
        let heartbeat = Heartbeat::start();
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
    let heartbeat = Heartbeat::start();
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
        let heartbeat = Heartbeat::start();
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
            let quiet = Duration::from_secs(seconds) - Duration::from_millis(400);
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

#[test]
fn a_running_server_is_seen_in_its_directory() {
    let session = session();
    let users = running::users_of(&session.facts().datadir).unwrap();
    let pid: i32 = std::fs::read_to_string(&session.facts().pid_file).unwrap().trim().parse().unwrap();
    assert!(users.iter().any(|user| user.pid == Some(pid)), "{users:?}");
    assert_eq!(running::users_of(Path::new("/usr/share/doc")).unwrap(), []);
}

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
    drop(hold(&mut session, mode, 5, |_| {
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
    fn that_holds(mode: LockMode) -> Self {
        let (access, files) = account(None);
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::child_that_holds", "--ignored", "--nocapture"])
            .env("MYSNAP_TEST_MODE", format!("{mode:?}"))
            .env("MYSNAP_TEST_FILE", access.option_file.unwrap())
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
fn stall_after(signal: Signal, mode: LockMode) -> Duration {
    let mut child = Child::that_holds(mode);
    child.wait_until_it_holds();
    let began = Instant::now();
    child.signal(signal);
    admin().query_drop(format!("REPLACE INTO {SCHEMA}.heartbeat VALUES (3, 0)")).unwrap();
    began.elapsed()
}

#[test]
fn a_holder_that_is_killed_frees_the_writers_at_once() {
    Heartbeat::start().longest();
    for mode in modes(&session()) {
        let stall = stall_after(Signal::SIGKILL, mode);
        println!("{mode:?}: {stall:?}");
        assert!(stall < Duration::from_secs(1), "{mode:?} {stall:?}");
    }
}

#[test]
fn a_holder_that_is_frozen_is_dropped_by_the_server() {
    for mode in modes(&session()) {
        let heartbeat = Heartbeat::start();
        let frozen = stall_after(Signal::SIGSTOP, mode);
        let stall = heartbeat.longest();
        println!("{mode:?}: {frozen:?} after it was frozen, stall {stall:?}");
        assert!(frozen > Duration::from_secs(2), "it must have held the lock: {frozen:?}");
        assert!(stall < Duration::from_secs(6) + SLACK, "{mode:?} {stall:?}");
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
            let heartbeat = Heartbeat::start();
            let busy = Busy::with(statement);
            let child = Child::that_holds(LockMode::Global);
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
