//! What several tests need: programs, the second node, the server under test.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysnap::server::{Access, Endpoint};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::Call;
use mysql::prelude::Queryable as _;
use mysql::{Conn, OptsBuilder};

/// The schema that tests of the server write to.
pub const SCHEMA: &str = "mysnap_test";

/// The server's socket: `MYSNAP_SOCKET` where it isn't the usual one.
pub fn socket() -> PathBuf {
    let access = Access { socket: std::env::var_os("MYSNAP_SOCKET").map(Into::into), ..Access::default() };
    match access.resolve().unwrap().endpoint {
        Endpoint::Socket(path) => path,
        Endpoint::Tcp { .. } => panic!("the server must be reached by its socket"),
    }
}

/// A connection as root, by socket authentication.
pub fn admin() -> Conn {
    connect("root", None).unwrap()
}

/// A connection as `user`.
pub fn connect(user: &str, password: Option<&str>) -> mysql::Result<Conn> {
    let options = OptsBuilder::new().user(Some(user)).pass(password).socket(Some(socket().to_string_lossy()));
    Conn::new(options.prefer_socket(false).max_allowed_packet(Some(1 << 20)))
}

/// Whether the server is MariaDB.
pub fn is_mariadb(admin: &mut Conn) -> bool {
    let version: String = admin.query_first("SELECT CONCAT(VERSION(), @@version_comment)").unwrap().unwrap();
    version.to_lowercase().contains("mariadb")
}

/// Starts the server again after a test has killed it, where its unit does not do that by itself:
/// `MYSNAP_START` is a command where there is no systemd.
pub fn start_server() {
    if let Some(command) = std::env::var_os("MYSNAP_START") {
        Call::new("sh").arg("-c").arg(command).run().unwrap();
    } else {
        // MySQL's recovery takes long in an emulated guest.
        let service = crate::host::service();
        Call::new("systemctl").args(["start", service]).deadline(Duration::from_secs(300)).run().unwrap();
    }
    let access = Access { socket: Some(socket()), user: Some("root".into()), ..Access::default() };
    access.wait_until_answering(Duration::from_secs(120), &Cancel::new()).unwrap();
}

/// A client that commits every 10 ms: the longest time that it had to wait is the stall.
pub struct Heartbeat {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Heartbeat {
    /// Starts writing.
    pub fn start() -> Self {
        let mut connection = admin();
        connection.query_drop(format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")).unwrap();
        let table = format!("{SCHEMA}.heartbeat");
        connection.query_drop(format!("CREATE TABLE IF NOT EXISTS {table} (id INT PRIMARY KEY, n INT)")).unwrap();
        connection.query_drop(format!("REPLACE INTO {table} VALUES (1, 0)")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let beat = move || {
            let mut longest = Duration::ZERO;
            while !seen.load(Ordering::SeqCst) {
                let began = Instant::now();
                connection.query_drop(format!("UPDATE {table} SET n = n + 1")).unwrap();
                longest = longest.max(began.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            longest
        };
        let thread = std::thread::spawn(beat);
        std::thread::sleep(Duration::from_millis(200));
        Self { stop, thread }
    }

    /// Stops writing; the longest stall.
    pub fn longest(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
