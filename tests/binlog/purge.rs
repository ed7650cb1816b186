//! Files that a server has no more.

use std::fs;
use std::time::Duration;

use mysnap::sys::retry;

use crate::server::Server;

/// Purges all files before `first`: the server keeps what InnoDB may still need for a while.
pub fn purge(server: &Server, first: &str) {
    let purged = || {
        server.sql(&format!("FLUSH ENGINE LOGS; PURGE BINARY LOGS TO '{first}'"));
        let list = fs::read_to_string(server.datadir().join("b.index")).unwrap();
        if list.starts_with(&format!("./{first}")) { Ok(()) } else { Err(list) }
    };
    retry::until(Duration::from_secs(30), purged).unwrap();
}
