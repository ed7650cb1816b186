//! Archived files that are not what was archived.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use mysnap::run::events::Event;
use mysnap::sys::cmd::Call;
use mysnap::sys::durable;

use crate::KILLS;
use crate::bench::{Bench, names};
use crate::server::Server;

/// A base, and three files behind it: the row 1 in the first, 2 and 3 in the second, 4 in the last, which the server
/// writes.
fn three_files(server: &Server, bench: &Bench) -> [String; 3] {
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a TEXT)");
    bench.backup();
    let ends = |rows: &[u32], more: &str| {
        for row in rows {
            server.sql(&format!("INSERT INTO shop.t VALUES ({row}, 'the text of row {row}')"));
        }
        let (file, _) = server.log_end();
        server.sql(more);
        file
    };
    [ends(&[1], "FLUSH BINARY LOGS"), ends(&[2, 3], "FLUSH BINARY LOGS"), ends(&[4], "DO 0")]
}

/// The directory of the only timeline in an archive.
fn timeline(archive: &Path) -> PathBuf {
    archive.read_dir().unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap()
}

/// The stored file of that name, whatever it is packed with.
fn stored(archive: &Path, file: &str) -> PathBuf {
    let timeline = timeline(archive);
    let name = names(&timeline).into_iter().find(|name| name.starts_with(file)).unwrap();
    timeline.join(name)
}

/// One bit of the file is another: of the text, or in the middle where it has none.
fn flip(path: &Path, text: &str) {
    let mut bytes = fs::read(path).unwrap();
    let found = bytes.windows(text.len().max(1)).position(|part| part == text.as_bytes());
    let at = found.unwrap_or(bytes.len() / 2);
    bytes[at] ^= 1;
    durable::write(path, &bytes).unwrap();
}

/// Refused with status 8 and `words`; the options to paste.
fn refused(bench: &Bench, point: [&str; 2], archive: &Path, words: &[&str]) -> [String; 2] {
    let (to, archive) = (bench.at("then").display().to_string(), archive.display().to_string());
    let (status, said) = bench.command(&["restore", point[0], point[1], "--archive", &archive, "--to", &to]);
    assert_eq!(status.code(), Some(8), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-") || name == "then"), "{:?}", bench.names());
    let (_, rest) = said.split_once("nearest earlier point: ").unwrap_or_else(|| panic!("{said}"));
    let mut pasted = rest.split_once(';').unwrap().0.split(' ').map(str::to_owned);
    [pasted.next().unwrap(), pasted.next().unwrap()]
}

/// What a restore to there brings back, and what its plan says.
fn brought_back(bench: &Bench, point: &[String; 2], archive: &Path) -> (String, String) {
    let (to, archive) = (bench.at("then").display().to_string(), archive.display().to_string());
    let said = bench.works(&["restore", &point[0], &point[1], "--archive", &archive, "--to", &to]);
    let restored = bench.started("then");
    let rows = restored.sql("SELECT CONCAT(id, a) FROM shop.t ORDER BY id");
    drop(restored);
    fs::remove_dir_all(bench.at("then")).unwrap();
    (rows, said)
}

/// The first so many rows.
fn rows(count: u32) -> String {
    (1..=count).map(|row| format!("{row}the text of row {row}\n")).collect::<Vec<_>>().concat()
}

/// Damages the file when its restore has read it, and has not laid it ready yet.
fn flipped_behind_the_plan(bench: &Bench, archive: &Path, file: &str) {
    let to = bench.at("then").display().to_string();
    let mut child = bench.begin_telling(&["restore", "--until", "latest", "--to", &to]);
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !matches!(serde_json::from_str(&line), Ok(Event::Phase { name }) if name == "start") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    flip(&stored(archive, file), "the text of row 3");
    told.read_to_string(&mut line).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(8), "{said}");
    assert!(
        said.contains(&format!("the archived {file} is not any more what it was when the plan was made")),
        "{said}"
    );
    assert!(!bench.names().iter().any(|name| name.starts_with("mysnap-") || name == "then"), "{:?}", bench.names());
}

#[test]
fn a_byte_that_no_checksum_knows_of_is_not_replayed() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1", "--binlog-format=ROW", "--binlog-checksum=NONE"]);
    let bench = Bench::new(&server);
    bench.store_unpacked();
    let [first, second, third] = three_files(&server, &bench);
    bench.ship();
    let archive = bench.at("logs/shop");
    let latest = ["--until".to_owned(), "latest".to_owned()];
    assert_eq!(brought_back(&bench, &latest, &archive).0, rows(4));

    flipped_behind_the_plan(&bench, &archive, &second);
    let words = [&*format!("the archived {second} is not what was archived"), "its digest is"];
    let nearest = refused(&bench, ["--until", "latest"], &archive, &words);
    assert!(nearest[1].starts_with(&format!("{first}:")), "{nearest:?}");
    // Where in the file it is nobody can tell: not even before that row anything is taken from it.
    let within = format!("{second}:4");
    assert_eq!(refused(&bench, ["--until", &within], &archive, &words), nearest);
    assert_eq!(refused(&bench, ["--before", &format!("{third}:4")], &archive, &words), nearest);
    assert_eq!(brought_back(&bench, &nearest, &archive).0, rows(1));
}

#[test]
fn of_a_damaged_archive_everything_before_the_damage_can_be_had() {
    let _together = KILLS.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&["--server-id=1", "--binlog-format=ROW"]);
    let (bench, unpacked) = (Bench::new(&server), Bench::new(&server));
    unpacked.store_unpacked();
    let [first, second, third] = three_files(&server, &bench);
    bench.ship();
    unpacked.ship();
    let copied = |name: &str| {
        let copy = bench.at(name);
        Call::new("cp").arg("-a").arg(bench.at("logs/shop")).arg(&copy).run().unwrap();
        copy
    };
    let latest = ["--until", "latest"];
    let says = |file: &str| format!("the archived {file} is not what was archived");

    let gone = copied("gone");
    durable::remove_file(&stored(&gone, &second)).unwrap();
    let nearest = refused(&bench, latest, &gone, &[&says(&second), "cannot open"]);
    assert!(nearest[1].starts_with(&format!("{first}:")), "{nearest:?}");
    assert_eq!(brought_back(&bench, &nearest, &gone).0, rows(1));

    let newest_gone = copied("newest-gone");
    durable::remove_file(&stored(&newest_gone, &third)).unwrap();
    let nearest = refused(&bench, latest, &newest_gone, &[&says(&third), "can't be told", "cannot open"]);
    assert!(nearest[1].starts_with(&format!("{second}:")), "{nearest:?}");
    assert_eq!(brought_back(&bench, &nearest, &newest_gone).0, rows(3));

    let torn = copied("torn");
    flip(&stored(&torn, &second), "");
    let nearest = refused(&bench, latest, &torn, &[&says(&second)]);
    let (some, _) = brought_back(&bench, &nearest, &torn);
    assert!(some == rows(1) || some == rows(2), "{nearest:?}: {some}");

    // Behind what has a checksum each the same file can be used.
    let plain = unpacked.at("logs/shop");
    flip(&stored(&plain, &second), "the text of row 3");
    let nearest =
        refused(&bench, latest, &plain, &[&says(&second), "it can't be read on at", "the checksum of the event"]);
    assert!(nearest[1].starts_with(&format!("{second}:")), "{nearest:?}");
    let (some, said) = brought_back(&bench, &nearest, &plain);
    assert_eq!(some, rows(2));
    assert!(said.contains(&format!("damaged:  {second} behind the stop: at ")), "{said}");
    assert!(!said.contains("limits:"), "rows come back as they were: {said}");

    // Where nothing behind the base is left, that is said.
    durable::remove_file(&stored(&plain, &first)).unwrap();
    let to = bench.at("then").display().to_string();
    let wanted = ["restore", "--until", "latest", "--archive", &plain.display().to_string(), "--to", &to];
    bench.fails(&wanted, 8, &[&says(&first), "nothing behind backup 2", "itself it can: `mysnap restore 2"]);
}
