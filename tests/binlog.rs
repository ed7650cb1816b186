//! Archives of the binary logs of a real server: byte for byte what it has, and every gap named.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "increment.rs uses the rest")]
#[path = "binlog/bench.rs"]
mod bench;
#[path = "binlog/current.rs"]
mod current;
#[path = "binlog/cut.rs"]
mod cut;
#[path = "binlog/distant.rs"]
mod distant;
#[path = "binlog/elsewhere.rs"]
mod elsewhere;
#[path = "binlog/encrypted.rs"]
mod encrypted;
#[path = "binlog/expiring.rs"]
mod expiring;
#[path = "binlog/failover.rs"]
mod failover;
#[path = "binlog/keys.rs"]
mod keys;
#[path = "binlog/missing.rs"]
mod missing;
#[path = "binlog/proxy.rs"]
mod proxy;
#[path = "binlog/purge.rs"]
mod purge;
#[path = "binlog/rotated.rs"]
mod rotated;
#[allow(dead_code, reason = "dump.rs uses the rest")]
#[path = "dump/server.rs"]
mod server;
#[path = "store/sshd.rs"]
mod sshd;
#[path = "binlog/tool.rs"]
mod tool;
#[path = "binlog/twins.rs"]
mod twins;
#[path = "binlog/window.rs"]
mod window;

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use bench::{Bench, Writers, in_use_cleared};
use keys::Keys;
use mysnap::binlog::{Start, State};
use mysnap::dump::Compression;
use mysnap::fault::{Kind, kind_of};
use mysnap::server::BinlogPosition;
use purge::purge;
use server::{Server, either, numbers, reset};

const TABLE: &str = "CREATE DATABASE shop; CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(300))";
/// One transaction of more than two megabytes.
static LARGE: LazyLock<String> =
    LazyLock::new(|| format!("USE shop; INSERT INTO t (a) SELECT REPEAT('x', 250) FROM {}", numbers(9000)));

#[test]
fn what_was_shipped_is_byte_for_byte_what_the_server_has() {
    let server = Server::start_with(&["--max-binlog-size=1M"]);
    server.sql(TABLE);
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        let bench = Bench::new(&server, compression);
        let writers = Writers::start(&server, 3);
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(300));
            bench.ship().unwrap();
        }
        // Rotated in the middle of it: the whole transaction stays in one file.
        server.sql(&LARGE);
        drop(writers);
        bench.ship_rotated().unwrap();
        let files = bench.compare(&server);
        assert!(files >= 3, "only {files} files");
        assert_eq!(bench.index().windows().len(), 1);
        assert!(bench.verify().damaged.is_empty());
        let end = bench.end();
        let again = bench.ship().unwrap().passed;
        assert!(again.closed.is_empty() && bench::are_checkpoints(&bench.added(&end)), "{again:?}");
    }
}

#[test]
fn a_stream_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let server = Server::start_with(&["--max-binlog-size=1M"]);
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let writers = Writers::start(&server, 3);
    for pause in [50, 700, 230, 410, 90, 1100] {
        let stream = bench.stream();
        std::thread::sleep(Duration::from_millis(pause));
        stream.kill();
    }
    server.sql(&LARGE);
    let stream = bench.stream();
    std::thread::sleep(Duration::from_millis(600));
    drop(writers);
    // Everything is there, and durable, within about the interval.
    std::thread::sleep(Duration::from_millis(800));
    bench.compare(&server);
    let (status, said) = stream.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("no restore can cross"), "{said}");
    bench.compare(&server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_stream_goes_on_when_the_server_dies_and_comes_back() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let stream = bench.stream();
    for _ in 0..2 {
        let writers = Writers::start(&server, 3);
        std::thread::sleep(Duration::from_millis(700));
        server.kill();
        drop(writers);
        server.start_again();
        server.sql("INSERT INTO shop.t (a) VALUES ('after')");
    }
    std::thread::sleep(Duration::from_millis(800));
    let (status, said) = stream.end();
    assert_eq!(status.code(), Some(0), "{said}");
    bench.compare(&server);
    assert_eq!(bench.index().windows().len(), 1, "{said}");
    assert!(bench.index().timelines[0].files.len() >= 3);
}

#[test]
fn a_log_that_was_purged_before_it_was_shipped_is_a_gap_that_no_path_crosses() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship().unwrap();
    let start = bench.end();
    for _ in 0..3 {
        server.sql("INSERT INTO shop.t (a) VALUES ('lost'); FLUSH BINARY LOGS");
    }
    purge(&server, "b.000004");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert_eq!(status.code(), Some(12), "{said}");
    assert!(said.contains("purged before it was archived") && said.contains("b.000004"), "{said}");
    assert_eq!(bench.command(&["binlog", "ship", "--quiet"]).0.code(), Some(0));
    let index = bench.index();
    assert_eq!((index.timelines.len(), index.windows().len()), (1, 2));
    let error = index.path(None, &Start::Position(&start), Some(&bench.end())).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Gap), "{error:#}");
    let (status, listed) = bench.command(&["binlog", "list"]);
    assert!(status.success() && listed.contains("gap  ") && listed.matches("window").count() == 2, "{listed}");
}

#[test]
fn status_tells_how_an_archive_stands_until_a_backup_has_bridged_its_gaps() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let backups = bench.archive().with_file_name("backups");
    bench.configure(&format!("[job.nightly]\nto = {backups:?}\nmethod = \"dump\"\nsource = \"live\"\n"));
    let level = |lines: &[serde_json::Value]| lines.iter().map(|line| line["level"].to_string()).collect::<String>();
    let told = || bench.status("shop");
    let none = told();
    assert!(level(&none) == "\"critical\"" && none[0]["text"].to_string().contains("no archive"), "{none:?}");
    bench.ship().unwrap();
    let fresh = told();
    assert!(level(&fresh) == "\"ok\"" && fresh[0]["age_seconds"].as_u64().unwrap() < 60, "{fresh:?}");
    server.sql("INSERT INTO shop.t (a) VALUES ('not archived')");
    let behind = told();
    assert!(level(&behind) == "\"ok\"" && behind[0]["behind_bytes"].as_u64().unwrap() > 50, "{behind:?}");
    bench.age_pulse(Duration::from_secs(301));
    assert_eq!(level(&told()), "\"critical\"");

    // What is gone is told before anybody tries to archive it, and afterwards.
    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('gone'); FLUSH BINARY LOGS");
    purge(&server, "b.000003");
    let lost = told();
    assert!(level(&lost) == "\"critical\"" && lost[0]["text"].to_string().contains("was purged before"), "{lost:?}");
    assert_eq!(kind_of(&bench.ship().unwrap_err()), Some(Kind::Gap));
    let gap = told();
    assert!(level(&gap) == "\"ok\"\"critical\"" && gap[1]["text"].to_string().contains("before b.000003"), "{gap:?}");
    let (status, said) = bench.command(&["backup", "nightly"]);
    assert!(status.success(), "{said}");
    assert_eq!(level(&told()), "\"ok\"");
    // A backup before a gap is of no use behind it.
    server.sql(reset());
    assert_eq!(level(&told()), "\"critical\"");
    assert_eq!(kind_of(&bench.ship().unwrap_err()), Some(Kind::Gap));
    assert_eq!(level(&told()), "\"ok\"\"critical\"");
}

#[test]
fn a_file_that_was_rotated_and_purged_after_all_of_it_was_shipped_is_no_gap() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship_rotated().unwrap();
    purge(&server, "b.000002");
    server.sql("INSERT INTO shop.t (a) VALUES ('more'); FLUSH BINARY LOGS");
    bench.ship().unwrap();
    purge(&server, "b.000003");
    bench.ship().unwrap();
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_reset_begins_a_timeline_and_keeps_the_old_one() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    server.sql("INSERT INTO shop.t (a) VALUES ('old'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('old too')");
    bench.ship().unwrap();
    let before = bench.contents();
    for round in 2..4 {
        server.sql(&format!("{}; INSERT INTO shop.t (a) VALUES ('new')", reset()));
        let error = bench.ship().unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Gap), "{error:#}");
        assert!(format!("{error:#}").contains("a new timeline begins"), "{error:#}");
        bench.ship().unwrap();
        assert_eq!(bench.index().timelines.len(), round);
    }
    bench.compare(&server);
    let after = bench.contents();
    assert!(
        before
            .iter()
            .all(|(place, bytes)| after.get(place).is_some_and(|now| in_use_cleared(now) == in_use_cleared(bytes)))
    );
    assert!(bench.verify().damaged.is_empty());
    // Made again from the files, the index has the same timelines, and the last one goes on.
    fs::remove_file(bench.archive().join("index.json")).unwrap();
    bench.ship().unwrap();
    assert_eq!(bench.index().timelines.len(), 3);
}

#[test]
fn a_file_that_is_no_log_is_named_and_all_else_is_archived() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('x'); FLUSH BINARY LOGS");
    overwrite(&server.datadir().join("b.000002"), b"something else");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(12) && said.contains("b.000002 is damaged: at 0 it is no binary log"), "{said}");
    let index = bench.index();
    let [first, last] = &index.timelines[0].files[..] else { panic!("{index:?}") };
    assert!(first.name == "b.000001" && last.name == "b.000003" && last.gap.is_some(), "{index:?}");
    bench.ship().unwrap();
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_reset_within_a_second_is_noticed_behind_closed_files_too() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let write = format!("{}; INSERT INTO shop.t (a) VALUES (UUID()); FLUSH BINARY LOGS", reset());
    server.sql(&write);
    bench.ship().unwrap();
    // As if the archive ended with a closed file.
    let mut index = bench.index();
    index.timelines[0].files.truncate(1);
    mysnap::binlog::Home::new(bench.archive()).write_index(&index).unwrap();
    server.sql(&write);
    let error = bench.ship().unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Gap), "{error:#}");
    assert_eq!(bench.index().timelines.len(), 2);
    bench.compare(&server);
}

#[test]
fn a_stream_notices_a_reset_and_goes_on() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let stream = bench.stream();
    std::thread::sleep(Duration::from_millis(500));
    server.sql(&format!("{}; INSERT INTO shop.t (a) VALUES ('new')", reset()));
    std::thread::sleep(Duration::from_millis(2500));
    let (status, said) = stream.end();
    assert!(status.success() && said.contains("a new timeline begins"), "{said}");
    assert_eq!(bench.index().timelines.len(), 2);
    bench.compare(&server);
}

#[test]
fn a_damaged_event_is_named_and_all_else_is_archived() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    server
        .sql("INSERT INTO shop.t (a) VALUES ('damaged here'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('x')");
    let path = server.datadir().join("b.000001");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(12).position(|part| part == b"damaged here").unwrap();
    bytes[at] ^= 1;
    overwrite(&path, &bytes);
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert_eq!(status.code(), Some(12), "{said}");
    assert!(said.contains("b.000001 is damaged: at ") && said.contains("checksum"), "{said}");
    let index = bench.index();
    let [damaged, next] = &index.timelines[0].files[..] else { panic!("{index:?}") };
    assert_eq!((damaged.state, next.state), (State::Damaged, State::Open));
    assert!(damaged.size > 300 && damaged.size < at as u64 && next.gap.is_some(), "{damaged:?}");
    bench.ship().unwrap();
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_full_destination_loses_nothing() {
    let server = Server::start_with(&["--max-binlog-size=1M"]);
    server.sql(TABLE);
    let small = bench::Tmpfs::mount("2M");
    let bench = Bench::at(&server, small.path(), Compression::None);
    let stream = bench.stream();
    for _ in 0..2 {
        server.sql(&LARGE);
        std::thread::sleep(Duration::from_millis(800));
    }
    small.grow("64M");
    std::thread::sleep(Duration::from_secs(5));
    let (status, said) = stream.end();
    assert!(status.success() && said.contains("No space left"), "{said}");
    bench.compare(&server);
    assert_eq!(bench.index().windows().len(), 1);
}

#[test]
fn a_dropped_table_is_found_with_the_place_just_before_it() {
    let server = Server::start_with(&["--binlog-format=ROW"]);
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    server.sql(
        "USE shop; INSERT INTO t (a) VALUES ('a'), ('b'), ('c'); UPDATE t SET a = 'd' WHERE a <> 'a'; \
         INSERT INTO t (a) VALUES ('DROP TABLE t'); DROP TABLE t; CREATE TABLE t (id INT); FLUSH BINARY LOGS",
    );
    bench.ship().unwrap();
    let (status, found) = bench.command(&["binlog", "find", "--table", "shop.t", "--kind", "drop", "--json"]);
    assert!(status.success(), "{found}");
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let [drop] = &found.as_array().unwrap()[..] else { panic!("{found:#}") };
    let stop = drop["stop_before"].as_u64().unwrap();
    let (before, behind) =
        (bench.replayed(&server, "b.000001", stop), bench.replayed(&server, "b.000001", drop["end"].as_u64().unwrap()));
    assert!(!before.contains("DROP TABLE `t`") && before.contains("DROP TABLE t"), "{before}");
    assert!(behind.contains("DROP TABLE `t`"), "{behind}");
    // The tool sees an event there too: in the middle of one it fails.
    assert!(behind.contains(&format!("\n# at {stop}\n")), "{stop}: {behind}");

    let (_, rows) = bench.command(&["binlog", "find", "--table", "t", "--kind", "insert", "--kind", "update"]);
    for told in
        ["insert shop.t  3 rows", "update shop.t  2 rows", "insert shop.t  1 row", "stop just before it: b.000001:"]
    {
        assert!(rows.contains(told), "{told}: {rows}");
    }
    let gtid = drop["gtid"].as_str().unwrap();
    let (_, by_gtid) = bench.command(&["binlog", "find", "--gtid", gtid]);
    assert!(by_gtid.contains("DROP TABLE `t`") && by_gtid.matches("stop just before").count() == 1, "{by_gtid}");
    let (status, said) = bench.command(&["binlog", "find", "--since", "2099-01-01 00:00:00"]);
    assert_eq!(status.code(), Some(10), "{said}");
    let (status, said) = bench.command(&["binlog", "find", "--since", "yesterday"]);
    assert!(status.code() == Some(2) && said.contains("--since: \"yesterday\" is no time"), "{said}");
}

#[test]
fn rows_are_counted_in_every_form_that_the_server_logs() {
    let (own_types, own_columns, own_values) = either((", v UUID, w INET6", ", v, w", ", UUID(), '::1'"), ("", "", ""));
    let types = format!(
        "CREATE TABLE shop.all_types (a INT PRIMARY KEY, b DECIMAL(20,7), c VARCHAR(300), d CHAR(10), e TEXT, \
         f BLOB, g DATETIME(3), h TIMESTAMP(6) NULL, i TIME(2), j DATE, k YEAR, l BIT(11), m ENUM('x','y'), \
         n SET('p','q'), o DOUBLE, p FLOAT, q BIGINT, r MEDIUMINT, s JSON, t POINT, u BINARY(200){own_types})"
    );
    let rows = format!(
        "USE shop; INSERT INTO shop.all_types (a, b, c, d, e, f, g, i, j, k, l, m, n, o, p, q, r, s, u{own_columns}) \
         SELECT seq, seq / 7, REPEAT('c', seq), 'd', REPEAT('e', 400), REPEAT('f', seq), NOW(3), '12:13:14.15', \
         CURDATE(), 2026, b'101', 'x', 'p,q', 0.1, 0.2, seq, 1, '{{}}', 'u'{own_values} FROM {}",
        numbers(200)
    );
    let plain: &[&str] = &["--binlog-format=ROW"];
    let compressed: &[&str] = either(
        &["--binlog-format=ROW", "--log-bin-compress=1", "--log-bin-compress-min-len=10"],
        &["--binlog-format=ROW", "--binlog-transaction-compression=ON"],
    );
    let unchecked: &[&str] = &["--binlog-format=ROW", "--binlog-checksum=NONE", "--binlog-row-image=MINIMAL"];
    for options in [plain, compressed, unchecked] {
        let server = Server::start_with(options);
        server.sql(TABLE);
        let bench = Bench::new(&server, Compression::Zstd);
        server.sql(&types);
        server.sql(&rows);
        server.sql(
            "UPDATE shop.all_types SET e = NULL, c = 'short' WHERE a > 50; DELETE FROM shop.all_types WHERE a <= 7",
        );
        bench.ship_rotated().unwrap();
        bench.compare(&server);
        let (_, found) = bench.command(&["binlog", "find", "--table", "shop.all_types"]);
        for told in
            ["insert shop.all_types  200 rows", "update shop.all_types  150 rows", "delete shop.all_types  7 rows"]
        {
            assert!(found.contains(told), "{options:?}: {told}: {found}");
        }
        assert!(found.contains("CREATE TABLE shop.all_types"), "{options:?}: {found}");
    }
}

#[test]
fn a_lost_index_is_made_again_from_the_files() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('x'); FLUSH BINARY LOGS");
    bench.ship().unwrap();
    // The server may add a checkpoint to the open file.
    let known = || {
        let mut index = bench.index();
        let open = index.timelines[0].files.last_mut().unwrap();
        (open.size, open.last_event) = (0, None);
        index
    };
    let before = known();
    fs::remove_file(bench.archive().join("index.json")).unwrap();
    bench.ship().unwrap();
    assert_eq!(known(), before);
    overwrite(&bench.archive().join("index.json"), b"{\"format\": 1, \"timelines\": [");
    let (status, said) = bench.command(&["binlog", "list"]);
    assert_eq!(status.code(), Some(8), "{said}");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && said.contains("rebuilt"), "{said}");
    assert_eq!(known(), before);
    overwrite(&bench.archive().join("index.json"), b"{\"format\": 2}");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(3) && said.contains("use a newer mysnap"), "{said}");
}

#[test]
fn an_index_that_cannot_be_read_is_not_replaced() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship().unwrap();
    let index = bench.archive().join("index.json");
    let kept = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    std::os::unix::fs::symlink(&index, &index).unwrap();
    let error = format!("{:#}", bench.ship().unwrap_err());
    assert!(error.contains("cannot read") && index.is_symlink(), "{error}");
    fs::remove_file(&index).unwrap();
    overwrite(&index, &kept);
    bench.ship().unwrap();
}

#[test]
fn a_file_that_was_removed_by_hand_ends_the_window() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship().unwrap();
    let start = bench.end();
    server.sql("INSERT INTO shop.t (a) VALUES ('lost'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('here')");
    fs::remove_file(server.datadir().join("b.000001")).unwrap();
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(12) && said.contains("and is not there"), "{said}");
    let index = bench.index();
    let [cut, next] = &index.timelines[0].files[..] else { panic!("{index:?}") };
    assert_eq!((cut.state, cut.damage.as_deref()), (State::Damaged, Some("its rest is gone")));
    assert!(next.gap.is_some(), "{next:?}");
    assert!(index.path(None, &Start::Position(&start), Some(&bench.end())).is_err());
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn what_was_purged_just_before_its_turn_stops_nothing() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship_rotated().unwrap();
    server.sql("FLUSH BINARY LOGS");
    // As if the index told of the second file, and then it was gone.
    let mut index = bench.index();
    index.timelines[0].files[1].size = 0;
    mysnap::binlog::Home::new(bench.archive()).write_index(&index).unwrap();
    fs::remove_file(bench.stored("b.000002.open")).unwrap();
    purge(&server, "b.000003");
    let (status, found) = bench.command(&["binlog", "find", "--kind", "create"]);
    assert!(status.success() && found.contains("CREATE TABLE"), "{found}");
    assert_eq!(kind_of(&bench.ship().unwrap_err()), Some(Kind::Gap));
    bench.ship().unwrap();
    assert_eq!(bench.index().windows().len(), 2);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_file_that_is_closed_meanwhile_is_no_damage() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship().unwrap();
    let before = bench.index();
    bench.ship_rotated().unwrap();
    assert!(!bench.stored("b.000001.open").exists());
    let home = mysnap::binlog::Home::new(bench.archive());
    let cancel = mysnap::sys::cancel::Cancel::new();
    let report = mysnap::binlog::verify::verify(&home, &before, &|_| {}, &cancel).unwrap();
    assert!(report.files == 1 && report.damaged.is_empty(), "{report:?}");
}

#[test]
fn a_stream_notices_that_the_server_logs_elsewhere() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let stream = bench.stream();
    std::thread::sleep(Duration::from_millis(500));
    server.sql("SHUTDOWN");
    let log = server.datadir().join("b.000001");
    let is_closed = || if fs::read(&log).unwrap()[21] & 1 == 0 { Ok(()) } else { Err(()) };
    mysnap::sys::retry::until(Duration::from_secs(30), is_closed).unwrap();
    server.kill();
    server.start_again_with(&["--log-bin=elsewhere"]);
    server.sql("INSERT INTO shop.t (a) VALUES ('there')");
    std::thread::sleep(Duration::from_secs(8));
    let (status, said) = stream.end();
    assert!(status.success() && said.contains("keeps another log") && said.contains("a new timeline begins"), "{said}");
    assert_eq!(bench.index().timelines[1].files[0].name, "elsewhere.000001");
}

#[test]
fn damage_in_the_archive_is_found() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship_rotated().unwrap();
    let closed = bench.stored("b.000001.zst");
    let mut bytes = fs::read(&closed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    overwrite(&closed, &bytes);
    let (status, said) = bench.command(&["binlog", "verify"]);
    assert!(status.code() == Some(8) && said.contains("b.000001: "), "{said}");
    fs::remove_file(&closed).unwrap();
    let (status, said) = bench.command(&["binlog", "verify"]);
    assert!(status.code() == Some(8) && said.contains("No such file"), "{said}");
}

#[test]
fn what_the_server_lost_in_a_crash_is_put_aside() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    let (_, short) = server.log_end();
    server.sql("INSERT INTO shop.t (a) VALUES ('never synced')");
    bench.ship().unwrap();
    let long = bench.end();
    server.kill();
    let path = server.datadir().join("b.000001");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(short).unwrap();
    server.start_again();
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && said.contains("kept in"), "{said}");
    let kept: Vec<_> = fs::read_dir(bench.stored("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let kept = kept.iter().find(|path| path.to_string_lossy().contains(".cut-")).unwrap_or_else(|| panic!("{kept:?}"));
    assert_eq!(kept.metadata().unwrap().len(), long.offset - short);
    bench.compare(&server);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn the_way_from_a_backup_to_a_place_is_told_in_pieces() {
    let server = Server::start();
    server.sql(TABLE);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.ship().unwrap();
    let start = bench.end();
    let gtids = server.sql(either("SELECT @@gtid_binlog_pos", "SELECT @@gtid_executed")).trim().parse().unwrap();
    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('x'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('y')");
    bench.ship().unwrap();
    let (index, end) = (bench.index(), bench.end());
    let told = |start: &Start<'_>, target: Option<&BinlogPosition>| {
        let pieces = index.path(None, start, target).unwrap();
        pieces.iter().map(|piece| (piece.file.name.clone(), piece.from, piece.to)).collect::<Vec<_>>()
    };
    let pieces = told(&Start::Position(&start), Some(&end));
    assert_eq!(pieces.len(), 3);
    assert_eq!((&pieces[0].0, pieces[0].1), (&start.file, start.offset));
    assert_eq!((&pieces[2].0, pieces[2].2), (&end.file, end.offset));
    assert_eq!(told(&Start::Position(&start), None), pieces);
    // Nothing of the file in which the set ends may be left out.
    assert_eq!(told(&Start::Gtids(&gtids), None)[0].0, "b.000002");
    assert!(index.path(None, &Start::Position(&end), Some(&start)).is_err());
}

#[test]
fn what_cannot_be_archived_is_refused_by_name() {
    let server = Server::start();
    let bench = Bench::new(&server, Compression::Zstd);
    let (status, said) = bench.command(&["check", "shop"]);
    assert!(status.success() && said.contains("ok  binary log: 1 files"), "{said}");
    let (_, shown) = bench.command(&["config", "show"]);
    assert!(shown.contains("[binlog.shop]\nto = ") && shown.contains("sync_interval = \"200ms\""), "{shown}");
    let inside = Bench::at(&server, &server.datadir(), Compression::Zstd);
    let (status, said) = inside.command(&["binlog", "ship"]);
    assert!(status.code() == Some(3) && said.contains("among the server's own logs"), "{said}");
    bench.ship().unwrap();
    let stream = bench.stream();
    std::thread::sleep(Duration::from_millis(500));
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(5) && said.contains("is held by process"), "{said}");
    stream.end();
    let keys = Keys::new();
    let server = keys.server(&[]);
    let bench = Bench::new(&server, Compression::Zstd);
    bench.configure("engine = \"files\"\n");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(3) && said.contains("encrypts its binary log"), "{said}");
    assert!(said.contains("engine = \"tool\""), "{said}");
}

#[expect(clippy::disallowed_methods, reason = "a test damages a file in place")]
fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}
