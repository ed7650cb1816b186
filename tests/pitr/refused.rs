//! What a restore to a point refuses for the sake of the live server, and of the one who waits for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::PoisonError;

use crate::KILLS;
use crate::bench::Bench;
use crate::server::Server;

const INSERT: &str = "USE shop; INSERT INTO t VALUES (1); ";

#[test]
fn the_file_system_of_a_server_at_work_is_not_filled() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT)");
    let bench = Bench::new(&server);
    bench.backup();
    server.sql(INSERT);
    bench.ship();
    let beside = tempfile::tempdir().unwrap();
    fs::set_permissions(beside.path(), Permissions::from_mode(0o711)).unwrap();
    let to = beside.path().join("then").display().to_string();
    let wanted = ["restore", "--until", "latest", "--to", &to];
    let words = ["lies on the live server's file system", "stop that server first"];
    bench.fails(&[&wanted[..], &["--dry-run"]].concat(), 3, &words);
    bench.fails(&wanted, 3, &words);
    assert_eq!(beside.path().read_dir().unwrap().count(), 0);
    let elsewhere = bench.at("then").display().to_string();
    bench.works(&["restore", "--until", "latest", "--to", &elsewhere, "--dry-run"]);
    // Who has no server at work any more needs one.
    server.kill();
    bench.works(&[&wanted[..], &["--dry-run"]].concat());
}
