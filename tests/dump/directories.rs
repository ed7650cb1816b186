//! Tables whose files the server was told to put elsewhere.

use std::path::Path;

use mysnap::load::Request;
use mysnap::sys::cmd::Call;

use crate::bench::{Bench, everything, request};
use crate::server::{IS_MARIADB, Server, either};

/// Every file below `directory`, with its size and its time.
fn files(directory: &Path) -> String {
    let mut found: Vec<String> = Call::new("find")
        .args([directory.display().to_string().as_str(), "-printf", "%p %s %T@\n"])
        .stdout()
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap();
    found.sort();
    found.join("\n")
}

#[test]
fn a_table_of_another_directory_comes_back_in_that_of_its_database() {
    let elsewhere = tempfile::tempdir().unwrap();
    let at = elsewhere.path().display();
    let (server, other, bench) = (Server::start_with(&[&known(elsewhere.path())]), Server::start(), Bench::new());
    let isam = format!(
        "CREATE TABLE apart.isam (id INT PRIMARY KEY) ENGINE=MyISAM DATA DIRECTORY='{at}' INDEX DIRECTORY='{at}';"
    );
    server.sql(&format!(
        "CREATE DATABASE apart; \
         CREATE TABLE apart.one (id INT PRIMARY KEY, `DATA DIRECTORY` INT) ENGINE=InnoDB DATA DIRECTORY='{at}'; \
         CREATE TABLE apart.parted (id INT PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE (id) \
             (PARTITION p0 VALUES LESS THAN (10) DATA DIRECTORY='{at}', PARTITION p1 VALUES LESS THAN MAXVALUE); \
         CREATE TABLE apart.at_home (id INT, `INDEX DIRECTORY` INT) COMMENT='DATA DIRECTORY=1'; {} \
         INSERT INTO apart.one VALUES (1, 1); INSERT INTO apart.parted VALUES (1), (11);",
        either(isam.as_str(), "CREATE TABLE apart.isam (id INT PRIMARY KEY) ENGINE=MyISAM;")
    ));
    // What the server has in memory of them it writes there when it likes.
    server.sql("FLUSH TABLES; FLUSH TABLES apart.one, apart.parted FOR EXPORT; UNLOCK TABLES");
    bench.dump(&server, &everything()).unwrap();
    let before = files(elsewhere.path());
    assert!(before.contains("one.ibd") && before.contains("parted"), "{before}");
    let beside = Request { new_name: Some("beside".into()), ..request(&["apart"]) };
    let warnings = bench.plan(&server, &beside).unwrap().warnings;
    let told = warnings.iter().find(|text| text.contains("DATA DIRECTORY")).unwrap();
    let names = either("apart.isam, apart.one, apart.parted", "apart.one, apart.parted");
    assert!(told.starts_with(names), "{told}");
    for server in [&server, &other] {
        bench.load(server, &beside).unwrap();
        assert_eq!(server.sql("SELECT COUNT(*) FROM beside.parted").trim(), "2");
        for table in ["isam", "one", "parted"] {
            let made = server.sql(&format!("SHOW CREATE TABLE beside.{table}"));
            assert!(!made.contains(" DIRECTORY =") && !made.contains(" DIRECTORY='"), "{made}");
        }
    }
    assert_eq!(files(elsewhere.path()), before, "the live server's files were touched");
}

#[test]
fn a_table_of_a_tablespace_comes_back_with_a_file_of_its_own() {
    if *IS_MARIADB {
        println!("MySQL's alone: MariaDB has no such tablespaces");
        return;
    }
    let (server, other, bench) = (Server::start(), Server::start(), Bench::new());
    server.sql(
        "CREATE DATABASE apart; CREATE TABLESPACE `of ``all` ADD DATAFILE 'of_all.ibd'; \
         CREATE TABLE apart.one (id INT PRIMARY KEY) TABLESPACE `of ``all`; INSERT INTO apart.one VALUES (1), (2); \
         CREATE TABLE apart.two (id INT PRIMARY KEY) TABLESPACE innodb_system; INSERT INTO apart.two VALUES (3)",
    );
    bench.dump(&server, &everything()).unwrap();
    let warnings = bench.plan(&other, &request(&["apart"])).unwrap().warnings;
    assert!(warnings.iter().any(|text| text.starts_with("apart.one were in a tablespace")), "{warnings:?}");
    bench.load(&other, &request(&["apart"])).unwrap();
    assert_eq!(other.sql("SELECT SUM(id) FROM apart.one; SELECT SUM(id) FROM apart.two"), "3\n3\n");
    assert!(other.datadir().join("apart/one.ibd").exists() && !other.datadir().join("apart/two.ibd").exists());
}

/// MySQL takes no directory that it was not told of.
fn known(directory: &Path) -> String {
    let same = "--symbolic-links".to_owned();
    either(same, format!("--innodb-directories={}", directory.display()))
}
