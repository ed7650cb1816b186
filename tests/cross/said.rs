//! What another server has under another word, and what a table can be without.

use mysnap::load::Request;

use crate::bench::{Bench, everything, request};
use crate::server::Server;

const BEGIN: &str = "CREATE DATABASE said CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\nUSE said;\n";

/// Loads database `said` of `statements` into another server; the warnings of the plan, and what makes each table there.
fn loaded(from: &str, to: &str, statements: &str) -> (Server, String, impl Fn(&Server, &str) -> String) {
    let (from, to, bench) = (Server::of(from), Server::of(to), Bench::new());
    from.sql(&format!("{BEGIN}{statements}"));
    bench.dump(&from, &everything()).unwrap();
    let warnings = bench.plan(&to, &request(&["said"])).unwrap().warnings.join("\n");
    bench.load(&to, &request(&["said"])).unwrap();
    (to, warnings, |server: &Server, table: &str| server.lines(&format!("SHOW CREATE TABLE said.{table}")).join(""))
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn mysqls_words_become_mariadbs() {
    let (to, warnings, made) = loaded(
        "MYSQL",
        "MARIADB",
        "SET sql_generate_invisible_primary_key = ON;\nCREATE TABLE keyless (a INT);\n\
         SET sql_generate_invisible_primary_key = OFF;\nINSERT INTO keyless VALUES (7), (8);\n\
         CREATE TABLE hidden (a INT PRIMARY KEY, b INT INVISIBLE DEFAULT 3, KEY i (b) INVISIBLE) COLLATE utf8mb4_0900_ai_ci;\n\
         INSERT INTO hidden (a) VALUES (1);\n\
         CREATE TABLE loose (a INT, CONSTRAINT low CHECK (a < 5) NOT ENFORCED, CONSTRAINT high CHECK (a > 0));\n\
         INSERT INTO loose VALUES (9);\n\
         CREATE TABLE place (p POINT NOT NULL SRID 4326, g GEOMCOLLECTION);\n\
         INSERT INTO place VALUES (ST_GeomFromText('POINT(1 2)', 4326), NULL);\n\
         CREATE TABLE small (a TEXT DEFAULT ('it''s'), v VECTOR(2)) COMPRESSION='zlib';\n\
         INSERT INTO small VALUES (DEFAULT, STRING_TO_VECTOR('[1,2]'));\n",
    );
    let keyless = made(&to, "keyless");
    assert!(keyless.contains("`my_row_id` bigint(20) unsigned NOT NULL AUTO_INCREMENT INVISIBLE"), "{keyless}");
    assert_eq!(to.lines("SELECT * FROM said.keyless ORDER BY a"), ["7", "8"]);
    assert_eq!(to.lines("SELECT * FROM said.hidden"), ["1"]);
    assert!(made(&to, "hidden").contains("KEY `i` (`b`) IGNORED"), "{}", made(&to, "hidden"));
    assert_eq!(to.lines("SELECT a FROM said.loose"), ["9"]);
    assert!(made(&to, "loose").contains("`high`") && !made(&to, "loose").contains("`low`"));
    // The latitude comes first in MySQL's text, and the longitude in what is stored.
    assert_eq!(to.lines("SELECT ST_X(p), ST_Y(p), ST_SRID(p) FROM said.place"), ["2\t1\t4326"]);
    assert_eq!(to.lines("SELECT a, VEC_ToText(v) FROM said.small"), ["it's\t[1,2]"]);
    for told in [
        "said.loose will be without constraints that are not enforced",
        "said.place will be without the restriction to a spatial reference system",
        "said.small will be without compression of its pages",
    ] {
        assert!(warnings.contains(told), "{warnings}");
    }
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn mariadbs_words_become_mysqls() {
    let (to, warnings, made) = loaded(
        "MARIADB",
        "MYSQL",
        "CREATE TABLE hidden (a INT PRIMARY KEY, b INT INVISIBLE DEFAULT 3, KEY i (b) IGNORED) COLLATE utf8mb4_general_ci;\n\
         INSERT INTO hidden (a) VALUES (1);\n\
         CREATE TABLE defaults (a INT PRIMARY KEY, b TEXT DEFAULT 'x, COMMENT', c VARCHAR(40) DEFAULT UUID() COMMENT 'y', \
         d DATE DEFAULT (CURRENT_DATE + INTERVAL 1 DAY)) COLLATE utf8mb4_general_ci;\n\
         INSERT INTO defaults (a) VALUES (1);\n\
         CREATE TABLE pages (a INT) PAGE_CHECKSUM=1 TRANSACTIONAL=1 PAGE_COMPRESSED=1 COLLATE utf8mb4_general_ci;\n\
         SET NAMES utf8mb4 COLLATE utf8mb4_uca1400_ai_ci;\n\
         CREATE VIEW v AS SELECT a, 'é' AS b FROM hidden;\n",
    );
    assert_eq!(to.lines("SELECT * FROM said.hidden"), ["1"]);
    assert!(made(&to, "hidden").contains("KEY `i` (`b`) /*!80000 INVISIBLE */"), "{}", made(&to, "hidden"));
    to.sql("INSERT INTO said.defaults (a) VALUES (2);\n");
    assert_eq!(to.lines("SELECT b, LENGTH(c) FROM said.defaults WHERE a = 2"), ["x, COMMENT\t36"]);
    assert!(warnings.contains("said.pages will be without compression of its pages"), "{warnings}");
    assert!(
        warnings.contains("view v of said compare their own literals by utf8mb4_0900_ai_ci, not utf8mb4_uca1400_ai_ci"),
        "{warnings}"
    );
    assert_eq!(to.lines("SELECT b FROM said.v"), ["é"]);
}

/// A tablespace with others, a foreign key on what is no key of its own, a table without a key: what MySQL took once.
#[test]
#[ignore = "needs the servers of tests/native cross"]
fn what_a_mysql_accepted_once_comes_back_where_it_has_become_stricter() {
    let (server, bench) = (Server::of("MYSQL"), Bench::new());
    server.sql(&format!(
        "{BEGIN}CREATE TABLESPACE shared_by_tables ADD DATAFILE 'shared_by_tables.ibd';\n\
         CREATE TABLE shared (a INT) TABLESPACE shared_by_tables;\nINSERT INTO shared VALUES (1);\n\
         SET restrict_fk_on_non_standard_key = OFF;\nCREATE TABLE parent (a INT, KEY (a));\n\
         CREATE TABLE child (a INT, CONSTRAINT loose FOREIGN KEY (a) REFERENCES parent (a));\n"
    ));
    bench.dump(&server, &everything()).unwrap();
    server.sql("DROP DATABASE said;\nDROP TABLESPACE shared_by_tables;\nSET GLOBAL sql_require_primary_key = ON;\n");
    let asked = Request { new_name: Some("again".into()), ..request(&["said"]) };
    let warnings = bench.plan(&server, &asked).unwrap().warnings.join("\n");
    let loaded = bench.load(&server, &asked);
    server.sql("SET GLOBAL sql_require_primary_key = OFF;\n");
    loaded.unwrap();
    assert!(
        warnings.contains("said.shared were in a tablespace of several tables, and get files of their own"),
        "{warnings}"
    );
    assert_eq!(server.lines("SELECT a FROM again.shared"), ["1"]);
    server.sql_fails("INSERT INTO again.child VALUES (1)", "foreign key constraint fails");
}
