//! What another server has not is refused by name, and nothing is changed.

use mysnap::fault::{Kind, kind_of};
use mysnap::load::Request;
use mysnap::sys::cancel::Cancel;

use crate::bench::{Bench, everything, request};
use crate::server::Server;

/// What is made in a database of its own, and what the refusal says of it. `DB` stands for the database.
type Case = (&'static str, &'static str);

const NOT_OF_MYSQL: [Case; 14] = [
    ("CREATE TABLE t (a VARCHAR(9)) COLLATE utf8mb4_uca1400_ai_ci", "collation utf8mb4_uca1400_ai_ci (DB.t)"),
    ("CREATE TABLE t (a UUID)", "type uuid (DB.t)"),
    ("CREATE TABLE t (a INET6, b INET4)", "type inet4 (DB.t); type inet6 (DB.t)"),
    ("CREATE SEQUENCE s;\nCREATE TABLE t (a INT DEFAULT NEXTVAL(s))", "sequences (DB.t, DB.s)"),
    ("CREATE TABLE t (a INT) WITH SYSTEM VERSIONING", "system versioning (DB.t)"),
    ("CREATE TABLE t (a DATE, b DATE, PERIOD FOR p (a, b))", "periods of time (DB.t)"),
    ("CREATE TABLE t (a INT) ENGINE=Aria", "engine Aria (DB.t)"),
    ("CREATE TABLE t (a VECTOR(3) NOT NULL, VECTOR INDEX (a))", "indexes of vectors (DB.t)"),
    ("SET sql_mode = 'ORACLE';\nCREATE PROCEDURE p AS BEGIN SELECT 'a' || 'b'; END", "sql_mode ORACLE (routine DB.p)"),
    // Only MySQL knows that it does not.
    ("CREATE TABLE t (a BLOB UNIQUE)", "table DB.t: BLOB/TEXT column 'a' used in key specification"),
    ("CREATE TABLE t (a INT PRIMARY KEY) ENGINE=MyISAM PARTITION BY HASH (a) PARTITIONS 2", "table DB.t: "),
    ("CREATE VIEW v AS SELECT NVL2(1, 2, 3) AS a", "view DB.v: FUNCTION DB.nvl2 does not exist"),
    (
        "CREATE FUNCTION f() RETURNS VARCHAR(9) COLLATE utf8mb4_uca1400_ai_ci DETERMINISTIC RETURN 'a'",
        "routine DB.f: Unknown collation",
    ),
    (
        "CREATE TABLE t (a INT);\nCREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW FOR i IN 1..2 DO SET @a = i; END FOR",
        "trigger DB.tr: ",
    ),
];

const NOT_OF_MARIADB: [Case; 7] = [
    ("CREATE TABLE t (a VARCHAR(9), KEY f ((LOWER(a))))", "indexes on expressions (DB.t)"),
    ("CREATE TABLE t (a JSON, KEY m ((CAST(a->'$.x' AS UNSIGNED ARRAY))))", "indexes on expressions (DB.t)"),
    ("CREATE TABLE t (a TEXT, FULLTEXT KEY (a) WITH PARSER ngram)", "full-text parsers of MySQL (DB.t)"),
    ("CREATE TABLE t (a VARCHAR(9) CHARACTER SET gb18030)", "character set gb18030 (DB.t)"),
    ("CREATE TABLE t (a VARCHAR(9)) COLLATE utf8mb4_ja_0900_as_cs", "collation utf8mb4_ja_0900_as_cs (DB.t)"),
    ("CREATE VIEW v AS SELECT UUID_TO_BIN(UUID()) AS a", "view DB.v: FUNCTION DB.uuid_to_bin does not exist"),
    ("CREATE TABLE t (a INT NOT NULL INVISIBLE, b INT)", "table DB.t: Invisible column `a` must have a default value"),
];

const NOT_OF_AN_OLDER_MARIADB: [Case; 4] = [
    ("CREATE TABLE t (a VECTOR(3))", "type vector (DB.t)"),
    ("CREATE TABLE t (a VARCHAR(9)) COLLATE utf8mb4_0900_ai_ci", "collation utf8mb4_0900_ai_ci (DB.t)"),
    ("CREATE SEQUENCE s AS INT UNSIGNED", "sequence DB.s: "),
    // A value is tried when it is loaded, aside.
    ("CREATE TABLE t (a TIMESTAMP NULL);\nINSERT INTO t VALUES ('2050-01-01 00:00:00')", "the server changed rows of "),
];

const MYSQLS_OF_AN_OLDER_MARIADB: [Case; 2] = [
    ("CREATE TABLE t (a VARCHAR(9)) COLLATE utf8mb4_0900_ai_ci", "collation utf8mb4_0900_ai_ci (DB.t)"),
    ("CREATE TABLE t (a VECTOR(3))", "type vector (DB.t)"),
];

fn refuses(from: &str, to: &str, cases: &[Case]) {
    let (from, to, bench) = (Server::of(from), Server::of(to), Bench::new());
    let database = |n: usize| format!("lack_{n}");
    for (n, (statements, _)) in cases.iter().enumerate() {
        let name = database(n);
        from.sql(&format!(
            "CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\nUSE {name};\n{statements};\n"
        ));
    }
    bench.dump(&from, &everything()).unwrap();
    to.sql("CREATE DATABASE lack_0;\nCREATE TABLE lack_0.mine (a INT);\n");
    let before = to.databases();
    for (n, (statements, words)) in cases.iter().enumerate() {
        let name = database(n);
        let asked = Request { replace: true, ..request(&[&name]) };
        let error = bench.load(&to, &asked).map(|loaded| panic!("{statements}: {loaded:?}")).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains(&words.replace("DB", &name)), "{statements}: {said}");
        let is_of_a_row = words.starts_with("the server changed rows");
        assert!(is_of_a_row || kind_of(&error) == Some(Kind::Refused), "{said}");
        assert_eq!(to.databases(), before, "{statements}");
    }
    assert_eq!(to.lines("SHOW TABLES FROM lack_0"), ["mine"], "what is there stays");
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_mysql_has_not_is_refused_by_name() {
    refuses("MARIADB", "MYSQL", &NOT_OF_MYSQL);
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_mariadb_has_not_is_refused_by_name() {
    refuses("MYSQL", "MARIADB", &NOT_OF_MARIADB);
    refuses("MYSQL", "HOST", &MYSQLS_OF_AN_OLDER_MARIADB);
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_an_older_mariadb_has_not_is_refused_by_name() {
    refuses("MARIADB", "HOST", &NOT_OF_AN_OLDER_MARIADB);
}

/// What sorts texts can be chosen, in columns, tables, databases and programs.
#[test]
#[ignore = "needs the servers of tests/native cross"]
fn another_collation_comes_where_it_is_wanted() {
    for (from, to, own) in [("MARIADB", "MYSQL", "utf8mb4_uca1400_ai_ci"), ("MYSQL", "HOST", "utf8mb4_0900_ai_ci")] {
        let (from, to, bench) = (Server::of(from), Server::of(to), Bench::new());
        from.sql(&format!(
            "SET NAMES utf8mb4 COLLATE {own};\nCREATE DATABASE sorted CHARACTER SET utf8mb4 COLLATE {own};\nUSE sorted;\n\
             CREATE TABLE t (a VARCHAR(9) PRIMARY KEY, b VARCHAR(9) CHARACTER SET latin1);\n\
             INSERT INTO t VALUES ('é', 'é'), ('b', 'b');\n\
             CREATE VIEW v AS SELECT a COLLATE {own} AS a FROM t;\n\
             CREATE FUNCTION f(x VARCHAR(9)) RETURNS VARCHAR(9) DETERMINISTIC RETURN x;\n"
        ));
        bench.dump(&from, &everything()).unwrap();
        let error = bench.load(&to, &request(&["sorted"])).unwrap_err();
        assert!(error.to_string().contains(&format!("collation {own} (sorted, sorted.t)")), "{error:#}");
        let collations = vec![(own.to_owned(), "utf8mb4_unicode_ci".to_owned())];
        let wanted = Request { collations, ..request(&["sorted"]) };
        let warnings = bench.plan(&to, &wanted).unwrap().warnings.join("\n");
        assert!(warnings.contains(&format!("{own} gets utf8mb4_unicode_ci")), "{warnings}");
        bench.load(&to, &wanted).unwrap();
        assert_eq!(to.lines("SELECT a, b FROM sorted.t ORDER BY a"), ["b\tb", "é\té"]);
        assert_eq!(to.lines("SELECT sorted.f(a) FROM sorted.v ORDER BY 1"), ["b", "é"]);
        let all =
            "SELECT DISTINCT COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'sorted' ORDER BY 1";
        assert_eq!(to.lines(all), ["latin1_swedish_ci", "utf8mb4_unicode_ci"]);
    }
}

/// Texts that were two keys, and are one by the other collation, are no loss that nobody sees.
#[test]
#[ignore = "needs the servers of tests/native cross"]
fn a_collation_by_which_two_keys_are_one_is_refused_with_the_table() {
    let (from, to, bench) = (Server::of("MYSQL"), Server::of("HOST"), Bench::new());
    from.sql(
        "CREATE DATABASE sorted CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n\
         CREATE TABLE sorted.t (a VARCHAR(9) PRIMARY KEY);\nINSERT INTO sorted.t VALUES ('a'), ('A');\n",
    );
    bench.dump(&from, &everything()).unwrap();
    let collations = vec![("utf8mb4_bin".to_owned(), "utf8mb4_general_ci".to_owned())];
    let error = bench.load(&to, &Request { collations, ..request(&["sorted"]) }).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("the server took 1 of 2 rows of") && said.contains("sorted/t.000001.tsv"), "{said}");
    assert!(to.databases().is_empty(), "{:?}", to.databases());
}

/// Everything that stands in the way is told at once, and the rest can be had.
#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_does_not_stand_in_the_way_comes_alone() {
    let (from, to, bench) = (Server::of("MYSQL"), Server::of("MARIADB"), Bench::new());
    from.sql(
        "CREATE DATABASE mixed CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\nUSE mixed;\n\
         CREATE TABLE good (a INT PRIMARY KEY);\nINSERT INTO good VALUES (1), (2);\n\
         CREATE VIEW v AS SELECT BIN_TO_UUID(UUID_TO_BIN(UUID())) AS a;\n\
         CREATE VIEW w AS SELECT IS_UUID('x') AS a FROM good;\n",
    );
    bench.dump(&from, &everything()).unwrap();
    let error = bench.load(&to, &request(&["mixed"])).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("view mixed.v: ") && said.contains("view mixed.w: "), "{said}");
    let (good, cancel) = (Request { tables: vec!["good".into()], ..request(&["mixed"]) }, Cancel::new());
    cancel.set(15);
    let error = bench.load_until(&to, &good, &cancel, &|_| {}).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Cancelled), "{error:#}");
    assert!(to.databases().is_empty(), "{:?}", to.databases());
    bench.load(&to, &good).unwrap();
    assert_eq!(to.lines("SELECT a FROM mixed.good ORDER BY a"), ["1", "2"]);
}
