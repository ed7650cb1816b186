//! What a restore to a point refuses for the sake of the live server, and of the one who waits for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::PoisonError;
use std::time::Duration;

use mysnap::sys::cmd::Call;

use crate::bench::Bench;
use crate::room::Room;
use crate::server::{Server, reset};
use crate::{KILLS, beginnings, prefix};

const INSERT: &str = "USE shop; INSERT INTO t VALUES (1); ";

#[test]
fn what_two_timelines_have_is_refused_until_the_base_is_named() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT)");
    let bench = Bench::new(&server);
    let first = bench.backup();
    server.sql(&INSERT.repeat(60));
    bench.ship();
    // The times of events are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    server.sql(reset());
    server.sql(&INSERT.repeat(20));
    let second = bench.backup();
    server.sql(&INSERT.repeat(20));
    bench.fails(&["binlog", "ship"], 12, &["a new timeline begins"]);
    let all = beginnings(&server);
    let [.., (file, offset, number), _] = &all[..] else { panic!("{all:?}") };
    let to = bench.at("then").display().to_string();
    let (place, gtid) = (format!("{file}:{offset}"), format!("{}{number}", prefix(&server)));
    let both = [format!("from backup {first}"), format!("from backup {second}")];
    for point in ["--until", "--before"].into_iter().flat_map(|option| [[option, &place], [option, &gtid]]) {
        let wanted = [&["restore"], &point[..], &["--to", &to, "--dry-run"]].concat();
        bench.fails(&wanted, 3, &["is in several timelines", &both[0], &both[1], "name the backup"]);
    }
    for base in [&first, &second] {
        let said = bench.works(&["restore", base, "--until", &gtid, "--to", &to, "--dry-run"]);
        assert!(said.contains(&format!("base:     backup {base}")), "{said}");
    }
    let said = bench.works(&["restore", &second, "--until", &place, "--to", &to, "--dry-run"]);
    assert!(said.contains(&format!("up to {place}:")), "{said}");
    // The end and times are told apart.
    bench.works(&["restore", "--until", "latest", "--to", &to, "--dry-run"]);
}

#[test]
fn the_file_system_of_a_server_at_work_is_not_filled() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let logs = tempfile::tempdir().unwrap();
    let _room = Room::over(logs.path());
    fs::set_permissions(logs.path(), Permissions::from_mode(0o777)).unwrap();
    let log = format!("--log-bin={}", logs.path().join("binlog").display());
    let server = Server::start_with(&["--server-id=1", &log]);
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
    // Its logs are on another one, which it needs as much.
    let to_logs = logs.path().join("then").display().to_string();
    bench.fails(&["restore", "--until", "latest", "--to", &to_logs, "--dry-run"], 3, &words);
    let elsewhere = bench.at("then").display().to_string();
    bench.works(&["restore", "--until", "latest", "--to", &elsewhere, "--dry-run"]);
    // Who has no server at work any more needs one.
    server.kill();
    bench.works(&[&wanted[..], &["--dry-run"]].concat());
}

#[test]
fn a_local_time_is_refused_where_the_zone_of_the_host_is_not_known() {
    let (to, time) = ("/nowhere", "2026-11-26 10:30:00 local");
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("none").display().to_string();
    for point in ["--until", "--before"] {
        let restore = |zone: &str| {
            let call = Call::new("env").arg(format!("TZ={zone}")).arg(env!("CARGO_BIN_EXE_mysnap"));
            let call = call.args(["restore", "--from", &nowhere, point, time, "--archive", &nowhere, "--to", to]);
            let finished = call.finish().unwrap();
            (finished.status.code(), String::from_utf8(finished.stderr).unwrap())
        };
        let (code, said) = restore("Mars/Olympus");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("the zone of this host is not known") && said.contains("instead of local"), "{said}");
        let (code, said) = restore("CET-1CEST,M3.5.0,M10.5.0/3");
        assert!(code != Some(2) && !said.contains("zone"), "{said}");
    }
}
