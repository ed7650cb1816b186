//! What the loss of the database host costs: the time from an acknowledged commit until it is durable in the archive.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use mysnap::dump::Compression;
use mysnap::server::BinlogPosition;
use mysnap::sys::retry;
use mysql::prelude::Queryable as _;

use crate::bench::{Bench, Writers};
use crate::elsewhere::Node;
use crate::server::{Server, log_status};

/// A commit: when it was acknowledged, and where the log ended then.
type Commit = (Timestamp, BinlogPosition);

#[test]
#[ignore = "measures for a minute and a half"]
fn the_loss_window_under_load() {
    const LASTS: Duration = Duration::from_secs(40);
    let options = ["--max-binlog-size=64M", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"];
    let server = Server::start_with(&options);
    server.sql(crate::TABLE);
    let node = Node::start();
    let here = Bench::new(&server, Compression::Zstd);
    let there = node.bench(&server, &node.directory("window"), Compression::Zstd);
    for (name, bench) in [("", &here), ("_ssh", &there)] {
        bench.each("1s");
        let stream = bench.stream_told();
        let follows = || if bench.archive().join("pulse.json").exists() { Ok(()) } else { Err(()) };
        retry::until(Duration::from_secs(60), follows).unwrap();
        let writers = Writers::start(&server, 2);
        let commits = commits(&server, LASTS);
        drop(writers);
        std::thread::sleep(Duration::from_secs(3));
        let (status, said) = stream.end();
        assert!(status.success(), "{said}");
        let mut windows: Vec<i64> = windows(&commits, &durable(&said));
        windows.sort_unstable();
        let (median, worst) = (windows[windows.len() / 2], windows[windows.len() - 1]);
        println!("table: {} commits, the last one at {:?}", commits.len(), commits.last().unwrap().1);
        println!("table: result binlog_loss_window{name}_median_ms {median}");
        println!("table: result binlog_loss_window{name}_worst_ms {worst}");
        assert!(commits.len() > 100 && worst < 20_000, "{windows:?}");
    }
}

/// What one more client commits meanwhile.
fn commits(server: &Server, lasts: Duration) -> Vec<Commit> {
    let options = mysql::OptsBuilder::new().socket(server.socket().to_str()).user(Some("root"));
    let mut session = mysql::Conn::new(options).unwrap();
    let (end, mut commits) = (Instant::now() + lasts, Vec::new());
    while Instant::now() < end {
        session.query_drop("INSERT INTO shop.t (a) VALUES ('counted')").unwrap();
        let acknowledged = Timestamp::now();
        let row: mysql::Row = session.query_first(log_status()).unwrap().unwrap();
        commits.push((acknowledged, BinlogPosition { file: row.get(0).unwrap(), offset: row.get(1).unwrap() }));
        std::thread::sleep(Duration::from_millis(37));
    }
    commits
}

/// Until where the archive was durable, and when, as the stream's log tells.
fn durable(said: &str) -> Vec<Commit> {
    let told = said.lines().filter(|line| line.contains("durable up to "));
    let read = |line: &str| {
        let (file, offset) = line.split("durable up to ").nth(1)?.trim().split_once(':')?;
        let at = line.split_whitespace().next()?.parse().ok()?;
        Some((at, BinlogPosition { file: file.to_owned(), offset: offset.parse().ok()? }))
    };
    told.map(|line| read(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// In milliseconds. Where the log ended when that was asked lies behind the commit: no window is told too short.
fn windows(commits: &[Commit], durable: &[Commit]) -> Vec<i64> {
    let has = |end: &BinlogPosition, commit: &BinlogPosition| (&end.file, end.offset) >= (&commit.file, commit.offset);
    let window = |(at, place): &Commit| {
        let (then, _) = durable.iter().find(|(_, end)| has(end, place)).unwrap_or_else(|| panic!("{place:?} is lost"));
        i64::try_from(then.duration_since(*at).as_millis()).unwrap().max(0)
    };
    commits.iter().map(window).collect()
}
