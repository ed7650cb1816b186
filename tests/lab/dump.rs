//! Dumps: from a second server on the snapshot, or from the live one, and back into a server.

use std::collections::BTreeSet;
use std::path::Path;

use mysnap::sys::durable;
use mysql::prelude::Queryable as _;
use nix::sys::signal::Signal;

use crate::drill::live_server;
use crate::host::{self, mysnap, mysnap_ok, on_node2, run, try_run};
use crate::live::{LOCAL, Live, Undo, expect, fails, forget_stored, local, stored};
use crate::sweep::{STALL, noise};
use crate::witness::{Row, Testimony, Witness};

const SCRATCH: &str = "/srv/drill";

/// An option file of somebody who may restore: root by the server's socket.
pub fn root() -> String {
    let path = "/root/restore.cnf";
    durable::write(Path::new(path), b"[client]\nsocket=/run/mysqld/mysqld.sock\n").unwrap();
    path.to_owned()
}

fn sql(statement: &str) -> String {
    run(&[host::client(), "--default-character-set=utf8mb4", "-N", "-e", statement])
}

pub fn manifest(config: &str) -> serde_json::Value {
    serde_json::from_str(&mysnap_ok(&["--config", config, "show", "latest", "--json"])).unwrap()
}

/// Databases with ugly names, types and engines, which stay as they are; gone with what is returned, because
/// other tests count on a server without such engines.
pub fn demo_data() -> Undo {
    run(&["/usr/lib/mysnap/provision/demo-data.sh"]);
    let drop = "DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS `odd-naïve db`";
    Undo::with(&format!("{} --default-character-set=utf8mb4 -e '{drop}'", host::client()))
}

/// What a table holds, whatever the order of its rows. CHECKSUM TABLE is not the same for equal rows with
/// stored generated columns (MDEV-22943).
fn sum_of(database: &str, table: &str) -> String {
    let columns = sql(&format!(
        "SELECT CONCAT('COALESCE(HEX(`', REPLACE(COLUMN_NAME, '`', '``'), '`), \"NULL\")') \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = {}",
        literal(table)
    ));
    let columns: Vec<&str> = columns.lines().collect();
    sql(&format!(
        "SELECT COUNT(*), SUM(CRC32(CONCAT_WS(',', {}))) FROM `{database}`.`{}`",
        columns.join(", "),
        table.replace('`', "``")
    ))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// Restored beside the live ones, all tables of `database` are the same.
pub fn comes_back(config: &str, database: &str) {
    comes_back_with(&["--config", config, "restore", "latest"], database);
}

fn comes_back_with(restore: &[&str], database: &str) {
    let _gone = Undo::with(&format!("{} -e 'DROP DATABASE IF EXISTS then_there'", host::client()));
    let into = root();
    let more = ["--database", database, "--as", "then_there", "--into", &into];
    mysnap_ok(&restore.iter().copied().chain(more).collect::<Vec<_>>());
    let mut root = host::root();
    let tables: Vec<String> = root
        .exec(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? \
             AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')",
            (database,),
        )
        .unwrap();
    assert!(tables.len() > 5, "{tables:?}");
    for table in tables {
        assert_eq!(sum_of("then_there", &table), sum_of(database, &table), "{table}");
        let mut made = |database: &str| -> String {
            let name = table.replace('`', "``");
            let row: mysql::Row =
                root.query_first(format!("SHOW CREATE TABLE `{database}`.`{name}`")).unwrap().unwrap();
            let text: String = row.get(1).unwrap();
            // A server that is started again counts on from what was used, not from what it had reserved.
            let words = text.split(' ').filter(|word| !word.starts_with("AUTO_INCREMENT="));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(made("then_there"), made(database));
    }
}

/// Rows of the ledger that was restored into `database`.
fn rows_in(database: &str) -> BTreeSet<Row> {
    let text = sql(&format!("SELECT writer, n FROM {database}.ledger"));
    let number = |field: Option<&str>| field.and_then(|f| f.parse().ok()).unwrap();
    text.lines().map(|l| l.split_whitespace()).map(|mut f| (number(f.next()), number(f.next()))).collect()
}

/// What a dump with `config` made under load, restored beside the live data, is exactly the rows up to its
/// position.
pub fn is_exact_under_load(config: &str, phase: &str) -> serde_json::Value {
    let witness = Witness::start(4);
    let mut live = Live::start(config, &["backup", "local"]);
    live.wait_for(phase);
    witness.ease();
    let result = live.finish();
    let testimony: Testimony = witness.stop();
    assert_eq!(result.status, 0, "{}{}", result.stdout, result.stderr);
    assert_eq!(testimony.failed, 0, "a writer met an error");
    assert!(testimony.longest_gap < STALL + noise(), "writers waited {:?}", testimony.longest_gap);
    host::assert_nothing_left();
    let manifest = manifest(config);
    let file = manifest["position"]["binlog"]["file"].as_str().unwrap();
    let promised = testimony.rows_up_to(file, manifest["position"]["binlog"]["offset"].as_u64().unwrap());
    assert!(!promised.is_empty());
    let _gone = Undo::with(&format!("{} -e 'DROP DATABASE IF EXISTS witness_then'", host::client()));
    let into = root();
    mysnap_ok(&[
        "--config",
        config,
        "restore",
        "latest",
        "--database",
        "witness",
        "--as",
        "witness_then",
        "--into",
        &into,
    ]);
    assert_eq!(rows_in("witness_then"), promised);
    manifest
}

#[test]
fn a_dump_of_the_snapshot_is_exact_and_its_databases_come_back_as_they_were() {
    on_node2("rm -rf /srv/backup && mkdir -p -m 0700 /srv/backup");
    let to = format!("[job.local]\nto = \"root@{}:/srv/backup\"\nretries = 1\n", host::node2());
    let config = host::configure("dump", &(to + "method = \"dump\"\n"));
    let _demo = demo_data();
    host::assert_writable();
    let before = live_server();
    let manifest = is_exact_under_load(&config, "dump");
    assert_eq!(live_server().0, before.0, "the live server was restarted");
    let position = manifest["proof"]["shown"]["position"].as_str().unwrap();
    assert!(position.contains("is where its binary log ended"), "{position}");
    mysnap_ok(&["--config", &config, "verify", "latest"]);
    let listed = mysnap_ok(&["--config", &config, "show", "latest"]);
    assert!(listed.contains("database     shop") && listed.contains("database     witness"), "{listed}");

    comes_back(&config, "shop");
    comes_back(&config, "odd-naïve db");
    let refused = mysnap(&["--config", &config, "restore", "latest", "--database", "shop", "--into", &root()]);
    expect(&refused, 3, &["there is a database \"shop\"", "--as NAME"]);
    // The account that backs up may not restore, and is told what to do.
    let may_not = mysnap(&["--config", &config, "restore", "latest", "--database", "shop", "--as", "other"]);
    expect(&may_not, 2, &["--into FILE names an option file"]);
    assert!(!sql("SHOW DATABASES").contains("mysnap_restoring"));
}

#[test]
fn a_drill_loads_a_dump_into_a_server_of_its_own() {
    forget_stored();
    let _gone = Undo::with(&format!("rm -rf /var/lib/mysnap/drills {SCRATCH}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    let _demo = demo_data();
    let config = local(
        "dumpdrill",
        "method = \"dump\"\nqueries = [\"SELECT COUNT(*) > 0 FROM shop.orders\"]\nprove = \"queries\"\n",
    );
    mysnap_ok(&["--config", &config, "backup", "local"]);
    assert_eq!(manifest(&config)["proof"]["shown"]["queries"], 1);
    let before = live_server();
    let drill = ["--config", &config, "drill", "local", "--scratch", SCRATCH, "--json"];
    let report: serde_json::Value = serde_json::from_str(&mysnap_ok(&drill)).unwrap();
    println!("{report:#}");
    assert!(report["found"]["tables"].as_u64().unwrap() > 20, "{report}");
    assert_eq!(report["found"]["queries"], 1);
    assert_eq!(live_server(), before, "the live server was touched");
    assert_eq!(run(&["ls", "-A", SCRATCH]), "");
    host::assert_nothing_left();
}

#[test]
fn the_live_server_is_dumped_through_one_view_and_refuses_tables_that_keep_none() {
    forget_stored();
    let _demo = demo_data();
    let volumes = host::volumes();
    let live =
        |more: &str, server: &str| local("live", &format!("method = \"dump\"\nsource = \"live\"\n{more}{server}"));
    let server = format!("[job.local.server]\noption_file = \"{}\"\n", root());
    // What it can't see would be missing, and nothing would say so.
    fails(&live("", ""), 2, &["the account lacks SELECT on *.*", "the account lacks TRIGGER"]);
    let all = live("", &server);
    // The demo data has tables without transactions.
    fails(&all, 3, &["these tables change while they are read", "shop.in_myisam", "leave them out with exclude"]);
    fails(&live("include = [\"witnes\"]\n", &server), 3, &["include names witnes,"]);
    let config = live("include = [\"witness\"]\n", &server);
    {
        // Which a dump to a directory does without.
        let _back = Undo::with("mv /usr/bin/rsync.away /usr/bin/rsync");
        run(&["mv", "/usr/bin/rsync", "/usr/bin/rsync.away"]);
        mysnap_ok(&["--config", &config, "check", "local"]);
        fails(&local("copied", ""), 3, &["rsync is not installed", "install the package rsync"]);
    }
    let plan = mysnap_ok(&["--config", &config, "backup", "local", "--dry-run"]);
    assert!(plan.contains("let 2 connections begin a transaction"), "{plan}");
    is_exact_under_load(&config, "dump");
    assert_eq!(host::volumes(), volumes);
}

#[test]
fn a_dump_that_is_ended_leaves_nothing_and_no_backup() {
    forget_stored();
    for source in ["snapshot", "live"] {
        let more = format!(
            "method = \"dump\"\nsource = \"{source}\"\nexclude = [\"*.in_*\"]\nworkers = 1\n\
             [job.local.server]\noption_file = \"{}\"\n",
            root()
        );
        let config = local("dumpend", &more);
        for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGKILL, 137)] {
            let mut live = Live::backup(&config);
            live.wait_for("dump");
            live.signal(signal);
            let result = live.finish();
            assert_eq!(result.status, status, "{source}: {}{}", result.stdout, result.stderr);
            if signal == Signal::SIGKILL {
                mysnap_ok(&["recover"]);
            }
            host::assert_nothing_left();
            assert_eq!(stored(), Vec::<String>::new());
            assert!(!try_run(&["pgrep", "-f", "socket=/run/mysnap/"]).status.success(), "a second server is left");
        }
    }
    assert_eq!(run(&["find", LOCAL, "-name", "manifest.json"]), "");
}

#[test]
fn one_database_and_one_table_come_out_of_stored_files_which_stay_as_they_are() {
    forget_stored();
    let _demo = demo_data();
    let _gone = Undo::with(&format!("rm -rf {SCRATCH}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    let config = local("outof", "");
    mysnap_ok(&["--config", &config, "backup", "local"]);
    let out_of = |more: &[&str]| {
        let root = root();
        let common = ["--config", &config, "restore", "latest", "--scratch", SCRATCH, "--into", &root];
        mysnap(&common.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let taken = out_of(&["--database", "shop", "--table", "orders"]);
    expect(&taken, 3, &["there is a table shop.orders"]);
    // Nobody is there to be asked when everything is brought and dumped.
    let unasked = out_of(&["--database", "shop", "--table", "orders", "--replace"]);
    expect(&unasked, 11, &["DROP table shop.orders", "not confirmed"]);
    assert!(!unasked.stdout.contains("nothing of them copied") && !unasked.stderr.contains("nothing of them copied"));
    let before = live_server();
    let one = out_of(&["--database", "shop", "--table", "orders", "--as", "orders_then"]);
    expect(&one, 0, &["nothing of them copied", "restored shop"]);
    assert_eq!(sum_of("shop", "orders_then"), sum_of("shop", "orders"));
    assert_eq!(live_server().0, before.0);
    sql("DROP TABLE shop.orders_then");
    comes_back_with(&["--config", &config, "restore", "latest", "--scratch", SCRATCH], "shop");
    assert_eq!(run(&["ls", "-A", SCRATCH]), "");
    host::assert_nothing_left();
    mysnap_ok(&["verify", "latest", "--from", LOCAL]);
    // A damaged file is named, and nothing is made of it.
    let file = run(&["sh", "-c", &format!("ls {LOCAL}/local/*/datadir/shop/orders.ibd")]);
    let at = file.trim();
    run(&["sh", "-c", &format!("printf '\\377' | dd of={at} bs=1 seek=40000 conv=notrunc")]);
    let damaged = out_of(&["--database", "shop", "--table", "orders", "--as", "again"]);
    expect(&damaged, 8, &["datadir/shop/orders.ibd is missing or does not match its digest"]);
    forget_stored();
}
