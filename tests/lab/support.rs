//! What several tests need: programs, the second node, the server under test.

use std::path::PathBuf;
use std::time::Duration;

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
