//! MySQL's keyring: a second server has a copy of the keys, and the live server's stay as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::PoisonError;

use mysnap::sys::durable;

use crate::bench::{self, Bench};
use crate::keys::Keys;
use crate::server::{IS_MARIADB, Server};
use crate::{KILLS, place_before};

const TEXT: &str = "nobody reads this on the disk";

/// The bytes of the live server's keyring.
fn bytes(keys: &Keys) -> Vec<u8> {
    fs::read(keys.file()).unwrap()
}

/// The one file with keys that a restore has left beside its target.
fn new_keyring(bench: &Bench) -> PathBuf {
    let names = bench.names().into_iter().filter(|name| name.starts_with("then.keyring-"));
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 1, "{names:?}");
    bench.at(&names[0])
}

/// A server with an encrypted table.
fn encrypted(keys: &Keys) -> Server {
    let found = keys.found();
    let options: Vec<&str> = found.iter().map(String::as_str).chain(["--server-id=1"]).collect();
    let server = Server::start_by(&keys.program(), &options);
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.t (a VARCHAR(99)) ENCRYPTION='Y'; INSERT INTO shop.t VALUES ('{TEXT}')"
    ));
    server
}

#[test]
fn encrypted_tables_come_back_by_a_copy_of_the_keyring_which_stays_as_it_was() {
    if *IS_MARIADB {
        println!("MySQL's alone: tests/native mysql pitr; MariaDB's keys are a file that no server writes to");
        return;
    }
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let keys = Keys::new();
    let server = encrypted(&keys);
    let bench = Bench::new(&server);
    bench.backup();
    server.sql(
        "INSERT INTO shop.t VALUES ('later'); ALTER INSTANCE ROTATE INNODB MASTER KEY; \
         CREATE TABLE shop.u (a INT) ENCRYPTION='Y'; INSERT INTO shop.u VALUES (7); DROP TABLE shop.t",
    );
    bench.ship();
    let before = bytes(&keys);
    assert!(!before.is_empty());
    let scratch = bench.at("").display().to_string();
    let drill = ["drill", "nightly", "--scratch", &scratch, "--level", "tables"];
    bench.works(&drill);

    let (place, to) = (place_before(&bench, "drop"), bench.at("then").display().to_string());
    let wanted = ["restore", "--before", &place, "--to", &to];
    let said = bench.works(&wanted);
    let made = new_keyring(&bench);
    assert!(
        said.contains("encrypted with a key that was made here") && said.contains(made.to_str().unwrap()),
        "{said}"
    );
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bytes(&keys), before);
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
    let table = fs::read(bench.at("then/shop/t.ibd")).unwrap();
    assert!(!table.windows(TEXT.len()).any(|window| window == TEXT.as_bytes()));

    let restored_keys = Keys::new().kept_in(&made);
    let found = restored_keys.found();
    let options: Vec<&str> = found.iter().map(String::as_str).chain(["--server-id=1"]).collect();
    let restored = Server::on_data_by(&restored_keys.program(), &bench.at("then"), &options);
    assert_eq!(restored.sql("SELECT a FROM shop.t; SELECT a FROM shop.u"), format!("{TEXT}\nlater\n7\n"));
    drop(restored);

    // The live server makes the tables that come beside its own, with its own keys.
    let beside = ["restore", "--before", &place, "--database", "shop", "--as", "shop_then", "--scratch", &scratch];
    bench.works(&beside);
    assert_eq!(server.sql("SELECT COUNT(*) FROM shop_then.t; SELECT a FROM shop_then.u"), "2\n7\n");

    let (file, away) = (keys.file(), keys.file().with_extension("away"));
    durable::rename(&file, &away).unwrap();
    let named = format!("the keyring {} is not here", file.display());
    bench.fails(&drill, 3, &[&named, "bring it from"]);
    durable::write(&file, br#"{"version": "#).unwrap();
    bench.fails(&drill, 3, &[&format!("the keyring {} is not whole", file.display())]);
    assert!(!bench::names(&bench.at("")).iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
}

#[test]
fn keys_that_nothing_needs_go_with_what_a_killed_restore_left() {
    const TRIES: usize = 20;
    if *IS_MARIADB {
        println!("MySQL's alone: tests/native mysql pitr; MariaDB's keys are a file that no server writes to");
        return;
    }
    let _alone = KILLS.write().unwrap_or_else(PoisonError::into_inner);
    let keys = Keys::new();
    let server = encrypted(&keys);
    let bench = Bench::new(&server);
    bench.backup();
    bench.ship();
    let to = bench.at("then");
    let is_there = || bench.names().into_iter().any(|name| name.starts_with("then.keyring-"));
    // Between the keys and the data there is a moment.
    let killed_between = || {
        let mut restore = bench.begin(&["restore", "--until", "latest", "--to", to.to_str().unwrap()]);
        while !is_there() {
            assert!(restore.try_wait().unwrap().is_none(), "it has ended without keys");
        }
        restore.kill().unwrap();
        restore.wait().unwrap();
        let (planned, _) = (bench.works(&["recover", "--dry-run"]), bench.works(&["recover"]));
        assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-")), "{:?}", bench.names());
        let (is_placed, left) = (to.exists(), is_there());
        assert_eq!(left, is_placed, "keys and data belong together: {:?}", bench.names());
        assert_eq!(planned.contains("keys of data that run"), !is_placed, "{planned}");
        if is_placed {
            fs::remove_dir_all(&to).unwrap();
            fs::remove_file(new_keyring(&bench)).unwrap();
        }
        !is_placed
    };
    assert!((0..TRIES).any(|_| killed_between()), "no kill of {TRIES} came between them");
}
