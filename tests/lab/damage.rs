//! Second servers on bad ground: damaged tables, missing files and programs, little memory, each other.

use mysql::prelude::Queryable as _;

use crate::host::{self, mysnap, mysnap_ok, run, try_run};
use crate::live::{Live, Undo, expect, forget_stored, local, stored};
use crate::support::start_server;

const SCRATCH: [&str; 2] = ["/srv/drill", "/srv/drill2"];
const TABLE_FILE: &str = "/var/lib/mysql/damaged/flipped.ibd";
const DISTANT_FILE: &str = "/var/lib/mysql/damaged/distant.ibd";

/// A table whose pages are all written out; gone with what is returned.
fn a_table_on_disk() -> Undo {
    let mut root = host::root();
    let rows: Vec<String> = (0..2000).map(|n| format!("({n}, REPEAT('x', 200))")).collect();
    for statement in [
        "DROP DATABASE IF EXISTS damaged".to_owned(),
        "CREATE DATABASE damaged".to_owned(),
        "CREATE TABLE damaged.flipped (n INT PRIMARY KEY, t CHAR(200)) ENGINE=InnoDB".to_owned(),
        format!("INSERT INTO damaged.flipped VALUES {}", rows.join(", ")),
        "CREATE TABLE damaged.distant (n INT PRIMARY KEY, b LONGBLOB) ENGINE=InnoDB".to_owned(),
        "INSERT INTO damaged.distant VALUES (1, REPEAT('far away', 262144))".to_owned(),
    ] {
        root.query_drop(statement).unwrap();
    }
    // All is in its file then. Else a recovery makes the pages, and the file itself, anew out of the redo log.
    run(&["systemctl", "stop", host::service()]);
    start_server();
    Undo::with(&format!("{} -e 'DROP DATABASE damaged'", host::client()))
}

/// No good backup comes of `config`, the `table` is named, and nothing is left.
fn is_named(config: &str, table: &str) {
    forget_stored();
    let ran = mysnap(&["--config", config, "backup", "local"]);
    expect(&ran, 8, &[table]);
    let listed = mysnap(&["--config", config, "list"]).stdout;
    assert!(stored().is_empty() || listed.contains(" BAD "), "{listed}");
    host::assert_nothing_left();
    assert!(!try_run(&["pgrep", "-f", "socket=/run/mysnap/"]).status.success(), "a second server is left");
}

#[test]
fn a_table_with_a_damaged_page_is_named_by_the_proof_and_by_the_dump() {
    let _gone = a_table_on_disk();
    // Of a page with rows, which the live server has in memory and does not write again.
    let page = 10;
    let damage = format!(
        "head -c 64 /dev/zero | tr '\\0' '\\377' | \
         dd of={TABLE_FILE} bs=1 seek={} conv=notrunc,fsync status=none",
        page * 16384 + 500
    );
    run(&["sh", "-c", &damage]);
    is_named(&local("bad", "prove = \"tables\"\n"), "flipped");
    is_named(&local("bad", "method = \"dump\"\n"), "flipped");
    forget_stored();
}

#[test]
fn damage_where_a_value_lies_apart_from_its_row_is_named_by_the_proof_and_by_the_dump() {
    let _gone = a_table_on_disk();
    // In the middle of the value, whichever pages it has. MariaDB's CHECK TABLE says OK, and its SELECT gives what stands
    // before that.
    let file = std::fs::read(DISTANT_FILE).unwrap();
    let places: Vec<usize> =
        file.windows(8).enumerate().filter(|(_, text)| text == b"far away").map(|(at, _)| at).collect();
    assert!(places.len() > 200_000, "{}", places.len());
    let middle = places[places.len() / 2];
    let damage = format!("printf '\\377' | dd of={DISTANT_FILE} bs=1 seek={middle} conv=notrunc,fsync status=none");
    run(&["sh", "-c", &damage]);
    is_named(&local("bad", "prove = \"tables\"\n"), "distant");
    is_named(&local("bad", "method = \"dump\"\n"), "distant");
    forget_stored();
}

#[test]
fn a_table_whose_file_is_missing_is_named_by_the_proof_and_by_the_dump() {
    let _gone = a_table_on_disk();
    let _back = Undo::with(&format!("mv {TABLE_FILE}.away {TABLE_FILE}"));
    run(&["mv", TABLE_FILE, &format!("{TABLE_FILE}.away")]);
    is_named(&local("missing", "prove = \"tables\"\n"), "flipped");
    is_named(&local("missing", "method = \"dump\"\n"), "flipped");
    forget_stored();
}

#[test]
fn without_a_server_program_nothing_is_begun_that_needs_one() {
    forget_stored();
    let program = if host::is_mariadb() { "/usr/sbin/mariadbd" } else { "/usr/sbin/mysqld" };
    let _back = Undo::with("for p in /usr/sbin/*.away; do mv $p ${p%.away}; done");
    run(&["mv", program, &format!("{program}.away")]);
    // MariaDB's other name for it.
    drop(try_run(&["mv", "/usr/sbin/mysqld", "/usr/sbin/mysqld.away"]));
    for more in ["prove = \"start\"\n", "method = \"dump\"\n"] {
        let ran = mysnap(&["--config", &local("missing", more), "backup", "local"]);
        expect(&ran, 3, &["no server of ", " is installed", "hint: install "]);
        host::assert_nothing_left();
    }
    assert_eq!(stored(), Vec::<String>::new());
}

#[test]
fn two_second_servers_run_beside_each_other() {
    forget_stored();
    let _gone = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {}", SCRATCH.join(" ")));
    let config = local("two", "");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let drills: Vec<Live> = SCRATCH
        .iter()
        .map(|scratch| {
            run(&["install", "-d", "-m", "0755", scratch]);
            Live::start(&config, &["drill", "local", "--scratch", scratch, "--level", "start"])
        })
        .collect();
    for drill in drills {
        expect(&drill.finish(), 0, &[]);
    }
    for scratch in SCRATCH {
        assert_eq!(run(&["ls", "-A", scratch]), "");
    }
    host::assert_nothing_left();
    forget_stored();
}

#[test]
fn a_second_server_without_memory_ends_and_says_nothing_against_the_backup() {
    forget_stored();
    let [scratch, _] = SCRATCH;
    let _gone = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {scratch}"));
    run(&["install", "-d", "-m", "0755", scratch]);
    let config = local("little", "");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let pid = run(&["systemctl", "show", "--value", "-p", "MainPID", host::service()]);
    let limits = ["MemoryMax=64M", "MemorySwapMax=0", "OOMPolicy=continue"];
    let limits = limits.into_iter().flat_map(|limit| ["-p", limit]);
    let limited = ["systemd-run", "--quiet", "--scope"].into_iter().chain(limits).chain(["--"]);
    let drill = ["mysnap", "--config", &config, "drill", "local", "--scratch", scratch, "--level", "start"];
    let out = try_run(&limited.chain(drill).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("that is the host's doing, and says nothing about the files"), "{said}");
    assert_eq!(run(&["systemctl", "show", "--value", "-p", "MainPID", host::service()]), pid);
    assert_eq!(run(&["ls", "-A", scratch]), "");
    let listed = mysnap_ok(&["--config", &config, "list"]);
    assert!(!listed.contains(" BAD ") && !listed.contains(" FAILED "), "{listed}");
    host::assert_nothing_left();
    forget_stored();
}
