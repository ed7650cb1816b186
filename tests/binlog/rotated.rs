//! A log that is rotated while a large transaction is at work, and archived meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysnap::dump::Compression;
use mysql::prelude::Queryable as _;

use crate::bench::Bench;
use crate::distant::{Distant, GRANTS, ended_well, following};
use crate::server::numbers;

#[test]
fn a_log_that_is_rotated_in_the_middle_of_a_large_transaction_is_archived_byte_for_byte() {
    let far = Distant::start(&[], &GRANTS);
    let by_files = Bench::new(&far.server, Compression::Zstd);
    let by_tool = far.bench(Compression::Zstd);
    let streams = [&by_files, &by_tool].map(|bench| (bench, bench.stream()));
    following(&by_tool);
    let options =
        mysql::OptsBuilder::new().socket(far.server.socket().to_str()).user(Some("root")).db_name(Some("shop"));
    let mut session = mysql::Conn::new(options).unwrap();
    let rows = format!("INSERT INTO shop.t (a) SELECT REPEAT('x', 250) FROM {}", numbers(9000));
    session.query_drop("BEGIN").unwrap();
    for _ in 0..3 {
        session.query_drop(&rows).unwrap();
        // What others write meanwhile is logged before it.
        far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('between')");
    }
    let (began_in, _) = far.server.log_end();
    let is_written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_written.load(Ordering::SeqCst) {
                far.server.sql("FLUSH BINARY LOGS");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        let committed = session.query_drop("COMMIT");
        is_written.store(true, Ordering::SeqCst);
        committed.unwrap();
    });
    far.server.sql("INSERT INTO shop.t (a) VALUES ('after')");
    assert!(far.server.log_end().0 > began_in);
    for (bench, stream) in streams {
        far.caught_up(bench);
        ended_well(stream);
        assert!(bench.compare(&far.server) > 4);
        let index = bench.index();
        // All of it is in one file, whenever the others were begun.
        let large = index.timelines[0].files.iter().filter(|file| file.size > 6_000_000).count();
        assert_eq!((index.windows().len(), large), (1, 1), "{index:?}");
        assert!(bench.verify().damaged.is_empty());
    }
}
