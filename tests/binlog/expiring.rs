//! Removing from an archive on another node, under a stream at work.

use std::time::Duration;

use mysnap::binlog::expire::{self, Holder};
use mysnap::dump::Compression;
use mysnap::id::RunId;
use mysnap::server::BinlogPosition;
use mysnap::sys::{clock, retry};

use crate::TABLE;
use crate::elsewhere::Node;
use crate::server::Server;

#[test]
fn what_no_backup_needs_goes_from_another_node_too() {
    let (server, node) = (Server::start(), Node::start());
    server.sql(TABLE);
    let bench = node.bench(&server, &node.directory("to"), Compression::Zstd);
    for _ in 0..3 {
        server.sql("INSERT INTO shop.t (a) VALUES ('before'); FLUSH BINARY LOGS");
    }
    bench.ship().unwrap();
    let index = bench.index();
    let (timeline, last) = (&index.timelines[0], bench.end().file);
    let holder = Holder {
        id: RunId::new(clock::now()),
        server: Some(timeline.server.key.clone()),
        begin: clock::now(),
        binlog: Some(BinlogPosition { file: last.clone(), offset: 4 }),
        proved: true,
    };
    // The times of events are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let plan = expire::plan(&index, &[holder], Duration::from_millis(1), clock::now());
    assert_eq!(plan.count(), timeline.files.len() - 1, "{plan:?}");
    let gone = bench.stored(&format!("{}.zst", timeline.files[0].name));
    assert!(gone.exists());

    let streaming = bench.stream();
    // Until the stream has what the server does now.
    let streamed = |statements: &str| {
        let before = bench.end();
        server.sql(statements);
        let goes_on = || if bench.end() == before { Err("the stream does not go on") } else { Ok(()) };
        retry::until(Duration::from_secs(60), goes_on).unwrap();
    };
    streamed("INSERT INTO shop.t (a) VALUES ('meanwhile')");
    expire::execute(&bench.elsewhere_home(), &plan).unwrap();
    assert!(!gone.exists());
    streamed("INSERT INTO shop.t (a) VALUES ('after'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('later')");
    let (status, said) = streaming.end();
    assert_eq!(status.code(), Some(0), "{said}");
    bench.ship().unwrap();
    assert_eq!(bench.index().timelines[0].files[0].name, last);
    let report = bench.verify();
    assert!(report.damaged.is_empty() && report.gaps.is_empty(), "{report:?}");
    // The configuration may ask for it. Without a backup everything stays.
    bench.reconfigure("sync_interval", "binlog_keep = \"1h\"\nsync_interval");
    let (status, said) = bench.command(&["expire", "shop", "--yes"]);
    assert!(status.success() && said.contains("no proved backup stands in the newest window"), "{said}");
}
