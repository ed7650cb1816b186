//! Accounts that a server has in its tables, and of which it takes no notice.

use mysnap::dump::AccountText;
use mysnap::load::Dump;

use crate::bench::{Bench, everything, request};
use crate::server::{IS_MARIADB, Server, either};

const BY_NAME: &str = "'app'@'web1.example.com'";
const BY_ADDRESS: &str = "'app'@'10.0.0.1'";

/// The accounts of a new dump, and its warnings.
fn dumped(bench: &Bench, server: &Server) -> (Vec<AccountText>, Vec<String>) {
    let warnings = bench.dump(server, &everything()).unwrap().warnings;
    (Dump::open(&bench.store, &bench.backup()).unwrap().index.accounts.clone(), warnings)
}

#[test]
fn accounts_of_which_the_server_takes_no_notice_are_named_and_fail_no_dump() {
    let server = Server::start();
    for account in [BY_NAME, BY_ADDRESS] {
        server.sql(&format!("CREATE USER {account} IDENTIFIED BY 'x'; GRANT SELECT ON *.* TO {account}"));
    }
    server.stop();
    server.start_again_with(&["--skip-name-resolve"]);
    let (accounts, warnings) = dumped(&Bench::new(), &server);
    let has = |accounts: &[AccountText], name| accounts.iter().any(|account| account.name == name);
    let is_named = |warnings: &[String], name: &str, why: &str| {
        warnings
            .iter()
            .any(|text| text.contains(&format!("the account {name} is not in the dump")) && text.contains(why))
    };
    assert!(has(&accounts, BY_ADDRESS));
    let is_ignored = is_named(&warnings, BY_NAME, "skip_name_resolve");
    assert!(is_ignored != has(&accounts, BY_NAME), "neither lost nor told twice: {warnings:?}");
    assert!(is_ignored || !*IS_MARIADB, "MariaDB ignores it: {warnings:?}");

    // The server of a snapshot does resolve names.
    server.stop();
    server.start_again();
    let (bench, other) = (Bench::new(), Server::start());
    let (accounts, warnings) = dumped(&bench, &server);
    assert!(has(&accounts, BY_NAME) && !warnings.iter().any(|text| text.contains("account")), "{warnings:?}");
    bench.load(&other, &request(&[])).unwrap();
    let grants = format!("SHOW GRANTS FOR {BY_NAME}");
    assert_eq!(other.sql(&grants), server.sql(&grants));

    server.sql(either(
        "INSERT INTO mysql.global_priv (Host, User, Priv) VALUES ('10.0.0.2', 'app', '{}')",
        "INSERT INTO mysql.user (Host, User, ssl_cipher, x509_issuer, x509_subject) VALUES ('10.0.0.2', 'app', '', '', '')",
    ));
    let (accounts, warnings) = dumped(&Bench::new(), &server);
    assert!(is_named(&warnings, "'app'@'10.0.0.2'", "FLUSH PRIVILEGES"), "{warnings:?}");
    assert!(has(&accounts, BY_NAME) && !has(&accounts, "'app'@'10.0.0.2'"));
}
