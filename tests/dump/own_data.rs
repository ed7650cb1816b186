//! What the server's own tests create, as input: thousands of tables and programs that somebody once found
//! worth testing.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::bench::{Bench, everything, request};
use crate::server::{IS_MARIADB, Server, either};

/// Of Debian's packages mariadb-test-data and mysql-testsuite; the latter by `tests/native mysql dump`.
static SCRIPTS: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("OWN_TESTS").map_or_else(|| PathBuf::from("/usr/share/mysql/mysql-test"), PathBuf::from)
});
const OF_MARIADB: &[&str] = &[
    "suite/compat/oracle/t",
    "suite/csv",
    "suite/gcol/t",
    "suite/innodb_fts/t",
    "suite/innodb_gis/t",
    "suite/json/t",
    "suite/sql_sequence",
    "suite/vcol/t",
    "suite/versioning/t",
];
const OF_MYSQL: &[&str] = &[
    "suite/collations/t",
    "suite/engines/funcs/t",
    "suite/engines/iuds/t",
    "suite/funcs_1/t",
    "suite/gcol/t",
    "suite/gis/t",
    "suite/innodb_fts/t",
    "suite/innodb_gis/t",
    "suite/jp/t",
    "suite/json/t",
    "suite/parts/t",
];
/// Scripts whose data no dump brings back as it was.
const OTHER: [&str; 11] = [
    // Events whose time passes meanwhile.
    "events.test",
    // The server warns of a column when it means an expression of another one: the load refuses it.
    "gcol_bugfixes.test",
    // Geometry that was added as NOT NULL and is empty: the server takes no such value.
    "alter_spatial_index.test",
    // RAND() in a virtual column.
    "query_cache.test",
    // Columns that were made of the server's own tables tell of their default only when they are made again.
    "vcol_syntax.test",
    // Values that MySQL took once, and does not take again: in an expression that is a date, behind an index on JSON.
    "gcol_bug20746926.test",
    "array_index.test",
    // MySQL tells of a column's character set only where somebody once did.
    "fulltext3.test",
    // MySQL gives an expression back in the bytes of the session that made it: the dump refuses the table by name.
    "gcol_bugfixes_latin1.test",
    // Numbers of transactions, which are the server's own.
    "commit_id.test",
    "trx_id.test",
];
/// What leaves something in a database. The rest of the scripts, all that removes above all, is left out.
const KEPT: [&str; 8] = ["create", "insert", "replace", "update", "alter table", "set names", "set sql_mode", "set @"];
/// What belongs to the server as a whole, or takes its time.
const LEFT_OUT: [&str; 24] = [
    "create user",
    "create role",
    "create server",
    "create database",
    "create schema",
    "create temporary",
    "create or replace temporary",
    "create or replace user",
    "create or replace role",
    "create or replace database",
    "create or replace server",
    "soname",
    "set @@global",
    "set @@debug",
    "sleep",
    "get_lock",
    "benchmark",
    "into outfile",
    "mysql.",
    "data directory",
    "index directory",
    "tablespace",
    "spatial reference system",
    "wait",
];
/// Between statements; in none of them.
const DELIMITER: &str = "!!own!!";

fn scripts() -> Vec<PathBuf> {
    let in_suite = |suite: &str| {
        let entries = std::fs::read_dir(SCRIPTS.join(suite));
        let entries =
            entries.unwrap_or_else(|error| panic!("{}/{suite}: {error}; install mariadb-test-data", SCRIPTS.display()));
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "test"))
    };
    let is_other = |path: &PathBuf| {
        // MySQL's of spatial indexes double their rows for minutes.
        let is_endless = !*IS_MARIADB && path.file_name().unwrap().to_string_lossy().starts_with("rtree");
        is_endless || OTHER.iter().any(|name| path.ends_with(name))
    };
    let mut scripts: Vec<PathBuf> =
        either(OF_MARIADB, OF_MYSQL).iter().copied().flat_map(in_suite).filter(|path| !is_other(path)).collect();
    scripts.sort();
    scripts
}

/// The statements of a script that leave something behind, each with what it needs.
fn statements(script: &[u8]) -> Vec<Vec<u8>> {
    let mut delimiter = b";".to_vec();
    let (mut all, mut current) = (Vec::new(), Vec::new());
    for line in script.split(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii();
        if current.is_empty() && (trimmed.starts_with(b"#") || trimmed.starts_with(b"--") || trimmed.is_empty()) {
            continue;
        }
        current.extend_from_slice(line);
        current.push(b'\n');
        let Some(statement) = current.trim_ascii().strip_suffix(delimiter.as_slice()).map(<[u8]>::to_vec) else {
            continue;
        };
        current.clear();
        match statement.trim_ascii().strip_prefix(b"delimiter ") {
            Some(new) => delimiter = new.to_vec(),
            None if is_kept(&statement) => all.push(statement),
            None => {}
        }
    }
    all
}

fn is_kept(statement: &[u8]) -> bool {
    let text = String::from_utf8_lossy(statement).to_lowercase();
    KEPT.iter().any(|word| text.starts_with(word))
        && !text.contains('$')
        && !LEFT_OUT.iter().any(|word| text.contains(word))
}

/// What one script leaves, in a database of its own, whatever the server refuses of it.
fn played(number: usize, script: &Path) -> Vec<u8> {
    let limit = either("max_statement_time = 0.3", "max_execution_time = 300");
    let begin = format!(
        "DELIMITER ;\nCREATE DATABASE own_{number}; USE own_{number}; SET NAMES utf8mb4; SET sql_mode = DEFAULT; \
         SET {limit};\nDELIMITER {DELIMITER}\n"
    );
    let mut text = begin.into_bytes();
    for statement in statements(&std::fs::read(script).unwrap()) {
        text.extend_from_slice(&statement);
        text.extend_from_slice(format!("\n{DELIMITER}\n").as_bytes());
    }
    text
}

#[test]
#[ignore = "takes minutes, and needs mariadb-test-data, or tests/native: tests/run --full"]
fn what_the_servers_own_tests_create_comes_back_as_it_was() {
    let (server, other, bench) = (Server::start(), Server::start(), Bench::new());
    for (number, script) in scripts().iter().enumerate() {
        server.play(&played(number, script));
    }
    server.drop_what_is_broken();
    let dumped = bench.dump(&server, &everything()).unwrap();
    let mut objections = Vec::new();
    for (number, script) in scripts().iter().enumerate() {
        let database = format!("own_{number}");
        let differs = match bench.load(&other, &request(&[&database])) {
            Err(error) => Some(format!("{error:#}")),
            Ok(_) => first_difference(&other.tool_dump(&database), &server.tool_dump(&database)),
        };
        objections.extend(differs.map(|what| format!("{}: {what}", script.display())));
    }
    println!("{} rows of {} tables; {:?}", dumped.rows, dumped.tables, dumped.warnings);
    assert!(dumped.tables > 300, "{dumped:?}");
    assert!(objections.is_empty(), "{objections:#?}");
}

/// A column whose default was dropped can't be made by what MySQL says of it; and what it has set aside for new rows
/// it forgets itself when it opens a table again.
fn forgiven(line: &mut String) {
    if let Some(bare) = line.strip_suffix(" DEFAULT NULL") {
        *line = bare.to_owned();
    }
    if let Some((before, behind)) = line.split_once(" AUTO_INCREMENT=") {
        *line = format!("{before}{}", behind.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
}

/// A line that only one of two texts has. Rows of a table without a primary key come in any order.
pub fn first_difference(one: &str, other: &str) -> Option<String> {
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.trim_end_matches([',', ';']).to_owned()).collect();
        if !*IS_MARIADB {
            lines.iter_mut().for_each(forgiven);
        }
        lines.sort();
        lines
    };
    let (one, other) = (lines(one), lines(other));
    let differ = one.iter().zip(&other).find(|(a, b)| a != b).map(|(a, b)| format!("{a} <> {b}"));
    differ.or_else(|| (one.len() != other.len()).then(|| "one has more".to_owned()))
}
