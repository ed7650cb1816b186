//! Loads that are killed, before each of their statements: what is left is never taken for whole, and the same load
//! again finishes it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::load::Request;
use mysnap::sys::retry;

use crate::bench::{Bench, everything, request};
use crate::cut::Cut;
use crate::server::{Server, either};
use crate::told;

/// Long enough for a server to see that a client is gone.
const GONE: Duration = Duration::from_secs(60);

/// A little of everything that follows tables into their place.
fn shop() -> String {
    let tables = "CREATE DATABASE shop; USE shop; \
        CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(20)); \
        INSERT INTO customers VALUES (1, 'a'), (2, 'b'); \
        CREATE TABLE orders (id INT PRIMARY KEY, customer INT, \
            CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id)); \
        INSERT INTO orders VALUES (1, 1), (2, 2), (3, 1); \
        CREATE TABLE counted (n INT); \
        CREATE VIEW names AS SELECT name FROM customers; \
        CREATE TRIGGER more AFTER INSERT ON orders FOR EACH ROW INSERT INTO counted VALUES (NEW.id); \
        CREATE FUNCTION twice(a INT) RETURNS INT DETERMINISTIC RETURN 2 * a; \
        CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM counted; \
        CREATE USER app@localhost; GRANT SELECT ON shop.* TO app@localhost;";
    let sequence = "CREATE SEQUENCE tickets; CREATE TABLE numbered (id BIGINT DEFAULT NEXTVAL(tickets) PRIMARY KEY); \
        INSERT INTO numbered VALUES (1), (2);";
    format!("{tables} {}", either(sequence, ""))
}

/// Of a statement what is done to whom.
fn begins(statement: &str) -> String {
    statement.chars().take(60).collect()
}

/// Kills a load before its statement number 0, 1, 2, … until one comes to its end; `look` what each has left.
fn kill_before_each(server: &Server, bench: &Bench, request: &Request, mut look: impl FnMut(&str)) -> usize {
    for number in 0.. {
        let (mut count, at) = (0, Arc::new(Mutex::new(String::new())));
        let noted = Arc::clone(&at);
        let cut = Cut::before(server, move |statement| {
            count += 1;
            *noted.lock().unwrap() = begins(statement);
            count > number
        });
        let loaded = bench.load_by(server, &cut.address(server), request);
        if !cut.is_cut() {
            loaded.unwrap();
            return number;
        }
        loaded.unwrap_err();
        wait_until_gone(server);
        look(&at.lock().unwrap());
    }
    unreachable!("a load has an end")
}

/// A server lets go of what a client held when it sees that it is gone.
fn wait_until_gone(server: &Server) {
    let is_free = || (server.sql("SELECT IS_FREE_LOCK('mysnap restore')").trim() == "1").then_some(()).ok_or(());
    retry::until(GONE, is_free).unwrap();
}

fn has(server: &Server, database: &str) -> bool {
    server.sql("SHOW DATABASES").lines().any(|line| line == database)
}

fn nothing_is_aside(server: &Server) {
    assert!(!server.sql("SHOW DATABASES").contains("mysnap_restoring"), "{}", server.sql("SHOW DATABASES"));
}

#[test]
fn a_load_that_is_killed_anywhere_is_known_as_unfinished_and_the_next_one_finishes_it() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(&shop());
    bench.dump(&server, &everything()).unwrap();
    let whole = told(&server, "shop");
    let beside = Request { new_name: Some("beside".into()), workers: 1, ..request(&["shop"]) };
    // Under another name some of it is not as it was, the same each time.
    bench.load(&server, &beside).unwrap();
    let expected = told(&server, "beside");
    for what in ["of_customer", "VIEW", "TRIGGER", "FUNCTION", "EVENT"] {
        assert!(expected.contains(what), "{what} in {expected}");
    }
    server.sql("DROP DATABASE beside");
    let mut seen_half = 0;
    let count = kill_before_each(&server, &bench, &beside, |at| {
        let is_whole = has(&server, "beside") && told(&server, "beside") == expected;
        let plan = bench.plan(&server, &beside);
        if has(&server, "beside") && !is_whole {
            let plan = plan.unwrap_or_else(|error| panic!("killed before {at}: {error:#}"));
            let warned = plan.warnings.iter().any(|text| text.contains("database beside was not finished"));
            assert!(warned && plan.destroys, "killed before {at}: {plan:?}");
            seen_half += 1;
            // Neither does a look that is about another database keep it back, or remove it.
            let other = Request { new_name: Some("other".into()), ..beside.clone() };
            let warnings = bench.plan(&server, &other).unwrap().warnings;
            let named = warnings.iter().any(|text| text.contains("database beside was not finished"));
            assert!(named, "killed before {at}: {warnings:?}");
        }
        if !is_whole {
            bench.load(&server, &beside).unwrap_or_else(|error| panic!("killed before {at}: {error:#}"));
            nothing_is_aside(&server);
        }
        assert_eq!(told(&server, "beside"), expected, "killed before {at}");
        server.sql("DROP DATABASE beside");
    });
    assert!(count > 30 && seen_half > 5, "{count} statements, half of it {seen_half} times");
    assert_eq!(told(&server, "shop"), whole);
}

#[test]
fn a_killed_load_in_the_place_of_a_live_table_gives_it_back_the_next_time() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(&shop());
    bench.dump(&server, &everything()).unwrap();
    let whole = told(&server, "shop");
    let orders = Request { tables: vec!["orders".into()], replace: true, workers: 1, ..request(&["shop"]) };
    let unasked = Request { replace: false, ..orders.clone() };
    let mut seen_half = 0;
    kill_before_each(&server, &bench, &orders, |at| {
        let is_whole = told(&server, "shop") == whole;
        if !is_whole {
            let warnings = bench.plan(&server, &orders).unwrap().warnings;
            let named = warnings.iter().any(|text| text.contains("table shop.orders was not finished"));
            assert!(named, "killed before {at}: {warnings:?}");
            seen_half += 1;
            // It is nobody's any more: the same again needs no leave. Another table of the database does.
            let other = Request { tables: vec!["customers".into()], ..unasked.clone() };
            bench.load(&server, &other).unwrap_err();
            bench.load(&server, &unasked).unwrap_or_else(|error| panic!("killed before {at}: {error:#}"));
            nothing_is_aside(&server);
        }
        assert_eq!(told(&server, "shop"), whole, "killed before {at}");
    });
    assert!(seen_half > 2, "{seen_half}");
    nothing_is_aside(&server);
}

#[test]
fn a_load_that_is_killed_between_thousands_of_tables_is_known_as_unfinished() {
    const TABLES: u32 = 1001;
    let (server, bench) = (Server::start(), Bench::new());
    let tables = (0..TABLES).map(|n| format!("CREATE TABLE many.t{n} (a INT) ENGINE=MyISAM;"));
    server.sql(&format!("CREATE DATABASE many; {}", tables.collect::<String>()));
    bench.dump(&server, &everything()).unwrap();
    server.sql("DROP DATABASE many");
    let many = request(&["many"]);
    let mut renames = 0;
    let cut = Cut::before(&server, move |statement| {
        renames += u32::from(statement.starts_with("RENAME TABLE"));
        renames == 2
    });
    bench.load_by(&server, &cut.address(&server), &many).unwrap_err();
    assert!(cut.is_cut());
    let count = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'many'";
    assert_eq!(server.sql(count).trim(), "1000");
    let warnings = bench.plan(&server, &many).unwrap().warnings;
    assert!(warnings.iter().any(|text| text.contains("database many was not finished")), "{warnings:?}");
    bench.load(&server, &many).unwrap();
    assert_eq!(server.sql(count).trim(), TABLES.to_string());
    nothing_is_aside(&server);
}

#[test]
fn what_fails_behind_the_move_is_told_and_done_anew_when_its_cause_is_gone() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(&shop());
    server.sql("CREATE DATABASE elsewhere; CREATE TABLE elsewhere.t (id INT)");
    server.sql("CREATE VIEW shop.of_both AS SELECT name FROM shop.customers JOIN elsewhere.t USING (id)");
    bench.dump(&server, &everything()).unwrap();
    server.sql("DROP DATABASE elsewhere");
    let beside = Request { new_name: Some("beside".into()), ..request(&["shop"]) };
    let error = bench.load(&server, &beside).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("the restore of beside is not finished") && said.contains("beside.of_both"), "{said}");
    let hint = hints_of(&error).join("; ");
    assert!(hint.contains("run it again") && hint.contains("complete in mysnap_restoring_"), "{hint}");
    bench.load(&server, &beside).unwrap_err();
    server.sql("CREATE DATABASE elsewhere; CREATE TABLE elsewhere.t (id INT)");
    bench.load(&server, &beside).unwrap();
    assert_eq!(server.sql("SELECT COUNT(*) FROM beside.of_both").trim(), "0");
    nothing_is_aside(&server);
}

#[test]
fn a_database_that_somebody_makes_anew_after_a_killed_load_gives_way_to_replace_alone() {
    let (server, bench) = (Server::start(), Bench::new());
    let parent = "CREATE DATABASE small; CREATE TABLE small.parent (id INT PRIMARY KEY)";
    server.sql(&format!(
        "{parent}; CREATE TABLE small.child (id INT PRIMARY KEY, \
         CONSTRAINT of_parent FOREIGN KEY (id) REFERENCES small.parent (id))"
    ));
    bench.dump(&server, &everything()).unwrap();
    server.sql("DROP DATABASE small");
    let small = request(&["small"]);
    let cut = Cut::before(&server, |statement| statement.starts_with("ALTER TABLE"));
    bench.load_by(&server, &cut.address(&server), &small).unwrap_err();
    assert!(cut.is_cut() && bench.plan(&server, &small).is_ok(), "what is half done gives way");
    wait_until_gone(&server);

    server.sql(&format!("DROP DATABASE small; {parent}; CREATE TABLE small.mine AS SELECT 1 AS a"));
    let error = bench.load(&server, &small).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Refused), "{error:#}");
    assert!(error.to_string().contains("there is a database \"small\", with 2 tables and views"), "{error:#}");
    assert_eq!(server.sql("SELECT a FROM small.mine").trim(), "1");

    let replace = Request { replace: true, ..small };
    let warnings = bench.plan(&server, &replace).unwrap().warnings;
    let told_of = |what| warnings.iter().any(|text| text.contains(what));
    assert!(told_of("database small was not finished") && told_of("put there since is lost"), "{warnings:?}");
    bench.load(&server, &replace).unwrap();
    assert!(server.sql("SHOW CREATE TABLE small.child").contains("of_parent"));
    assert!(!server.sql("SHOW TABLES FROM small").contains("mine"));
    nothing_is_aside(&server);
}
