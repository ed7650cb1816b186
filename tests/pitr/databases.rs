//! Databases taken out of a server that was brought to a point, and loaded into the running one.

use std::sync::PoisonError;

use crate::bench::Bench;
use crate::server::Server;
use crate::{KILLS, place_before};

const ROWS: &str = "SELECT 'a', id, x FROM a.t UNION ALL SELECT 'b', id, x FROM b.t ORDER BY 1, 2";

#[test]
fn statements_that_name_another_database_come_back_in_the_one_that_they_changed() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1", "--binlog-format=STATEMENT"]);
    for database in ["a", "b", "aside"] {
        server.sql(&format!(
            "CREATE DATABASE {database}; CREATE TABLE {database}.t (id INT PRIMARY KEY, x INT); \
             INSERT INTO {database}.t VALUES (1, 10)"
        ));
    }
    let bench = Bench::new(&server);
    bench.backup();
    // A filter of the log by the database that is in use would miss each of these.
    server.sql(
        "USE a; INSERT INTO b.t VALUES (2, 20); UPDATE b.t, a.t SET b.t.x = b.t.x + a.t.x WHERE b.t.id = a.t.id; \
         USE b; INSERT INTO a.t SELECT id + 1, x + 1 FROM b.t; DELETE FROM a.t WHERE id = 1; \
         USE aside; INSERT INTO a.t VALUES (4, 40)",
    );
    let then = server.sql(ROWS);
    assert_eq!(then, "a\t2\t21\na\t3\t21\na\t4\t40\nb\t1\t20\nb\t2\t20\n");
    server.sql("USE aside; DROP TABLE b.t; DELETE FROM a.t; INSERT INTO aside.t VALUES (2, 0)");
    bench.ship();
    let (place, scratch) = (place_before(&bench, "drop"), bench.at("").display().to_string());
    let wanted = ["restore", "--before", &place, "--scratch", &scratch];
    let said = bench.works(&[&wanted[..], &["--database", "b", "--as", "b_then"]].concat());
    assert!(said.contains("limits:   5 changes are logged as statements"), "{said}");
    bench.works(&[&wanted[..], &["--database", "a", "--as", "a_then"]].concat());
    let beside = ROWS.replace("a.t", "a_then.t").replace("b.t", "b_then.t");
    assert_eq!(server.sql(&beside), then);
    // What was there stays as it is until it is told to give way.
    let both = [&wanted[..], &["--database", "a", "--database", "b"]].concat();
    bench.fails(&both, 3, &["a"]);
    assert_eq!(server.sql("SELECT COUNT(*) FROM a.t"), "0\n");
    bench.works(&[&both[..], &["--replace", "--yes"]].concat());
    assert_eq!(server.sql(ROWS), then);
    assert_eq!(server.sql("SELECT id, x FROM aside.t ORDER BY id"), "1\t10\n2\t0\n");
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
}
