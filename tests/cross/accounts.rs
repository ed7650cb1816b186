//! Accounts of another family: what can't be made there is named, and stops nothing.

use crate::bench::{Bench, everything, request};
use crate::server::Server;

/// Loads everything; the warnings.
fn loaded(from: &str, to: &Server, statements: &str) -> Vec<String> {
    let (from, bench) = (Server::of(from), Bench::new());
    from.sql(
        "CREATE DATABASE theirs CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\nCREATE TABLE theirs.t (a INT);\n",
    );
    from.sql(statements);
    bench.dump(&from, &everything()).unwrap();
    bench.load(to, &request(&[])).unwrap().warnings
}

fn is_told(warnings: &[String], begin: &str) {
    assert!(warnings.iter().any(|note| note.starts_with(begin)), "{begin}: {warnings:#?}");
    // What it logs in by is nobody's business.
    assert!(!warnings.iter().any(|note| note.contains("*B69027D") || note.contains("$A$")), "{warnings:#?}");
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn mysqls_accounts_are_named_where_mariadb_cannot_have_them() {
    let to = Server::of("MARIADB");
    let warnings = loaded(
        "MYSQL",
        &to,
        "CREATE USER 'app'@'%' IDENTIFIED BY 'x';\nCREATE ROLE reader;\nGRANT SELECT ON theirs.* TO reader;\n\
         GRANT reader TO 'app'@'%';\nCREATE DEFINER='app'@'%' VIEW theirs.v AS SELECT a FROM theirs.t;\n",
    );
    is_told(&warnings, "account 'app'@'%' was left out: the server refused it (error ");
    is_told(&warnings, "account 'reader'@'%' was left out: the server refused it (error ");
    assert!(to.accounts().is_empty(), "{:?}", to.accounts());
    assert_eq!(to.lines("SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'theirs'"), ["v"]);
}

#[test]
#[ignore = "needs the servers of tests/native cross"]
fn mariadbs_accounts_are_named_where_mysql_cannot_have_them() {
    let to = Server::of("MYSQL");
    let warnings = loaded(
        "MARIADB",
        &to,
        "CREATE USER 'app'@'%' IDENTIFIED BY 'x';\nCREATE USER 'host'@'localhost' IDENTIFIED VIA unix_socket;\n\
         CREATE ROLE reader;\nGRANT SELECT ON theirs.* TO reader;\nGRANT DELETE HISTORY ON theirs.* TO reader;\n\
         GRANT reader TO 'app'@'%';\n",
    );
    is_told(&warnings, "account 'app'@'%' was left out: the server refused it (error ");
    is_told(&warnings, "account 'host'@'localhost' was left out: the server refused it (error ");
    is_told(&warnings, "account `reader` has not all that it had: the server refused it (error ");
    assert_eq!(to.accounts(), ["`reader`@`%`"]);
}
