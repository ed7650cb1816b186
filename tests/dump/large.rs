//! Large tables: read in ranges of their key, stored in parts, and each row exactly once in one of them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read as _};

use mysnap::dump::{Compression, Options, Sizes, TableIndex};
use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::load::{Dump, Request};

use crate::bench::{Bench, everything, request};
use crate::server::{IS_MARIADB, Server, either, numbers};

/// Rows of most tables.
const ROWS: u32 = 3000;
/// Behind each key.
const FILLING: &str = "REPEAT(CHAR(97 + seq % 26), 200 + seq % 150)";

/// A table of many rows, and what its key is made of.
struct Case {
    name: &'static str,
    /// Its columns but the filling; that it has a key of whole numbers in front is what splits it.
    columns: &'static str,
    behind: &'static str,
    /// Those that are given; all where none is named.
    given: &'static str,
    /// Of the number `seq` of a row.
    values: &'static str,
    is_split: bool,
}

const fn split(name: &'static str, columns: &'static str, values: &'static str) -> Case {
    Case { name, columns, behind: "", given: "", values, is_split: true }
}

const fn whole(name: &'static str, columns: &'static str, values: &'static str) -> Case {
    Case { name, columns, behind: "", given: "", values, is_split: false }
}

const CASES: &[Case] = &[
    // Wherever it is cut there is a row.
    split("dense", "id INT AUTO_INCREMENT PRIMARY KEY", "seq"),
    split(
        "gaps",
        "id BIGINT PRIMARY KEY",
        "CASE seq WHEN 1 THEN -9223372036854775808 WHEN 2 THEN 9223372036854775807 WHEN 3 THEN 1 \
         ELSE (seq - 1500) * 6000000000000000 END",
    ),
    split(
        "across_the_middle",
        "id BIGINT UNSIGNED PRIMARY KEY",
        "CASE seq WHEN 1 THEN 0 WHEN 2 THEN 18446744073709551615 WHEN 3 THEN 9223372036854775807 \
         WHEN 4 THEN 9223372036854775808 ELSE CAST(seq AS UNSIGNED) * 6000000000000000 END",
    ),
    split("at_the_end", "id BIGINT UNSIGNED PRIMARY KEY", "18446744073709548615 + seq"),
    split("two_columns", "a SMALLINT, b INT, PRIMARY KEY (a, b)", "seq % 7 - 3, seq"),
    split("other_order", "a VARCHAR(20), b INT, PRIMARY KEY (b, a)", "CONCAT('a', seq), -seq"),
    split("fewer_keys_than_ranges", "a TINYINT, b INT, PRIMARY KEY (a, b)", "seq % 3, seq"),
    split("zerofill", "id INT(9) UNSIGNED ZEROFILL PRIMARY KEY", "seq * 7"),
    split("downwards", "id INT, PRIMARY KEY (id DESC)", "seq"),
    split("quoted", "`k``e\"y é` BIGINT PRIMARY KEY", "-seq"),
    Case { behind: "ENGINE=MyISAM", ..split("isam", "id INT PRIMARY KEY", "seq") },
    Case {
        behind: "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (-100), PARTITION p1 VALUES LESS THAN (900), \
                 PARTITION p2 VALUES LESS THAN MAXVALUE)",
        ..split("by_range", "id INT PRIMARY KEY", "seq - 1500")
    },
    Case { behind: "PARTITION BY HASH (id) PARTITIONS 5", ..split("by_hash", "id BIGINT PRIMARY KEY", "seq * 3") },
    // All rows but one are in one of the ranges.
    split("far_above", "id BIGINT PRIMARY KEY", "IF(seq = 3000, 9000000000000000000, seq)"),
    split("far_below", "id BIGINT PRIMARY KEY", "IF(seq = 1, -9000000000000000000, seq)"),
    whole("text_first", "a VARCHAR(20), b INT, PRIMARY KEY (a, b)", "CONCAT('a', seq % 10), seq"),
    whole("by_text", "id VARCHAR(30) PRIMARY KEY", "CONCAT('key ', seq)"),
    whole("by_bytes", "id BINARY(8) PRIMARY KEY", "CONCAT(CHAR(0, 255, 10, 92), LPAD(seq, 4, '0'))"),
    whole("by_decimal", "id DECIMAL(30, 5) PRIMARY KEY", "(seq - 100) * 18446744073709551616.5"),
    whole("by_date", "id DATE PRIMARY KEY", "'1900-01-01' + INTERVAL seq DAY"),
    whole("by_time", "id DATETIME(6) PRIMARY KEY", "'2020-01-01' + INTERVAL seq MICROSECOND"),
    whole("unique_only", "id INT NOT NULL UNIQUE", "seq"),
    whole("keyless", "n INT", "seq"),
];

/// What only one of the servers has.
fn case_of_its_own() -> Case {
    either(
        Case {
            behind: "WITH SYSTEM VERSIONING; DELETE FROM large.own WHERE id < 500 OR id > 2500",
            ..split("own", "id INT PRIMARY KEY", "seq")
        },
        Case { given: "(n, x)", ..split("own", "n INT, id INT AS (n * 3 - 4000) STORED PRIMARY KEY", "seq") },
    )
}

impl Case {
    fn statements(&self) -> String {
        let Self { name, columns, behind, given, values, .. } = self;
        let (behind, after) = behind.split_once(';').unwrap_or((behind, "DO 0"));
        format!(
            "CREATE TABLE large.{name} ({columns}, x VARCHAR(400)) {behind}; \
             INSERT INTO large.{name} {given} SELECT {values}, {FILLING} FROM {}; {after};\n",
            numbers(ROWS)
        )
    }

    /// As both servers tell of rows that are equal; also of those of the past.
    fn sums(&self, server: &Server, database: &str) -> String {
        let name = self.name;
        let all = if *IS_MARIADB && name == "own" { "FOR SYSTEM_TIME ALL" } else { "" };
        let columns = server.sql(&format!(
            "SELECT GROUP_CONCAT(CONCAT('HEX(`', REPLACE(COLUMN_NAME, '`', '``'), '`)')) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = '{name}'"
        ));
        let row = format!("CRC32(CONCAT_WS(',', {}))", columns.trim());
        server.sql(&format!("SELECT COUNT(*), SUM({row}), BIT_XOR({row}) FROM {database}.{name} {all}"))
    }
}

/// The rows of all parts, each as it is stored.
fn rows(bench: &Bench, table: &TableIndex) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    for part in &table.parts {
        let packed = BufReader::new(File::open(bench.stored(&part.file)).unwrap());
        let mut text = Vec::new();
        Compression::Zstd.unpack(packed).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text.len() as u64, part.bytes, "{}", part.file);
        let lines: Vec<Vec<u8>> =
            text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        assert_eq!(lines.len() as u64, part.rows, "{}", part.file);
        rows.extend(lines);
    }
    rows
}

fn tables(bench: &Bench) -> Vec<TableIndex> {
    let backup = bench.backup();
    Dump::open(&bench.store, &backup).unwrap().index.databases[0].tables.clone()
}

fn beside(databases: &[&str], workers: u32) -> Request {
    Request { new_name: Some("beside".into()), workers, ..request(databases) }
}

#[test]
fn each_row_of_a_table_that_is_split_is_in_exactly_one_part_whatever_its_key_is() {
    let server = Server::start();
    let own = case_of_its_own();
    let cases: Vec<&Case> = CASES.iter().chain([&own]).collect();
    let mut statements = String::from(
        "SET NAMES utf8mb4; SET sql_mode = 'NO_UNSIGNED_SUBTRACTION'; CREATE DATABASE large; USE large;\n",
    );
    statements.extend(cases.iter().map(|case| case.statements()));
    statements
        .push_str("CREATE TABLE large.empty (id INT PRIMARY KEY); CREATE TABLE large.one (id INT PRIMARY KEY);\n");
    statements.push_str("INSERT INTO large.one VALUES (-7);\n");
    // What decides is how large a table is to the server.
    statements.extend(cases.iter().map(|case| format!("ANALYZE TABLE large.{};\n", case.name)));
    server.sql(&statements);
    let ranges_of_one_part = Sizes { part: 4 << 20, range: 64 << 10 };
    let parts_of_one_range = Sizes { part: 32 << 10, range: 150 << 10 };
    for (workers, sizes) in [(1, ranges_of_one_part), (4, parts_of_one_range), (4, ranges_of_one_part)] {
        let bench = Bench::new();
        bench.dump(&server, &Options { workers, sizes, ..everything() }).unwrap();
        let tables = tables(&bench);
        let table = |name: &str| tables.iter().find(|table| table.name == name).unwrap();
        assert_eq!((table("empty").parts.len(), table("one").parts.len()), (0, 1));
        assert_eq!(rows(&bench, table("one")), [b"-7"]);
        for case in &cases {
            let table = table(case.name);
            let rows = rows(&bench, table);
            assert_eq!(rows.len(), ROWS as usize, "{}", case.name);
            assert_eq!(rows.iter().collect::<HashSet<_>>().len(), rows.len(), "{}", case.name);
            if sizes == ranges_of_one_part {
                let several = table.parts.len() > 1;
                assert_eq!(several, case.is_split, "{}: {} parts", case.name, table.parts.len());
                let longest = table.parts.iter().map(|part| part.rows).max().unwrap();
                let few_keys = case.name == "fewer_keys_than_ranges";
                assert!(!several || few_keys || longest < u64::from(ROWS) / 3, "{}: {longest} rows", case.name);
            } else {
                assert!(table.parts.len() > 5, "{}: {} parts", case.name, table.parts.len());
            }
        }
        bench.load(&server, &beside(&["large"], workers)).unwrap();
        for case in &cases {
            assert_eq!(case.sums(&server, "beside"), case.sums(&server, "large"), "{}", case.name);
        }
        assert_eq!(server.sql("SELECT * FROM beside.one; SELECT COUNT(*) FROM beside.empty"), "-7\n0\n");
        server.sql("DROP DATABASE beside");
    }
}

#[test]
fn a_table_of_several_parts_as_they_are_comes_back_with_one_worker_and_with_four() {
    let server = Server::start();
    server.sql(&format!(
        "SET sql_mode = 'NO_UNSIGNED_SUBTRACTION'; CREATE DATABASE large; USE large; CREATE TABLE large.t (id INT PRIMARY KEY, x VARCHAR(1200)); \
         INSERT INTO large.t SELECT seq - 30000, REPEAT(CHAR(97 + seq % 26), 1200) FROM {}; ANALYZE TABLE large.t",
        numbers(60_000)
    ));
    let sums =
        |database: &str| server.sql(&format!("SELECT COUNT(*), SUM(id), SUM(CRC32(CONCAT(id, x))) FROM {database}.t"));
    for workers in [1, 4] {
        let bench = Bench::new();
        bench.dump(&server, &Options { workers, ..everything() }).unwrap();
        let table = tables(&bench).remove(0);
        let longest = table.parts.iter().map(|part| part.bytes).max().unwrap();
        assert!(table.parts.len() >= 3 && longest > 30 << 20, "{:?}", table.parts);
        bench.load(&server, &beside(&["large"], workers)).unwrap();
        assert_eq!(sums("beside"), sums("large"));
        server.sql("DROP DATABASE beside");
    }
}

#[test]
fn a_row_of_forty_megabytes_comes_back_and_what_the_server_has_no_room_for_is_named() {
    let (server, bench) = (Server::start(), Bench::new());
    server.sql(
        "CREATE DATABASE large; CREATE TABLE large.bytes (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT); \
         INSERT INTO large.bytes VALUES (1, REPEAT(x'00ff5c610a', 8000000), REPEAT('a\\tb\\\\', 1000000)); \
         CREATE TABLE large.document (id INT PRIMARY KEY, j JSON); \
         INSERT INTO large.document VALUES (1, '[]'), (2, CONCAT('[', REPEAT('1000000,', 500000), '1]'))",
    );
    let sums = |names: [&str; 2]| {
        let [bytes, document] = names;
        server.sql(&format!(
            "SELECT SHA2(b, 256), SHA2(t, 256) FROM large.{bytes}; \
            SELECT SUM(CRC32(j)), MAX(JSON_LENGTH(j)) FROM large.{document}"
        ))
    };
    let before = sums(["bytes", "document"]);
    bench.dump(&server, &everything()).unwrap();
    bench.load(&server, &beside(&["large"], 3)).unwrap();
    server.sql("RENAME TABLE beside.bytes TO large.bytes_2, beside.document TO large.document_2; DROP DATABASE beside");
    assert_eq!(sums(["bytes_2", "document_2"]), before);

    // Rows come piece by piece, however large they are; JSON is made of text at once by MySQL.
    server.sql("SET GLOBAL max_allowed_packet = 65536");
    let of = |table: &str, name: &str| Request {
        tables: vec![table.into()],
        new_name: Some(name.into()),
        ..request(&["large"])
    };
    bench.load(&server, &of("bytes", "bytes_3")).unwrap();
    let loaded = bench.load(&server, &of("document", "document_3"));
    let dumped = Bench::new().dump(&server, &everything());
    if *IS_MARIADB {
        dumped.and(loaded).unwrap();
        assert_eq!(sums(["bytes_3", "document_3"]), before);
        return;
    }
    for (error, object) in [(loaded.unwrap_err(), "`document_3`"), (dumped.unwrap_err(), "large.document")] {
        let said = format!("{error:#}");
        assert!(said.contains(object) && said.contains("larger than max_allowed_packet (65536)"), "{said}");
        assert_eq!(kind_of(&error), Some(Kind::Config), "{said}");
        assert!(hints_of(&error).join("; ").contains("raise the server's max_allowed_packet"), "{said}");
    }
    assert!(!server.sql("SHOW DATABASES").contains("mysnap_restoring"));
    assert_eq!(server.sql("SHOW TABLES FROM large LIKE 'document\\_3'"), "");
}
