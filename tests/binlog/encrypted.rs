//! Archives of servers that encrypt their binary logs, all of the time or some of it.

use std::fs;

use mysnap::dump::Compression;
use mysnap::sys::retry;

use crate::LARGE;
use crate::bench::{Bench, Stream, Tmpfs, Writers, are_checkpoints};
use crate::distant::{Distant, GRANTS, SOON, ended_well, following, tools};
use crate::elsewhere::Node;
use crate::keys::Keys;
use crate::purge::purge;
use crate::server::{IS_MARIADB, either, program};

/// A server that encrypts its log, and its keys.
fn encrypting() -> (Distant, Keys) {
    let keys = Keys::new();
    // What was written is in the log too.
    let told = either("--binlog-annotate-row-events=1", "--binlog-rows-query-log-events=1");
    let start = |options: &[&str]| keys.server(&[options, &["--max-binlog-size=1M", told]].concat());
    let far = Distant::started(start, &GRANTS);
    (far, keys)
}

#[test]
fn increments_are_made_of_what_the_tool_archived_with_a_stream_and_without() {
    let (far, _keys) = encrypting();
    let bench = Bench::new(&far.server, Compression::Zstd);
    let to = bench.archive().with_file_name("backups");
    bench.configure(&format!(
        "[job.often]\nto = {to:?}\nmethod = \"dump\"\nsource = \"live\"\nincremental = \"binlog\"\n"
    ));
    let backup = || {
        far.server.sql("INSERT INTO shop.t (a) VALUES ('more')");
        let (status, said) = bench.command(&["backup", "often"]);
        assert!(status.success(), "{said}");
        said
    };
    assert!(backup().contains("dump"));
    let alone = backup();
    let stream = bench.stream();
    following(&bench);
    let beside = backup();
    ended_well(stream);
    for said in [alone, beside] {
        assert!(said.contains("increment"), "{said}");
    }
    let (_, listed) = bench.command(&["list", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let manifests: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["manifest"]).collect();
    assert!(manifests.len() == 3 && manifests[..2].iter().all(|one| one["increment"].is_object()), "{listed}");
    let (status, said) = bench.command(&["verify", manifests[0]["id"].as_str().unwrap()]);
    assert!(status.success(), "{said}");
}

#[test]
fn an_encrypted_log_is_archived_as_the_server_decrypts_it() {
    let (far, _keys) = encrypting();
    let bench = far.bench(Compression::Zstd).by_itself();
    let (_, said) = bench.command(&["check", "shop"]);
    let setting = either("encrypt_binlog", "binlog_encryption");
    assert!(said.contains(&format!("the server encrypts its binary log ({setting} is on)")), "{said}");
    let writers = Writers::start(&far.server, 2);
    bench.ship().unwrap();
    let stream = bench.stream();
    following(&bench);
    far.server.sql(&LARGE);
    drop(writers);
    far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('behind the rotation')");
    far.caught_up(&bench);
    ended_well(stream);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
    is_what_the_tool_gives(&far, &bench);
    let (status, found) = bench.command(&["binlog", "find", "--text", "behind the rotation"]);
    assert!(status.success() && found.contains("INSERT INTO shop.t"), "{found}");
    a_log_that_is_encrypted_no_more_goes_on(&far, &bench);
}

/// The file in which the archive ends is encrypted as before, and those behind it are not.
fn a_log_that_is_encrypted_no_more_goes_on(far: &Distant, bench: &Bench) {
    far.server.kill();
    far.server.start_again_with(&[either("--encrypt-binlog=0", "--binlog-encryption=OFF")]);
    far.server.sql("INSERT INTO shop.t (a) VALUES ('in the clear'); FLUSH BINARY LOGS");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && said.contains("the server encrypted its binary log as far as b.0000"), "{said}");
    far.server.sql("INSERT INTO shop.t (a) VALUES ('by its files'); FLUSH BINARY LOGS");
    let dead = bench.archive().join(".spool-dead");
    fs::create_dir(&dead).unwrap();
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && !said.contains("binary logs are read by") && !dead.exists(), "{said}");
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
    for text in ["behind the rotation", "in the clear", "by its files"] {
        let (status, found) = bench.command(&["binlog", "find", "--text", text]);
        assert!(status.success() && found.contains("INSERT INTO shop.t"), "{text}: {found}");
    }
}

/// MariaDB needs a restart for that. MySQL begins another file.
fn encrypts(far: &Distant, is_on: bool) {
    if *IS_MARIADB {
        far.server.kill();
        far.server.start_again_with(&[&format!("--encrypt-binlog={}", u8::from(is_on))]);
    } else {
        far.server.sql(&format!("SET GLOBAL binlog_encryption = {is_on}"));
    }
}

#[test]
fn a_stream_goes_on_whenever_the_server_begins_or_ends_to_encrypt_its_log() {
    let (far, _keys) = encrypting();
    let bench = far.bench(Compression::Zstd).by_itself();
    let stream = streamed_by_its_files(&far, &bench);
    for (n, is_on) in [true, false, true].into_iter().enumerate() {
        encrypts(&far, is_on);
        for text in [format!("first {n}"), format!("second {n}")] {
            far.server.sql(&format!("INSERT INTO shop.t (a) VALUES ('{text}'); FLUSH BINARY LOGS"));
            far.caught_up(&bench);
        }
    }
    let said = ended_well(stream);
    assert_eq!((bench.index().timelines.len(), bench.index().windows().len()), (1, 1), "{said}");
    assert!(bench.verify().damaged.is_empty());
    for text in (0..3).flat_map(|n| [format!("first {n}"), format!("second {n}")]) {
        let (status, found) = bench.command(&["binlog", "find", "--text", &text]);
        assert!(status.success() && found.contains("INSERT INTO shop.t"), "{text}: {found}");
    }
    one_that_may_read_files_alone_says_so(&far);
}

/// A stream of a server none of whose logs is encrypted any more.
fn streamed_by_its_files(far: &Distant, bench: &Bench) -> Stream {
    encrypts(far, false);
    far.server.sql("FLUSH BINARY LOGS");
    let first = far.server.log_end().0;
    purge(&far.server, &first);
    let stream = bench.stream();
    far.caught_up(bench);
    assert!(tools(bench).is_empty());
    stream
}

/// Nothing is missing once it may do otherwise; the archive is on another node.
fn one_that_may_read_files_alone_says_so(far: &Distant) {
    let (node, room) = (Node::start(), Tmpfs::mount("64M"));
    let bench = node.bench(&far.server, &node.directory("files"), Compression::Zstd).spooling(room.path());
    ended_well(streamed_by_its_files(far, &bench));
    bench.reconfigure("compression", "engine = \"files\"\ncompression");
    let stream = bench.stream();
    far.server.sql("INSERT INTO shop.t (a) VALUES ('by files')");
    far.caught_up(&bench);
    encrypts(far, true);
    far.server.sql("INSERT INTO shop.t (a) VALUES ('encrypted'); FLUSH BINARY LOGS");
    let told = || if stream.said().contains("is on): its files can't be read") { Ok(()) } else { Err(stream.said()) };
    retry::until(SOON, told).unwrap();
    ended_well(stream);
    bench.reconfigure("engine = \"files\"\n", "");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && bench.index().windows().len() == 1, "{said}");
    assert!(bench.verify().damaged.is_empty());
}

/// Each archived file is as long as the server's, and what the server hands out decrypted.
fn is_what_the_tool_gives(far: &Distant, bench: &Bench) {
    let given = tempfile::tempdir().unwrap();
    let listed = far.server.sql("SHOW BINARY LOGS");
    let contents = bench.contents();
    assert!(listed.lines().count() > 2 && contents.len() == listed.lines().count(), "{listed}");
    for ((_, name), here) in contents {
        let socket = format!("--socket={}", far.server.socket().display());
        let to = format!("--result-file={}/", given.path().display());
        let tool = program("mariadb-binlog", "mysqlbinlog").args(["--no-defaults", "-uroot", "-R", "--raw"]);
        tool.args([&socket, &to, &name]).run().unwrap();
        let there = fs::read(given.path().join(&name)).unwrap();
        // Into the open one the server may write by itself meanwhile.
        let (same, more) = there.split_at(here.len());
        assert!(same == here && are_checkpoints(more), "{name} differs");
        // MySQL tells how long its encrypted file is, which begins with what it is encrypted by.
        let length = format!("{name}\t{}", here.len() + either(0, 512));
        let listed = listed.lines().any(|line| line.trim_end_matches("\tYes") == length);
        assert!(listed || !more.is_empty(), "{name} is not as long as the server's");
        assert!(fs::read(far.server.datadir().join(&name)).unwrap() != here, "{name} is not encrypted");
    }
}
