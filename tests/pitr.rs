//! Points in time of a real server: what comes back is exactly what its clients had been told.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "second.rs uses the rest")]
#[path = "pitr/bench.rs"]
mod bench;
#[path = "pitr/databases.rs"]
mod databases;
#[path = "pitr/engines.rs"]
mod engines;
#[path = "pitr/keyring.rs"]
mod keyring;
#[path = "binlog/keys.rs"]
mod keys;
#[path = "pitr/nameless.rs"]
mod nameless;
#[path = "binlog/purge.rs"]
mod purge;
#[path = "pitr/refused.rs"]
mod refused;
#[path = "pitr/room.rs"]
mod room;
#[allow(dead_code, reason = "dump.rs and binlog.rs use the rest")]
#[path = "dump/server.rs"]
mod server;
#[path = "pitr/server_killed.rs"]
mod server_killed;
#[path = "pitr/stored.rs"]
mod stored;
#[path = "pitr/witness.rs"]
mod witness;
#[path = "pitr/zones.rs"]
mod zones;

use std::fs;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bench::Bench;
use keys::Keys;
use mysnap::sys::retry;
use purge::purge;
use server::{IS_MARIADB, Server, either, numbers};
use witness::{Done, State, TABLES};

/// Each run cleans up after dead ones of this host: who kills some is alone.
static KILLS: RwLock<()> = RwLock::new(());

/// A number below `bound`, of the kernel's.
fn random(bound: usize) -> usize {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    usize::try_from(u64::from_le_bytes(bytes) >> 1).unwrap() % bound
}

/// How the names of the server's own transactions begin; a number follows.
fn prefix(server: &Server) -> String {
    if *IS_MARIADB { "0-1-".to_owned() } else { format!("{}:", server.sql("SELECT @@server_uuid").trim()) }
}

/// Where the server says that each transaction begins: file, offset, number.
fn beginnings(server: &Server) -> Vec<(String, u64, u64)> {
    let (logs, prefix) = (server.sql("SHOW BINARY LOGS"), prefix(server));
    let events = |log: &str| server.sql(&format!("SHOW BINLOG EVENTS IN '{log}'"));
    let gtid = |line: &str| {
        let words: Vec<&str> = line.split('\t').collect();
        let name = |info: &str| info.split([' ', '\'']).find_map(|word| word.strip_prefix(&*prefix)?.parse().ok());
        let number = name(words[5]).filter(|_| words[2] == "Gtid")?;
        Some((words[0].to_owned(), words[1].parse().unwrap(), number))
    };
    logs.lines()
        .flat_map(|line| events(line.split('\t').next().unwrap()).lines().filter_map(gtid).collect::<Vec<_>>())
        .collect()
}

/// The last transaction that a restored server says it has executed: MySQL tells that it has all before, and no others.
fn last_executed(restored: &Server, prefix: &str) -> u64 {
    let (question, before) = if *IS_MARIADB {
        ("SELECT @@gtid_slave_pos", prefix.to_owned())
    } else {
        ("SELECT @@gtid_executed", format!("{prefix}1-"))
    };
    let executed = restored.sql(question);
    executed.trim().strip_prefix(&before).and_then(|number| number.parse().ok()).expect(&executed)
}

/// Restores to a random point behind the base and compares; `kind` says how the point is written.
fn one_target(server: &Server, bench: &Bench, done: &[Done], base: u64, kind: usize) {
    let later: Vec<&Done> = done.iter().filter(|done| done.number > base).collect();
    let chosen = later[random(later.len())];
    let number = chosen.number;
    let prefix = prefix(server);
    let gtid = format!("{prefix}{number}");
    let begin = || {
        let (file, offset, _) = beginnings(server).into_iter().find(|(.., n)| *n == number).unwrap();
        format!("{file}:{offset}")
    };
    let second = chosen.at / 1_000_000;
    let (option, point) = match kind {
        0 => ("--until", gtid),
        1 => ("--before", gtid),
        2 => ("--until", begin()),
        3 => ("--before", begin()),
        _ => ("--until", jiff::Timestamp::from_second(i64::try_from(second).unwrap()).unwrap().to_string()),
    };
    let to = bench.at("then").display().to_string();
    let said = bench.works(&["restore", option, &point, "--to", &to]);
    let restored = bench.started("then");
    // Whatever the last one is, it is a prefix.
    let last = last_executed(&restored, &prefix);
    assert_eq!(State::of(&restored), State::after(done, last), "{option} {point}: {said}");
    match kind {
        0 => assert_eq!(last, number, "{option} {point}: {said}"),
        1..=3 => assert_eq!(last, number - 1, "{option} {point}: {said}"),
        _ => {
            // Acknowledged before the second began is in, begun after it is not.
            // A client begins one when it was told of the one before.
            let begun = |one: &Done| {
                let same = done.iter().filter(|other| other.client == one.client && other.at < one.at);
                same.map(|other| other.at).max().unwrap_or(0)
            };
            let before = later.iter().filter(|done| done.at < second * 1_000_000).map(|done| done.number).max();
            assert!(before.is_none_or(|before| before <= last), "{before:?} {last}: {said}");
            let after = later.iter().filter(|one| begun(one) >= (second + 1) * 1_000_000).map(|done| done.number).min();
            assert!(after.is_none_or(|after| last < after), "{last} {after:?}: {said}");
        }
    }
    drop(restored);
    fs::remove_dir_all(bench.at("then")).unwrap();
}

/// So many random targets of a server that was dumped while it was written to.
fn random_targets(count: usize) {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--max-binlog-size=64K", "--server-id=1"]);
    server.sql(TABLES);
    let bench = Bench::new(&server);
    let mut done = witness::write(&server, 1..3, 20, true);
    let meanwhile = std::thread::scope(|scope| {
        // A table that is made while the live server is dumped ends the dump (error 1412).
        let writing = scope.spawn(|| witness::write(&server, 3..6, 120, false));
        std::thread::sleep(Duration::from_millis(200));
        bench.backup();
        writing.join().unwrap()
    });
    done.extend(meanwhile);
    done.sort();
    // Targets behind what was there when the dump was begun may still lie before it: then there is no base.
    let base = done.iter().map(|done| done.number).max().unwrap();
    // Times have whole seconds: that of the backup is no target.
    std::thread::sleep(Duration::from_millis(1100));
    let after = witness::write(&server, 6..9, 120, true);
    done.extend(after);
    // A second is over only when something later is logged.
    std::thread::sleep(Duration::from_millis(1100));
    server.sql("CREATE DATABASE later");
    bench.ship();
    // Each way to write one in turn, the most different first.
    for (n, kind) in [0, 3, 4, 1, 2].into_iter().cycle().take(count).enumerate() {
        one_target(&server, &bench, &done, base, kind);
        println!("{} of {count} targets", n + 1);
    }
}

#[test]
fn what_comes_back_is_the_witness_prefix() {
    random_targets(3);
}

#[test]
#[ignore = "a hundred restores take some minutes: tests/run --full"]
fn what_comes_back_is_the_witness_prefix_at_a_hundred_targets() {
    random_targets(100);
}

/// The place that `binlog find` prints.
fn place_before(bench: &Bench, kind: &str) -> String {
    let said = bench.works(&["binlog", "find", "--kind", kind]);
    said.lines().find_map(|line| line.trim().strip_prefix("stop just before it: ")).unwrap().to_owned()
}

#[test]
fn a_killed_restore_leaves_nothing_and_the_next_one_brings_back_whatever_was_logged() {
    let _alone = KILLS.write().unwrap_or_else(PoisonError::into_inner);
    let compressed = either("--log-bin-compress=1", "--binlog-transaction-compression=1");
    let options = ["--server-id=1", compressed, "--binlog-format=ROW", "--binlog-checksum=NONE"];
    let least = either(&["--log-bin-compress-min-len=10"][..], &[]);
    let server = Server::start_with(&[&options, least].concat());
    server
        .sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a TEXT); CREATE TABLE shop.gone (a INT)");
    let bench = Bench::new(&server);
    bench.backup();
    let rows =
        format!("USE shop; INSERT INTO t SELECT seq, REPEAT('x', 500) FROM {}; FLUSH BINARY LOGS; ", numbers(200));
    server.sql(
        &(rows
            + "XA START 'done'; INSERT INTO t VALUES (1000, 'xa'); XA END 'done'; XA PREPARE 'done'; XA COMMIT 'done'; \
         CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DO SELECT 1; \
         CREATE TEMPORARY TABLE aside SELECT 7 AS a; INSERT INTO gone SELECT a FROM aside; \
         CREATE USER later@localhost; \
         XA START 'open'; INSERT INTO t VALUES (1001, 'open'); XA END 'open'; XA PREPARE 'open'"),
    );
    server.sql("DROP TABLE shop.gone; CREATE TABLE shop.after_all (a INT)");
    bench.ship();
    let (place, to) = (place_before(&bench, "drop"), bench.at("then").display().to_string());
    let wanted = ["restore", "--before", &place, "--to", &to];
    let shown = bench.works(&[&wanted[..], &["--dry-run"]].concat());
    let (done, left) = shown.split_once("the first that is not:").unwrap();
    assert!(left.contains("DROP TABLE") && left.contains("after_all") && !done.contains("DROP TABLE"), "{shown}");
    // Where one is at work it has made its workshop; how far it comes then depends on the machine.
    for _ in 0..2 {
        let mut child = bench.begin(&wanted);
        let at_work = || if bench.names().iter().any(|name| name.starts_with("mysnap-")) { Ok(()) } else { Err(()) };
        retry::until(Duration::from_secs(60), at_work).unwrap();
        std::thread::sleep(Duration::from_millis(random(1500) as u64));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            fs::remove_dir_all(bench.at("then")).unwrap();
        }
        assert!(!bench.at("then").exists());
    }
    let said = bench.works(&wanted);
    assert!(said.contains("is prepared and keeps its locks") && said.contains("shop.e was made"), "{said}");
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
    assert!(!bench::names(&bench.at("then")).iter().any(|name| name.contains("relay")));
    bench.fails(&wanted, 3, &["is not empty"]);
    let restored = bench.started("then");
    let prefix = prefix(&server);
    let replayed = last_executed(&restored, &prefix);
    let answers = restored.sql(
        "SELECT COUNT(*), SUM(LENGTH(a)) FROM shop.t; SELECT a FROM shop.gone; \
         SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'mysnap%' OR User = 'later'; \
         XA COMMIT 'open'; SELECT a FROM shop.t WHERE id > 1000",
    );
    assert_eq!(answers, "201\t100002\n7\n1\nopen\n");
    logs_on(&restored, &prefix, replayed);

    // Beside what is there, without the open transaction.
    let scratch = bench.at("").display().to_string();
    let beside = ["restore", "--before", &place, "--database", "shop", "--as", "shop_then", "--scratch", &scratch];
    bench.works(&beside);
    assert_eq!(server.sql("SELECT COUNT(*) FROM shop_then.t; SELECT a FROM shop_then.gone"), "201\n7\n");
    bench.fails(&beside, 3, &["shop_then"]);
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
}

/// What a restored server logs goes on behind what was replayed: on MySQL with names of its own.
fn logs_on(restored: &Server, prefix: &str, replayed: u64) {
    let logged = restored.sql(either(
        "INSERT INTO shop.gone VALUES (8); SELECT @@last_gtid",
        "INSERT INTO shop.gone VALUES (8); SELECT REPLACE(@@gtid_executed, '\n', '')",
    ));
    if *IS_MARIADB {
        assert!(logged.trim().strip_prefix(prefix).unwrap().parse::<u64>().unwrap() > replayed, "{logged}");
    } else {
        let own = format!("{}:1", restored.sql("SELECT @@server_uuid").trim());
        assert!(logged.contains(&format!("{prefix}1-{replayed}")) && logged.contains(&own), "{logged}");
    }
}

#[test]
fn an_encrypted_log_that_the_tool_archived_leads_to_any_point_too() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let keys = Keys::new();
    let server = keys.server(&["--server-id=1"]);
    let encrypted = either("ENCRYPTED=YES", "");
    server.sql(&format!("CREATE DATABASE shop; CREATE TABLE shop.t (a INT) {encrypted}"));
    let bench = Bench::new(&server);
    bench.backup();
    server.sql("INSERT INTO shop.t VALUES (1); FLUSH BINARY LOGS; INSERT INTO shop.t VALUES (2); DROP TABLE shop.t");
    bench.ship();
    let to = bench.at("then").display().to_string();
    bench.works(&["restore", "--before", &place_before(&bench, "drop"), "--to", &to]);
    let reading = keys.reading();
    let restored = bench.started_with("then", &reading.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(restored.sql("SELECT a FROM shop.t ORDER BY a"), "1\n2\n");
}

#[test]
fn what_can_not_be_reached_is_refused_with_the_nearest_point() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT)");
    let bench = Bench::new(&server);
    bench.backup();
    server.sql("BEGIN; INSERT INTO shop.t VALUES (1); INSERT INTO shop.t VALUES (2); COMMIT; DROP TABLE shop.t");
    bench.ship();
    let all = beginnings(&server);
    let [.., (file, within, number), (_, end, _)] = &all[..] else { panic!("{all:?}") };
    let to = bench.at("then").display().to_string();
    let until =
        |point: &str, code, words: &[&str]| bench.fails(&["restore", "--until", point, "--to", &to], code, words);
    until(
        "2040-01-01 00:00:00 UTC",
        12,
        &["is later than what is archived, which ends at b.000001:", "--until latest"],
    );
    until("2020-01-01T00:00:00Z", 12, &["no backup leads to", "which is later", "the oldest backup is of"]);
    until("2026-01-01 00:00:00", 2, &["has no zone"]);
    let name = |number: u64| format!("{}{number}", prefix(&server));
    until(&name(4711), 12, &[&format!("there is no {} between", name(4711))]);
    until(&name(1), 12, &[&format!("has {} already", name(1))]);
    until("b.000001:4", 12, &["no backup leads to b.000001:4", "the target lies before the start"]);
    let inside = format!("{file}:{}", within + 50);
    let both = [format!("begins at {file}:{within}"), format!("ends at {file}:{end}")];
    until(&inside, 3, &["lies within a transaction", &both[0], &both[1]]);
    bench.fails(&["restore", "--until", "latest"], 2, &["where does it go?"]);
    // What `binlog find` prints of an event is taken for the beginning of its transaction.
    let said = bench.works(&["restore", "--before", &inside, "--to", &to, "--dry-run"]);
    assert!(said.contains(&format!("up to {file}:{within}:")) && said.contains("left out as a whole"), "{said}");
    let said = bench.works(&["restore", "--before", &name(*number), "--to", &to, "--dry-run"]);
    assert!(said.contains(&format!("up to {file}:{within}:")), "{said}");

    // What was purged before it was archived can't be crossed.
    server.sql("CREATE TABLE shop.u (a INT); FLUSH BINARY LOGS; FLUSH BINARY LOGS");
    purge(&server, "b.000003");
    bench.fails(&["binlog", "ship"], 12, &["purged"]);
    until("latest", 12, &["and no further", "--until b.000001:"]);
    assert!(!bench.at("then").exists());
    // A backup of after the gap is a base for what follows.
    bench.backup();
    server.sql("INSERT INTO shop.u VALUES (1)");
    bench.ship();
    assert!(bench.works(&["restore", "--until", "latest", "--to", &to, "--dry-run"]).contains("1 transactions"));
    // Onto a dump of a part nothing can be replayed.
    bench.dump_only("shop");
    let part = bench.backup();
    bench.fails(&["restore", &part, "--until", "latest", "--to", &to], 12, &["a dump of a part of the server"]);
    assert!(!bench.works(&["restore", "--until", "latest", "--to", &to, "--dry-run"]).contains(&part));
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
}

#[test]
fn what_can_not_be_executed_is_named_with_its_place() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1", "--binlog-format=ROW"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)");
    let bench = Bench::new(&server);
    bench.backup();
    // Nobody is told of the row that goes, so that the next one is not there for a replay.
    server
        .sql("INSERT INTO shop.t VALUES (2); SET sql_log_bin = 0; INSERT INTO shop.t VALUES (3); SET sql_log_bin = 1");
    server.sql("DELETE FROM shop.t WHERE id = 3; INSERT INTO shop.t VALUES (4)");
    bench.ship();
    let all = beginnings(&server);
    let [.., (file, bad, _), _] = &all[..] else { panic!("{all:?}") };
    let (to, place) = (bench.at("then").display().to_string(), format!("{file}:{bad}"));
    let stopped = format!("the replay stopped at {place}");
    let wanted = ["restore", "--until", "latest", "--to", &to];
    bench.fails(&wanted, 8, &[&stopped, "Delete_rows", "shop.t", &format!("--until {place}")]);
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-") || name == "then"), "{:?}", bench.names());
}

#[test]
fn nobody_else_may_read_what_is_stored_or_remembered() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.o (id INT PRIMARY KEY); INSERT INTO shop.o VALUES (1)");
    let bench = Bench::new(&server);
    bench.backup();
    bench.ship();
    let places = [bench.at("backups"), bench.at("logs"), "/var/lib/mysnap".into(), "/run/mysnap".into()];
    let there = places.iter().filter(|place| place.exists());
    // Others' rights to a socket are those to its directory; a symbolic link has all of them.
    let open = mysnap::sys::cmd::Call::new("find").args(there).args([
        "-ignore_readdir_race",
        "(",
        "-type",
        "f",
        "-o",
        "-type",
        "d",
        ")",
        "-perm",
        "/077",
    ]);
    assert_eq!(open.stdout().unwrap(), "");
}
