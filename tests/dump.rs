//! Dumps of a real server and their way back, ugly data first.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "dump/accounts.rs"]
mod accounts;
#[path = "dump/bench.rs"]
mod bench;
#[path = "dump/by_hand.rs"]
mod by_hand;
#[path = "dump/cut.rs"]
mod cut;
#[path = "dump/directories.rs"]
mod directories;
#[path = "dump/history.rs"]
mod history;
#[path = "dump/into.rs"]
mod into;
#[path = "dump/killed.rs"]
mod killed;
#[path = "dump/large.rs"]
mod large;
#[path = "dump/own_data.rs"]
mod own_data;
#[allow(dead_code, reason = "binlog.rs uses the rest")]
#[path = "dump/server.rs"]
mod server;

use std::path::Path;

use bench::{Bench, everything, request};
use mysnap::dump::{Compression, Listing, Options, Pattern, Selection};
use mysnap::fault::{Kind, kind_of};
use mysnap::load::{Dump, Request};
use mysnap::store::Catalog;
use mysnap::sys::cancel::Cancel;
use mysnap::sys::{durable, retry};
use server::{IS_MARIADB, Server, either, numbers};

/// Ugly data, of what the server has.
fn ugly() -> &'static str {
    either(include_str!("dump/ugly.sql"), include_str!("dump/ugly_mysql.sql"))
}

/// What a server says of each account of it.
fn accounts(server: &Server) -> String {
    let names: &[&str] = either(
        &["'app'@'%'", "reader"],
        &[
            "'app'@'%'",
            "reader",
            "'zz role'@'localhost'",
            "'noted'@'10.0.0.0/255.255.255.0'",
            "'com`mented'@'%'",
            "''@'localhost'",
        ],
    );
    let grants = names.iter().map(|name| format!("SHOW GRANTS FOR {name}; "));
    let made = names.iter().filter(|_| !*IS_MARIADB).map(|name| format!("SHOW CREATE USER {name}; "));
    let attributes = "SELECT * FROM information_schema.USER_ATTRIBUTES ORDER BY 1, 2;";
    server.sql(&format!(
        "{} {}{}{}",
        either("", "SET print_identified_with_as_hex = ON;"),
        grants.collect::<String>(),
        made.collect::<String>(),
        either("", attributes)
    ))
}

/// What the server's own tool says of a database, history and programs included, without its name. Histograms are
/// made of the rows, and by whoever wants them: no dump of ours has them.
fn told(server: &Server, database: &str) -> String {
    let said = server.tool_dump(database).replace(&format!("`{database}`"), "`DATABASE`");
    // MySQL leaves out the character set of a column until somebody has told it.
    let said = said.replace(" CHARACTER SET utf8mb4 COLLATE ", " COLLATE ");
    let lines: Vec<&str> = said.lines().filter(|line| !line.contains(" UPDATE HISTOGRAM ON ")).collect();
    lines.join("\n")
}

#[test]
fn everything_comes_back_as_it_was() {
    let (server, other) = (Server::start(), Server::start());
    server.sql(ugly());
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        let bench = Bench::new();
        let dumped = bench.dump(&server, &Options { compression, ..everything() }).unwrap();
        assert!(dumped.warnings.iter().any(|text| text.contains("ugly.broken")), "{:?}", dumped.warnings);
        let loaded = bench.load(&server, &Request { new_name: Some("beside".into()), ..request(&["ugly"]) }).unwrap();
        assert_eq!(loaded.databases, ["beside"]);
        assert!(loaded.tables >= 20 && loaded.rows > 5000, "{loaded:?}");
        server.sql("DROP VIEW ugly.broken");
        assert_eq!(told(&server, "beside"), told(&server, "ugly"));
        server.sql("DROP DATABASE beside");
        if compression == Compression::Zstd {
            // Into an empty server, with the accounts.
            let loaded = bench.load(&other, &request(&[])).unwrap();
            assert!(loaded.databases.contains(&"ugly".to_owned()) && loaded.databases.contains(&"second".to_owned()));
            assert_eq!(told(&other, "ugly"), told(&server, "ugly"));
            assert_eq!(told(&other, "second"), told(&server, "second"));
            assert_eq!(accounts(&other), accounts(&server));
            assert!(loaded.warnings.iter().any(|note| note.contains("root")), "{:?}", loaded.warnings);
            let error = bench.load(&other, &request(&[])).unwrap_err();
            assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
        }
        server.sql(
            "CREATE TABLE ugly.gone_soon (a INT); \
                    CREATE VIEW ugly.broken AS SELECT a FROM ugly.gone_soon; DROP TABLE ugly.gone_soon",
        );
    }
}

#[test]
fn one_table_comes_back_beside_the_live_one_or_in_its_place() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(ugly());
    bench.dump(&server, &everything()).unwrap();
    // CHECKSUM TABLE is not the same for equal rows with stored generated columns (MDEV-22943).
    let sum = |table: &str| {
        let row = "CONCAT_WS(',', id, customer, amount, secret, thrice)";
        server.sql(&format!("SELECT COUNT(*), SUM(CRC32({row})) FROM ugly.{table}"))
    };
    let before = sum("orders");
    let one = Request { tables: vec!["orders".into()], ..request(&["ugly"]) };
    let error = bench.load(&server, &one).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Refused));
    assert!(error.to_string().contains("there is a table ugly.orders"), "{error:#}");

    server.sql("DELETE FROM ugly.orders WHERE id > 1");
    bench.load(&server, &Request { new_name: Some("orders_then".into()), ..one.clone() }).unwrap();
    assert_eq!(sum("orders_then"), before);
    assert_eq!(server.sql("SELECT COUNT(*) FROM ugly.orders").trim(), "1");

    // A copy binds nothing: its parents can go.
    assert!(!server.sql("SHOW CREATE TABLE ugly.orders_then").contains("FOREIGN KEY"));
    let meanwhile = |_| {
        let bound = "SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS \
                     WHERE CONSTRAINT_SCHEMA LIKE 'mysnap%'";
        assert_eq!(server.sql(bound).trim(), "0", "what is not in its place binds what is");
    };
    bench.load_until(&server, &Request { replace: true, ..one }, &Cancel::new(), &meanwhile).unwrap();
    assert_eq!(sum("orders"), before);
    // It still belongs to its parent, and has its trigger.
    server.sql_fails("UPDATE ugly.orders SET customer = 4711", "foreign key");
    assert!(server.sql("SHOW TRIGGERS FROM ugly").contains("orders_in"));

    server.sql("DELETE FROM second.small; CREATE TABLE second.later (a INT)");
    bench.load(&server, &Request { replace: true, ..request(&["second"]) }).unwrap();
    assert_eq!(server.sql("SELECT SUM(a) FROM second.small").trim(), "6");
    assert!(!server.sql("SHOW TABLES FROM second").contains("later"), "the whole database gave way");
    assert!(!server.sql("SHOW DATABASES").contains("mysnap_restoring"));
}

#[test]
fn a_view_that_works_comes_back_whatever_the_server_says_of_it() {
    let (server, bench) = (Server::start(), Bench::new());
    // A character set that MySQL wants to be rid of, an account that is gone, a comparison that converts.
    server.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (name VARCHAR(9), d DATE); INSERT INTO t VALUES ('é', '2026-07-01'); \
         CREATE VIEW old AS SELECT CONVERT(name USING utf8mb3) AS n FROM t; \
         CREATE DEFINER='nobody'@'nowhere' VIEW orphan AS SELECT name FROM t; \
         CREATE SQL SECURITY INVOKER VIEW odd AS SELECT name FROM t WHERE d > 20260101 AND d <> name",
    );
    let dumped = bench.dump(&server, &everything()).unwrap();
    assert!(!dumped.warnings.iter().any(|text| text.contains("does not work")), "{:?}", dumped.warnings);
    bench.load(&server, &Request { new_name: Some("beside".into()), ..request(&["shop"]) }).unwrap();
    assert_eq!(server.sql("SHOW FULL TABLES FROM beside WHERE Table_type = 'VIEW'").lines().count(), 3);
}

#[test]
fn a_program_keeps_the_default_collation_that_its_database_had() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(
        "CREATE DATABASE shop COLLATE utf8mb4_bin; USE shop; CREATE TABLE t (a VARCHAR(9)); \
         CREATE FUNCTION login(p VARCHAR(20)) RETURNS INT DETERMINISTIC RETURN p = 'Secret'; \
         CREATE TRIGGER bi BEFORE INSERT ON t FOR EACH ROW SET NEW.a = shop.login(NEW.a); \
         ALTER DATABASE shop COLLATE utf8mb4_general_ci; \
         CREATE FUNCTION later(p VARCHAR(20)) RETURNS INT DETERMINISTIC RETURN p = 'Secret'",
    );
    bench.dump(&server, &everything()).unwrap();
    bench.load(&server, &Request { new_name: Some("beside".into()), ..request(&["shop"]) }).unwrap();
    for database in ["shop", "beside"] {
        assert_eq!(
            server.sql(&format!("SELECT {database}.login('SECRET'), {database}.later('SECRET')")).trim(),
            "0\t1"
        );
    }
    let collations = |database: &str| {
        let of = |what: &str, schema: &str| {
            format!(
                "SELECT DATABASE_COLLATION FROM information_schema.{what} WHERE {schema} = '{database}' ORDER BY 1; "
            )
        };
        let default =
            format!("SELECT @@collation_database FROM (SELECT 1) one; USE {database}; SELECT @@collation_database");
        server.sql(&[of("ROUTINES", "ROUTINE_SCHEMA"), of("TRIGGERS", "TRIGGER_SCHEMA"), default].concat())
    };
    assert_eq!(collations("beside"), collations("shop"));
}

#[test]
fn what_is_gone_after_the_moment_of_a_dump_is_not_passed_over() {
    let server = Server::start();
    let exact = |tables| Listing { tables, exact: true };
    let earlier = |tables| Listing { tables, exact: false };
    for (change, name) in [
        ("DROP TABLE shop.t", "shop.t"),
        ("RENAME TABLE shop.t TO another.t", "shop.t"),
        ("DROP VIEW shop.v", "shop.v"),
        ("DROP DATABASE shop", "shop.t"),
    ] {
        server.sql(
            "DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS another; CREATE DATABASE another; \
             CREATE DATABASE shop; CREATE TABLE shop.t (a INT); CREATE VIEW shop.v AS SELECT 1 AS a",
        );
        let error = Bench::new().dump_after(&server, &everything(), Some(&exact), change).unwrap_err();
        assert!(error.to_string().contains(name) && error.to_string().contains("dropped or renamed"), "{error:#}");
        assert_eq!(kind_of(&error), Some(Kind::Copy));
    }
    let dumped = Bench::new().dump_after(&server, &everything(), Some(&earlier), "DROP DATABASE another").unwrap();
    assert_eq!(dumped.warnings, Vec::<String>::new(), "nothing was in it");
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT); CREATE TABLE shop.left_out (a INT)");
    let change = "DROP TABLE shop.t; CREATE TABLE shop.new (a INT); DROP TABLE shop.left_out";
    let options = Options {
        selection: Selection { include: Vec::new(), exclude: vec!["shop.left_out".parse().unwrap()] },
        ..everything()
    };
    let dumped = Bench::new().dump_after(&server, &options, Some(&earlier), change).unwrap();
    assert_eq!(dumped.warnings.len(), 1, "{:?}", dumped.warnings);
    assert!(dumped.warnings[0].starts_with("shop.t: dropped or renamed while"), "{:?}", dumped.warnings);
}

#[test]
fn an_event_whose_time_has_passed_is_told_and_left_out() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(
        "SET GLOBAL event_scheduler = OFF; CREATE DATABASE shop; USE shop; CREATE TABLE t (a INT); \
         CREATE EVENT once ON SCHEDULE AT NOW() + INTERVAL 2 SECOND DO DO 1; \
         CREATE EVENT ends ON SCHEDULE EVERY 1 SECOND STARTS NOW() ENDS NOW() + INTERVAL 2 SECOND DO DO 1; \
         CREATE EVENT stays ON SCHEDULE AT NOW() + INTERVAL 2 SECOND ON COMPLETION PRESERVE DO DO 1",
    );
    bench.dump(&server, &everything()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    server.sql("DROP DATABASE shop");
    for name in ["then", "shop"] {
        let loaded = bench.load(&server, &Request { new_name: Some(name.into()), ..request(&["shop"]) }).unwrap();
        let of = format!("SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '{name}'");
        assert_eq!(server.sql(&of).trim(), "stays");
        for event in ["once", "ends"] {
            let told = format!("event {name}.{event} is left out: its time has passed");
            assert!(loaded.warnings.iter().any(|text| text.contains(&told)), "{:?}", loaded.warnings);
        }
    }
}

#[test]
fn an_event_beside_the_live_one_does_not_run_and_keeps_its_definer() {
    let (server, bench) = (Server::start(), Bench::new());
    let elsewhere = either("DISABLE ON SLAVE", "DISABLE ON REPLICA");
    server.sql(&format!(
        "SET NAMES utf8mb4; CREATE DATABASE shop; USE shop; \
         CREATE DEFINER='no`body é'@'no%where' EVENT `ti``dy` ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO DO 1; \
         CREATE EVENT elsewhere ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' {elsewhere} DO DO 2"
    ));
    bench.dump(&server, &everything()).unwrap();
    bench.load(&server, &Request { new_name: Some("beside".into()), ..request(&["shop"]) }).unwrap();
    let events = |database: &str| {
        let of = "SELECT EVENT_NAME, DEFINER, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA";
        server.sql(&format!("{of} = '{database}' ORDER BY 1"))
    };
    let before = events("shop");
    assert!(before.contains("no`body é@no%where\tENABLED"), "{before}");
    assert_eq!(events("beside"), before.replace("\tENABLED", "\tDISABLED"));
}

#[test]
fn a_table_that_counts_by_a_sequence_comes_back_where_the_sequence_is() {
    if !*IS_MARIADB {
        println!("MariaDB's alone: MySQL has no sequences");
        return;
    }
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(ugly());
    bench.dump(&server, &everything()).unwrap();
    let rows = server.sql("SELECT * FROM ugly.by_ticket ORDER BY id");
    server.sql("DROP TABLE ugly.by_ticket; DROP SEQUENCE ugly.tickets");
    let one = Request { tables: vec!["by_ticket".into()], ..request(&["ugly"]) };
    let error = bench.load(&server, &one).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Refused));
    let words = "ugly.by_ticket takes a default from sequence ugly.tickets, which is not there";
    assert!(error.to_string().contains(words), "{error:#}");
    server.sql("CREATE SEQUENCE ugly.tickets START WITH 4711");
    bench.load(&server, &one).unwrap();
    assert_eq!(server.sql("SELECT * FROM ugly.by_ticket ORDER BY id"), rows);
    server.sql("INSERT INTO ugly.by_ticket (a) VALUES (3)");
    assert_eq!(server.sql("SELECT id FROM ugly.by_ticket WHERE a = 3").trim(), "4711");
}

#[test]
fn only_what_is_meant_is_dumped() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(ugly());
    let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse::<Pattern>().unwrap()).collect();
    let selection = Selection { include: patterns(&["ugly.ord*", "second"]), exclude: patterns(&["second.s*"]) };
    server.sql("CREATE VIEW second.of_small AS SELECT * FROM second.small; CREATE VIEW second.o AS SELECT 1 AS a");
    let dumped = bench.dump(&server, &Options { selection, ..everything() }).unwrap();
    let about = |view: &str| dumped.warnings.iter().any(|text| text.contains(&format!("the view second.{view} names")));
    assert!(about("of_small") && !about("o"), "{:?}", dumped.warnings);
    server.sql("DROP VIEW second.of_small, second.o");
    let backup = bench.backup();
    let index = Dump::open(&bench.store, &backup).unwrap().index.clone();
    let tables: Vec<String> =
        index.databases.iter().flat_map(|d| d.tables.iter().map(|t| format!("{}.{}", d.name, t.name))).collect();
    assert_eq!(tables, ["second.other", "ugly.orders"]);
    assert_eq!(index.accounts, []);
    let error = bench.load(&server, &request(&["nothing"])).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::NotFound));
}

#[test]
fn a_dump_of_what_is_not_there_is_refused_by_name() {
    let server = Server::start();
    let dump = |include: &[&str]| {
        let bench = Bench::new();
        let include = include.iter().map(|text| text.parse::<Pattern>().unwrap()).collect();
        bench.dump(&server, &Options { selection: Selection { include, exclude: Vec::new() }, ..everything() })?;
        anyhow::Ok(Dump::open(&bench.store, &bench.backup())?.index.accounts.len())
    };
    // A server that is new has its accounts.
    assert!(dump(&[]).unwrap() > 0);
    server.sql("CREATE DATABASE shop; CREATE VIEW shop.v AS SELECT 1 AS a");
    for (include, words) in [
        (&["shop", "shpo"][..], "include names shpo,"),
        (&["shop.orders"], "include names shop.orders,"),
        (&["mysql"], "include names mysql,"),
        (&["log_*"], "nothing of what include names: log_*"),
    ] {
        let error = dump(include).unwrap_err();
        assert!(kind_of(&error) == Some(Kind::Refused) && format!("{error:#}").contains(words), "{error:#}");
    }
    dump(&["shop"]).unwrap();
    dump(&["shop.v"]).unwrap();
}

#[test]
fn what_is_damaged_or_lies_is_not_loaded_and_leaves_nothing() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(ugly());
    bench.dump(&server, &everything()).unwrap();
    let beside = Request { new_name: Some("beside".into()), ..request(&["ugly"]) };
    let damage = |path: &Path| {
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        durable::write(path, &bad).unwrap();
        good
    };
    for file in ["ugly/orders.000001.tsv.zst", "ugly/tables.sql", "index.json"] {
        let good = damage(&bench.stored(file));
        let error = bench.load(&server, &beside).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Verify), "{file}: {error:#}");
        assert!(format!("{error:#}").contains(file), "{error:#}");
        durable::write(&bench.stored(file), &good).unwrap();
        let left = server.sql("SHOW DATABASES");
        assert!(!left.contains("mysnap_restoring") && !left.contains("beside"), "{left}");
    }
    // What a killed load leaves is removed by the next one.
    server.sql("CREATE DATABASE mysnap_restoring_dead; CREATE TABLE mysnap_restoring_dead.a (a INT)");
    let cancel = Cancel::new();
    let error = bench.load_until(&server, &beside, &cancel, &|_| cancel.set(15)).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Cancelled), "{error:#}");
    let left = server.sql("SHOW DATABASES");
    assert!(!left.contains("mysnap_restoring") && !left.contains("beside"), "{left}");
}

#[test]
fn a_server_that_dies_in_the_middle_fails_the_dump() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(&format!(
        "CREATE DATABASE large; USE large; CREATE TABLE large.t (id INT AUTO_INCREMENT PRIMARY KEY, x VARCHAR(1200)); \
         INSERT INTO large.t (x) SELECT REPEAT(CHAR(97 + seq % 26), 1200) FROM {}",
        numbers(80_000)
    ));
    let killed = std::thread::scope(|scope| {
        let dump = scope.spawn(|| bench.dump(&server, &everything()));
        let reading = "SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE '%FROM `large`.`t`' AND ID <> CONNECTION_ID()";
        let is_reading = || if server.sql(reading).is_empty() { Err(()) } else { Ok(()) };
        retry::until(std::time::Duration::from_secs(60), is_reading).unwrap();
        server.kill();
        dump.join().unwrap()
    });
    let error = killed.unwrap_err();
    assert!(format!("{error:#}").contains("large.t"), "{error:#}");
    assert!(Catalog::read(&bench.store, None).unwrap().items.is_empty());
}
