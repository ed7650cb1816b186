//! A dump comes back by the server's own client alone, as the documentation says (docs/formats.md).

use std::path::Path;

use mysnap::sys::cmd::{Call, quote};

use crate::bench::{Bench, everything};
use crate::own_data::first_difference;
use crate::server::{READY, Server};
use crate::{told, ugly};

/// Runs a line of a shell in the dump's directory, with CLIENT in its place.
fn shell(server: &Server, directory: &Path, line: &str) {
    let client = server.client();
    let words: Vec<String> = client.argv().iter().map(|word| quote(&word.to_string_lossy())).collect();
    let line =
        format!("set -o pipefail; cd '{}'; {}", directory.display(), line.replacen("CLIENT", &words.join(" "), 1));
    Call::new("bash").args(["-c", &line]).deadline(READY).run().unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn by_hand(server: &Server, dump: &Path, database: &str, made: &str) {
    server.sql(made);
    let directory = dump.join(database);
    let feed = |file: &str| {
        if directory.join(file).exists() {
            shell(server, &directory, &format!("CLIENT {database} < {file}"));
        }
    };
    feed("sequences.sql");
    feed("tables.sql");
    let tables = std::fs::read_to_string(directory.join("tables.sql")).unwrap();
    let rows: Vec<&str> = tables.lines().filter_map(|line| line.strip_prefix("-- rows: ")).collect();
    assert!(!rows.is_empty());
    for line in rows {
        shell(server, &directory, line);
    }
    ["routines.sql", "views.sql", "triggers.sql", "events.sql"].into_iter().for_each(feed);
}

#[test]
fn a_dump_comes_back_by_the_servers_own_client_alone() {
    let (server, other, bench) = (Server::start(), Server::start(), Bench::new());
    server.sql(ugly());
    server.sql("DROP VIEW ugly.broken");
    bench.dump(&server, &everything()).unwrap();
    let dump = bench.stored("");
    for database in ["second", "ugly"] {
        let shown = server.sql(&format!("SHOW CREATE DATABASE {database}"));
        // Not the time of those who made the dump.
        other.sql("SET GLOBAL time_zone = '+05:00', GLOBAL local_infile = ON");
        by_hand(&other, &dump, database, shown.split_once('\t').unwrap().1);
        other.sql("SET GLOBAL time_zone = SYSTEM");
        assert_eq!(first_difference(&told(&other, database), &told(&server, database)), None, "{database}");
    }
}
