//! Archives by the family's own tool of servers whose files can't be read: those on another host.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use mysnap::binlog::{LogFile, State};
use mysnap::dump::Compression;
use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::server::{Access, Flavour, TlsMode};
use mysnap::sys::{durable, retry};
use nix::sys::signal::{Signal, kill};

use crate::LARGE;
use crate::bench::{Bench, Tmpfs, Writers};
use crate::distant::{Distant, GRANTS, SOON, ended_well, following, monitor, spools, tools, went_on};
use crate::elsewhere::Node;
use crate::purge::purge;
use crate::server::{IS_MARIADB, either, program, reset};

#[test]
fn what_the_tool_reads_is_byte_for_byte_what_the_server_has() {
    let far = Distant::start(&["--max-binlog-size=1M"], &GRANTS);
    far.is_away();
    for compression in [Compression::Zstd, Compression::None] {
        let bench = far.bench(compression).by_itself();
        let writers = Writers::start(&far.server, 2);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(200));
            bench.ship().unwrap();
        }
        far.server.sql(&LARGE);
        drop(writers);
        bench.ship_rotated().unwrap();
        assert!(bench.compare(&far.server) > 2);
        assert_eq!(bench.index().windows().len(), 1);
        assert!(bench.verify().damaged.is_empty());
        assert!(spools(&bench.archive()).is_empty() && tools(&bench).is_empty());
    }
}

#[test]
fn a_stream_by_the_tool_goes_on_whatever_is_killed() {
    let far = Distant::start(&["--max-binlog-size=1M"], &GRANTS);
    let bench = far.bench(Compression::Zstd);
    let writers = Writers::start(&far.server, 2);
    for pause in [100, 900, 400] {
        let stream = bench.stream();
        std::thread::sleep(Duration::from_millis(pause));
        stream.kill();
    }
    let stream = bench.stream();
    for pause in [0, 300, 1300] {
        let (pid, line) = following(&bench);
        assert!(!line.contains("se#cr") && line.contains("--defaults-file=/dev/stdin"), "{line}");
        std::thread::sleep(Duration::from_millis(pause));
        kill(pid, Signal::SIGKILL).unwrap();
        let another = || if tools(&bench).iter().all(|(other, _)| *other != pid) { Ok(()) } else { Err(()) };
        retry::until(SOON, another).unwrap();
    }
    far.server.sql(&LARGE);
    drop(writers);
    went_on(&far, &bench, stream);
    // Whoever was killed took the tool with him; what is left of the spools went with the next one.
    let gone = || if tools(&bench).is_empty() { Ok(()) } else { Err(tools(&bench)) };
    retry::until(SOON, gone).unwrap();
    assert!(spools(&bench.archive()).is_empty());
}

#[test]
fn a_tool_that_is_far_ahead_or_says_nothing_is_ended_and_nothing_is_missing() {
    let far = Distant::start(&["--max-binlog-size=1M"], &GRANTS);
    let bench = far.bench(Compression::Zstd);
    let stream = bench.stream();
    following(&bench);
    far.caught_up(&bench);
    // A file that the tool has completed is shorter than the server's.
    stream.stopped(|| {
        let spool = spools(&bench.archive()).remove(0);
        far.server.sql("INSERT INTO shop.t (a) VALUES ('cut'); FLUSH BINARY LOGS");
        retry::until(SOON, || if spool.join("b.000002").exists() { Ok(()) } else { Err(()) }).unwrap();
        let file = fs::OpenOptions::new().write(true).open(spool.join("b.000001")).unwrap();
        file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    });
    far.caught_up(&bench);
    assert!(stream.said().contains("bytes of b.000001, of which the server has"), "{}", stream.said());
    let (first, _) = following(&bench);
    // The archive does not get on, and the tool does.
    stream.stopped(|| {
        let spool = spools(&bench.archive()).remove(0);
        (0..7).for_each(|_| drop(far.server.sql(&LARGE)));
        let ahead = || if spool.join("b.000009").exists() { Ok(()) } else { Err(()) };
        retry::until(SOON, ahead).unwrap();
    });
    far.caught_up(&bench);
    let another = || if following(&bench).0 == first { Err(()) } else { Ok(()) };
    retry::until(SOON, another).unwrap();
    // As behind a network that is cut without a word.
    kill(following(&bench).0, Signal::SIGSTOP).unwrap();
    far.server.sql("INSERT INTO shop.t (a) VALUES ('unheard')");
    far.caught_up(&bench);
    let said = ended_well(stream);
    assert!(said.contains("and the server is at b.0000") && said.contains("the archive goes on"), "{said}");
    bench.compare(&far.server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_destination_that_is_full_of_what_the_tool_reads_loses_nothing() {
    let far = Distant::start(&["--max-binlog-size=1M"], &GRANTS);
    let small = Tmpfs::mount("4M");
    let bench = Bench::at(&far.server, small.path(), Compression::None).by_tool(&far.access);
    let stream = bench.stream();
    following(&bench);
    for _ in 0..2 {
        far.server.sql(&LARGE);
    }
    retry::until(SOON, || if stream.said().contains("No space left") { Ok(()) } else { Err(()) }).unwrap();
    small.grow("128M");
    far.caught_up(&bench);
    let said = ended_well(stream);
    assert!(said.contains("the archive goes on"), "{said}");
    bench.compare(&far.server);
    assert!(bench.index().windows().len() == 1 && bench.verify().damaged.is_empty());
}

#[test]
fn an_archive_on_another_node_of_a_server_on_a_third_is_the_same() {
    let far = Distant::start(&["--max-binlog-size=1M"], &GRANTS);
    let node = Node::start();
    let bench = node.bench(&far.server, &node.directory("tool"), Compression::Gzip).by_tool(&far.access);
    let (bench, _room) = spooled_apart(&far, bench);
    let stream = bench.stream();
    far.server.sql(&LARGE);
    far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('more')");
    far.caught_up(&bench);
    ended_well(stream);
    bench.compare(&far.server);
    assert!(bench.index().windows().len() == 1 && bench.verify().damaged.is_empty());
}

/// The same once what the tool reads has a place of its own: not with the server's files, and not without room.
fn spooled_apart(far: &Distant, bench: Bench) -> (Bench, Tmpfs) {
    let by = far.server.datadir().parent().unwrap().to_owned();
    let room = Tmpfs::mount("1M");
    let bench = bench.spooling(&by);
    for arguments in [["binlog", "ship"], ["check", "shop"]] {
        let (status, said) = bench.command(&arguments);
        let told = said.contains("what the tool reads would fill") && said.contains("spool = \"/directory\"");
        assert!(!status.success() && told, "{said}");
    }
    let bench = bench.spooling(room.path());
    far.server.sql(&LARGE);
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(3) && said.contains("two of the server's logs need"), "{said}");
    room.grow("128M");
    // Of a run that was killed, whatever it archived.
    let dead = room.path().join(".spool-dead");
    fs::create_dir(&dead).unwrap();
    let (_, said) = bench.command(&["check", "shop"]);
    assert!(said.contains(&format!("what the tool reads goes through {}, ", room.path().display())), "{said}");
    bench.ship().unwrap();
    assert!(!dead.exists() && spools(room.path()).is_empty());
    (bench, room)
}

#[test]
fn a_stream_by_the_tool_goes_on_when_the_server_dies_and_comes_back() {
    let far = Distant::start(&[], &GRANTS);
    let bench = far.bench(Compression::Zstd);
    let stream = bench.stream();
    for _ in 0..2 {
        following(&bench);
        let writers = Writers::start(&far.server, 2);
        std::thread::sleep(Duration::from_millis(600));
        far.server.kill();
        drop(writers);
        far.server.start_again();
        far.server.sql("INSERT INTO shop.t (a) VALUES ('after')");
    }
    far.caught_up(&bench);
    ended_well(stream);
    bench.compare(&far.server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.index().timelines[0].files.len() >= 3);
}

#[test]
fn a_torn_event_is_passed_over_by_the_tool_too() {
    let far = Distant::start(&["--innodb-flush-log-at-trx-commit=1"], &GRANTS);
    far.server.sql("INSERT INTO shop.t (a) VALUES ('before')");
    far.server.kill();
    // As a crash in the middle of a write leaves it.
    let torn = b"\x10\x20\x30\x60\x02\x01\0\0\0\xff\0\0\0\0\0\0\0\0\0 and no more";
    fs::OpenOptions::new().append(true).open(far.server.datadir().join("b.000001")).unwrap().write_all(torn).unwrap();
    far.server.start_again();
    far.server.sql("INSERT INTO shop.t (a) VALUES ('after'); FLUSH BINARY LOGS");
    let bench = far.bench(Compression::Zstd);
    bench.ship().unwrap();
    bench.compare(&far.server);
    let index = bench.index();
    assert_eq!((index.windows().len(), index.timelines[0].files.len()), (1, 3));
    let first = &index.timelines[0].files[0];
    assert_eq!(first.state, State::Closed, "{first:?}");
    // MySQL cuts its file behind the last whole event when it starts.
    let told = first.notes.iter().any(|note| note.contains("tore the event"));
    assert_eq!(told, *IS_MARIADB, "{first:?}");
}

#[test]
fn what_the_server_does_not_send_is_named_and_the_rest_is_archived() {
    let checks = either("--master-verify-checksum=1", "--source-verify-checksum=1");
    let far = Distant::start(&[checks, "--binlog-format=STATEMENT"], &GRANTS);
    for text in ["kept", "bad length", "bad checksum", "bad beginning", "zeros", "whole"] {
        far.server.sql(&format!("INSERT INTO shop.t (a) VALUES ('{text}'); FLUSH BINARY LOGS"));
    }
    let change = |n: u32, change: &dyn Fn(&mut Vec<u8>)| {
        let path = far.server.datadir().join(format!("b.{n:06}"));
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        durable::write(&path, &bytes).unwrap();
    };
    let statement = |bytes: &[u8]| bytes.windows(11).position(|some| some == b"INSERT INTO").unwrap();
    // Of the last event, which names the next file.
    change(2, &|bytes| {
        let at = bytes.len() - (19 + 8 + "b.000003".len() + 4) + 9;
        bytes[at..at + 4].copy_from_slice(&[3, 0, 0, 0]);
    });
    change(3, &|bytes| {
        let at = statement(bytes);
        bytes[at] ^= 1;
    });
    change(4, &|bytes| bytes[0] ^= 1);
    change(5, &|bytes| bytes.extend([0; 4096]));
    let ends = |bench: &Bench| {
        let (status, said) = bench.command(&["binlog", "ship"]);
        assert!(status.code() == Some(12) && said.contains("b.000004 is damaged: at 0 it is no binary log"), "{said}");
        let index = bench.index();
        let of = |file: &LogFile| (file.name.clone(), file.state, file.size);
        // Into the open one the server may write by itself meanwhile.
        let closed = index.timelines[0].files.iter().filter(|file| file.state != State::Open);
        (closed.map(of).collect::<Vec<_>>(), said)
    };
    let by_tool = far.bench(Compression::Zstd);
    let (ends_by_tool, said) = ends(&by_tool);
    for n in [2, 3, 5] {
        assert!(said.contains(&format!("b.00000{n} is damaged: at ")), "{said}");
    }
    assert!(said.contains("the server can't read its own event"), "{said}");
    // Both ways archive the same and find the same damaged.
    let by_files = Bench::new(&far.server, Compression::Zstd);
    assert_eq!(ends_by_tool, ends(&by_files).0);
    let closed = |bench: &Bench| {
        let contents = bench.contents().into_iter().filter(|((_, name), _)| name != "b.000007");
        contents.map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    assert!(closed(&by_tool) == closed(&by_files));
    assert!(by_tool.verify().damaged.is_empty());
    by_tool.ship().unwrap();
    the_newest_file_may_be_damaged_too(&far, &by_tool);
}

/// A stream waits for the next file then, and goes on with that.
fn the_newest_file_may_be_damaged_too(far: &Distant, bench: &Bench) {
    far.server.sql("INSERT INTO shop.t (a) VALUES ('bad'); INSERT INTO shop.t (a) VALUES ('unread')");
    let (name, _) = far.server.log_end();
    let path = far.server.datadir().join(&name);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|some| some == b"'bad'").unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"B", at as u64 + 1).unwrap();
    let stream = bench.stream();
    let told = || if stream.said().contains(&format!("{name} is damaged: at ")) { Ok(()) } else { Err(()) };
    retry::until(SOON, told).unwrap();
    far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('behind')");
    far.caught_up(bench);
    let (status, said) = stream.end();
    assert!(status.success(), "{said}");
    let index = bench.index();
    let [.., damaged, last] = index.timelines[0].files.as_slice() else { panic!("{index:?}") };
    assert!(damaged.state == State::Damaged && last.gap.is_some(), "{index:?}");
}

#[test]
fn what_was_purged_or_reset_before_the_tool_read_it_is_named() {
    let far = Distant::start(&[], &GRANTS);
    let bench = far.bench(Compression::Zstd);
    bench.ship().unwrap();
    for _ in 0..3 {
        far.server.sql("INSERT INTO shop.t (a) VALUES ('lost'); FLUSH BINARY LOGS");
    }
    purge(&far.server, "b.000004");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(12) && said.contains("purged before it was archived"), "{said}");
    assert_eq!(bench.index().windows().len(), 2);
    far.server.sql(&format!("{}; INSERT INTO shop.t (a) VALUES ('new')", reset()));
    let error = bench.ship().unwrap_err();
    assert!(kind_of(&error) == Some(Kind::Gap) && format!("{error:#}").contains("a new timeline begins"), "{error:#}");
    bench.ship().unwrap();
    bench.compare(&far.server);
    assert_eq!(bench.index().timelines.len(), 2);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_stream_by_the_tool_notices_a_reset() {
    let far = Distant::start(&[], &GRANTS);
    let bench = far.bench(Compression::Zstd);
    let stream = bench.stream();
    following(&bench);
    far.caught_up(&bench);
    // Nobody tells a replica of it.
    far.server.sql(&format!("{}; INSERT INTO shop.t (a) VALUES ('new')", reset()));
    let noticed = || if bench.index().timelines.len() == 2 { Ok(()) } else { Err(()) };
    retry::until(SOON, noticed).unwrap();
    far.caught_up(&bench);
    let (status, said) = stream.end();
    assert!(status.success() && said.contains("a new timeline begins"), "{said}");
    bench.compare(&far.server);
}

#[test]
fn what_the_tool_lacks_is_named() {
    let far = Distant::start(&[], &format!("{}, RELOAD", monitor()));
    let bench = far.bench(Compression::Zstd);
    for arguments in [["binlog", "ship"], ["binlog", "stream"], ["check", "shop"]] {
        let (status, said) = bench.command(&arguments);
        assert!(!status.success() && said.contains("GRANT REPLICATION SLAVE ON *.* TO 'far'@"), "{said}");
        assert!(!said.contains("se#cr"), "{said}");
    }
    let error = bench.ship().unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
    assert!(spools(&bench.archive()).is_empty());
    for host in ["localhost", "127.0.0.1"] {
        far.server.sql(&format!("REVOKE {} ON *.* FROM far@'{host}'", monitor()));
    }
    let error = bench.ship().unwrap_err();
    assert!(hints_of(&error)[0].contains(&format!("GRANT {}", monitor())), "{error:#}");
    for host in ["localhost", "127.0.0.1"] {
        far.server.sql(&format!("GRANT {} ON *.* TO far@'{host}'", *GRANTS));
    }
    whom_the_server_does_not_know_is_told_so(&far);
    let (_, said) = bench.command(&["check", "shop"]);
    assert!(
        said.contains(&format!("its binary logs are read by {}", either("mariadb-binlog", "mysqlbinlog"))),
        "{said}"
    );
}

/// MySQL asks each of them for a proof of some kind, so that nobody can tell who is there.
fn whom_the_server_does_not_know_is_told_so(far: &Distant) {
    for n in 0..12 {
        let access = Access { user: Some(format!("nobody{n}")), ..far.access.clone() };
        let error = Bench::new(&far.server, Compression::Zstd).by_tool(&access).ship().unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
        assert!(format!("{error:#}").contains(&format!("refused the login of \"nobody{n}\"")), "{error:#}");
    }
}

fn certificate(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/tls", name].iter().collect()
}

#[test]
fn the_tool_lets_the_server_prove_who_it_is() {
    let of = |name: &str| {
        let options = [("cert", certificate(name)), ("key", certificate("key.pem"))];
        let options = options.map(|(option, path)| format!("--ssl-{option}={}", path.display()));
        let mut far = Distant::start(&options.each_ref().map(String::as_str), &GRANTS);
        far.server.sql("ALTER USER far@localhost REQUIRE SSL; ALTER USER far@'127.0.0.1' REQUIRE SSL");
        far.access.tls = Some(TlsMode::VerifyIdentity);
        far.access.ssl_ca = Some(certificate("authority.pem"));
        far
    };
    let far = of("right.pem");
    let bench = far.bench(Compression::Zstd);
    bench.ship().unwrap();
    bench.compare(&far.server);
    // We would not get so far as to start it.
    for name in ["another-name.pem", "self-signed.pem"] {
        let far = of(name);
        let (given, flavour) = (tempfile::tempdir().unwrap(), either(Flavour::MariaDb, Flavour::MySql));
        let options = far.access.resolve().unwrap().tool_options(flavour).unwrap();
        let tool = program("mariadb-binlog", "mysqlbinlog");
        let tool = tool.args(["--defaults-file=/dev/stdin", "--read-from-remote-server", "--raw"]);
        let to = format!("--result-file={}/", given.path().display());
        let error = tool.args([&to, "b.000001"]).stdin(options.reveal()).run().unwrap_err();
        assert!(error.stderr().unwrap().contains("SSL"), "{name}: {error}");
        assert_eq!(given.path().read_dir().unwrap().count(), 0, "{name}");
        assert_eq!(kind_of(&far.bench(Compression::Zstd).ship().unwrap_err()), Some(Kind::Config), "{name}");
    }
}
