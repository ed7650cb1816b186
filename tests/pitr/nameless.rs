//! Logs whose transactions have no names: MySQL with `gtid_mode=OFF`. MariaDB's always have one: there it is the places
//! and times of these tests that count.

use std::fs;
use std::sync::PoisonError;
use std::time::Duration;

use mysnap::sys::{clock, durable};

use crate::bench::{Bench, names};
use crate::server::{IS_MARIADB, Server, either};
use crate::{KILLS, random};

const COUNT: usize = 60;

/// What was acknowledged: where the log ended then, and when in microseconds it was begun and told.
struct Told {
    place: String,
    begun: i64,
    acknowledged: i64,
}

/// One client, whose rows are numbered from 1 on; some changes are tables, and the log is rotated meanwhile.
fn written(server: &Server) -> Vec<Told> {
    let one = |n: usize| {
        let begun = clock::now().as_microsecond();
        let table = if n % 9 == 0 { format!("CREATE TABLE shop.t_{n} (a INT); ") } else { String::new() };
        server.sql(&format!("{table}BEGIN; INSERT INTO shop.t VALUES ({n}); UPDATE shop.sums SET n = {n}; COMMIT"));
        let (acknowledged, (file, offset)) = (clock::now().as_microsecond(), server.log_end());
        if n % 17 == 0 {
            server.sql("FLUSH BINARY LOGS");
        }
        if n % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1100));
        }
        Told { place: format!("{file}:{offset}"), begun, acknowledged }
    };
    (1..=COUNT).map(one).collect()
}

/// How many rows are there, which must be the first ones, with the tables that came before.
fn how_many(bench: &Bench, option: &str, point: &str) -> usize {
    let to = bench.at("then").display().to_string();
    let said = bench.works(&["restore", option, point, "--to", &to]);
    assert!(said.contains("replayed"), "{said}");
    let rows = rows(bench);
    let [count, last, sum] = &rows[..] else { panic!("{rows:?}") };
    assert!(count == last && last == sum, "{option} {point}: {rows:?}: {said}");
    *count
}

/// The number of rows, the last one, and what the other table says; the directory is gone afterwards.
fn rows(bench: &Bench) -> Vec<usize> {
    let restored = bench.started_with("then", either(&[], &["--gtid-mode=OFF"]));
    let told = restored.sql("SELECT COUNT(*), IFNULL(MAX(id), 0), (SELECT n FROM shop.sums) FROM shop.t");
    let tables = restored.sql("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME LIKE 't\\_%'");
    let numbers: Vec<usize> = told.split_whitespace().map(|number| number.parse().unwrap()).collect();
    // One that was made just before the row that is left out may be there.
    let tables: usize = tables.trim().parse().unwrap();
    assert!((numbers[1] / 9..=(numbers[1] + 1) / 9).contains(&tables), "{tables} tables, {told}");
    drop(restored);
    fs::remove_dir_all(bench.at("then")).unwrap();
    numbers
}

fn without_names() -> Server {
    let off = either(&[][..], &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    let server = Server::start_with(&[&["--server-id=1"][..], off].concat());
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); CREATE TABLE shop.sums (n INT); \
         INSERT INTO shop.sums VALUES (0)",
    );
    server
}

#[test]
fn a_log_without_gtids_leads_to_places_and_times_also_with_an_index_made_anew() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = without_names();
    let bench = Bench::new(&server);
    bench.backup();
    std::thread::sleep(Duration::from_millis(1100));
    let told = written(&server);
    std::thread::sleep(Duration::from_millis(1100));
    server.sql("CREATE DATABASE later");
    bench.ship();
    let n = 1 + random(COUNT - 1);
    assert_eq!(how_many(&bench, "--until", &told[n - 1].place), n);
    // A moment of the log is the last one that is not later.
    let second = told[random(COUNT)].acknowledged / 1_000_000;
    let point = jiff::Timestamp::from_second(second).unwrap().to_string();
    let found = how_many(&bench, "--until", &point);
    let least = told.iter().filter(|one| one.acknowledged < second * 1_000_000).count();
    let most = told.iter().filter(|one| one.begun < (second + 1) * 1_000_000).count();
    assert!((least..=most).contains(&found), "{least} {found} {most}");

    let archive = bench.at("logs/shop");
    let before = fs::read_to_string(archive.join("index.json")).unwrap();
    assert_eq!(before.contains("first_gtid"), *IS_MARIADB, "{before}");
    durable::remove_file(&archive.join("index.json")).unwrap();
    bench.ship();
    assert!(names(&archive).contains(&"index.json".to_owned()));
    let n = 1 + random(COUNT - 1);
    assert_eq!(how_many(&bench, "--until", &told[n - 1].place), n);

    bench.make_increments();
    server.sql("INSERT INTO shop.t VALUES (61); UPDATE shop.sums SET n = 61");
    let increment = bench.backup();
    let shown = bench.works(&["show", &increment]);
    assert!(shown.contains("increment"), "{shown}");
    bench.works(&["restore", &increment, "--to", &bench.at("then").display().to_string()]);
    assert_eq!(rows(&bench), [61, 61, 61]);
}

/// The steps by which a server at work goes from one mode to the other.
fn steps(modes: [&str; 3]) -> String {
    let set = |mode: &str| format!("SET GLOBAL gtid_mode = {mode}; ");
    either(String::new(), modes.map(set).concat())
}

#[test]
fn gtids_that_are_switched_on_or_off_behind_the_base_are_replayed() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = without_names();
    let bench = Bench::new(&server);
    let row = |n: u32| format!("INSERT INTO shop.t VALUES ({n}); UPDATE shop.sums SET n = {n}; ");
    let latest = || {
        bench.ship();
        how_many(&bench, "--until", "latest")
    };
    bench.backup();
    let on = steps(["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"]);
    let consistent = either("", "SET GLOBAL enforce_gtid_consistency = ON; ");
    server.sql(&(row(1) + consistent + &on + &row(2)));
    assert_eq!(latest(), 2);
    bench.backup();
    server.sql(&(row(3) + &steps(["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"]) + &row(4)));
    assert_eq!(latest(), 4);
}
