//! A replica that is promoted and answers where the dead server did: another server, whose log is a history of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mysnap::dump::Compression;
use mysnap::server::Access;
use mysnap::sys::{durable, retry};

use crate::bench::{Bench, Tmpfs, in_use_cleared};
use crate::distant::{Distant, SOON, free_port, quoted_password};
use crate::proxy::Proxy;
use crate::server::{IS_MARIADB, Server, either};

/// A server that other servers and the tool reach.
struct Replica {
    server: Server,
    port: u16,
    _program: tempfile::TempDir,
}

impl Replica {
    /// One that was made long before it follows anybody. MariaDB is told from others by the name of its host.
    fn start() -> Self {
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let elsewhere = directory.path().join("elsewhere");
        let named = "echo promoted > /proc/sys/kernel/hostname && exec mariadbd \"$@\"";
        let script = format!("#!/bin/sh\nexec unshare --uts sh -c '{named}' sh \"$@\"\n");
        durable::write(&elsewhere, script.as_bytes()).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        let program = if *IS_MARIADB { &elsewhere } else { Path::new("mysqld") };
        let (port_option, replicates) =
            (format!("--port={port}"), either("--log-slave-updates=1", "--log-replica-updates=1"));
        let options = ["--server-id=2", replicates, "--skip-networking=0", &port_option, "--bind-address=127.0.0.1"];
        Self { server: Server::start_by(program, &options), port, _program: directory }
    }

    fn follow(&self, port: u16) {
        let to = format!(
            "HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'far', SOURCE_PASSWORD = '{}'",
            quoted_password()
        );
        let mariadb =
            format!("CHANGE MASTER TO SOURCE_{to}, SOURCE_USE_GTID = slave_pos").replace("SOURCE_", "MASTER_");
        let mysql =
            format!("CHANGE REPLICATION SOURCE TO SOURCE_{to}, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1");
        self.server.sql(&format!("{}; START REPLICA", either(mariadb, mysql)));
    }

    /// Waits until it has `text`, and lets it be a server of its own.
    fn promote(&self, text: &str) {
        let has = || {
            // The table is not there before it is replicated.
            let count =
                "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = 't'";
            let is_there = self.server.sql(count).trim() == "1";
            let rows = || self.server.sql(&format!("SELECT COUNT(*) FROM shop.t WHERE a = '{text}'"));
            if is_there && rows().trim() == "1" { Ok(()) } else { Err(self.server.sql("SHOW REPLICA STATUS\\G")) }
        };
        retry::until(SOON, has).unwrap();
        self.server.sql("STOP REPLICA; RESET REPLICA ALL");
    }
}

#[test]
fn a_promoted_replica_in_the_place_of_the_server_is_another_timeline() {
    let second = Replica::start();
    // The times of events are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    // On a slow disk a log that is flushed once a second leaves no exact position.
    let first = Distant::start(&["--server-id=1", "--innodb-flush-log-at-trx-commit=1"], "ALL PRIVILEGES");
    let first_port = first.access.port.unwrap();
    second.follow(first_port);
    let proxy = Proxy::to(first_port);
    let access = Access { port: Some(proxy.port()), ..first.access.clone() };
    let archives = || Bench::new(&first.server, Compression::Zstd).by_tool(&access);
    let (bench, followed) = (archives(), archives());
    let backups = bench.archive().with_file_name("backups");
    bench.configure(&format!("[job.nightly]\nto = {backups:?}\nmethod = \"dump\"\nsource = \"live\"\n"));
    let base = backup(&bench, &[]);
    let stream = followed.stream();
    first
        .server
        .sql("INSERT INTO shop.t (a) VALUES ('both'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('last')");
    first.caught_up(&followed);
    bench.ship().unwrap();
    let before = bench.contents();
    let in_both = bench.index().timelines[0].files.last().unwrap().last_gtid.clone().unwrap();

    second.promote("last");
    first.server.kill();
    proxy.lead_to(second.port);
    second.server.sql("INSERT INTO shop.t (a) VALUES ('by the promoted one')");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert_eq!(status.code(), Some(12), "{said}");
    let new = either("promoted", "");
    let told =
        said.contains("the server is another one") && said.contains("a new timeline begins, the old one is kept");
    assert!(told && said.contains(new), "{said}");
    bench.ship().unwrap();
    is_kept_beside(&bench, &second, &before);
    let noticed = || if followed.index().timelines.len() == 2 { Ok(()) } else { Err(stream.said()) };
    retry::until(SOON, noticed).unwrap();
    second.server.sql("INSERT INTO shop.t (a) VALUES ('followed'); FLUSH BINARY LOGS");
    let caught_up = || if followed.end().file == second.server.log_end().0 { Ok(()) } else { Err(stream.said()) };
    retry::until(SOON, caught_up).unwrap();
    let (status, said) = stream.end();
    assert!(status.success() && said.matches("the server is another one").count() == 1, "{said}");
    followed.compare(&second.server);

    bench.ship().unwrap();
    a_lost_index_is_made_again(&bench, &second, &before);
    the_dead_ones_backup_leads_no_further(&bench, &base, &in_both);
}

fn backup(bench: &Bench, options: &[&str]) -> String {
    let (status, said) = bench.command(&[&["backup", "nightly"], options].concat());
    assert!(status.success(), "{said}");
    let (_, rest) = said.split_once("backup 2").unwrap();
    format!("2{}", rest.split_whitespace().next().unwrap())
}

type Contents = std::collections::BTreeMap<(String, String), Vec<u8>>;

/// The old timeline is what it was, and the new one what the promoted server has.
fn is_kept_beside(bench: &Bench, second: &Replica, before: &Contents) {
    let index = bench.index();
    let [old, new] = &index.timelines[..] else { panic!("{index:?}") };
    // Names alone would put it before the dead one's.
    assert!(new.id < old.id && new.server.key != old.server.key, "{} {}", old.id, new.id);
    let after = bench.contents();
    let is_kept = |(place, bytes): (&(String, String), &Vec<u8>)| {
        after.get(place).is_some_and(|now| in_use_cleared(now) == in_use_cleared(bytes))
    };
    assert!(before.iter().all(is_kept));
    bench.compare(&second.server);
    assert!(bench.verify().damaged.is_empty());
}

/// Whoever answers is the last one's server then: there is nothing to name, and nothing is copied twice.
fn a_lost_index_is_made_again(bench: &Bench, second: &Replica, before: &Contents) {
    fs::remove_file(bench.archive().join("index.json")).unwrap();
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success(), "{said}");
    is_kept_beside(bench, second, before);
    let levels = bench.status("shop");
    // No backup leads to what the promoted one wrote.
    assert!(levels.iter().any(|line| line["level"] == "critical"), "{levels:?}");
}

/// What both have executed is in both timelines; the newest is the promoted one's, to which a backup of it leads alone.
fn the_dead_ones_backup_leads_no_further(bench: &Bench, base: &str, in_both: &str) {
    let room = Tmpfs::mount("1G");
    let to = room.path().join("then").display().to_string();
    let restore = |arguments: &[&str]| {
        let (status, said) = bench.command(&[&["restore"], arguments, &["--to", &to, "--dry-run"]].concat());
        (status.code(), said)
    };
    let refused = |arguments: &[&str]| {
        let (code, said) = restore(arguments);
        assert!(code == Some(12) && said.contains("the timeline ends at"), "{arguments:?}: {said}");
    };
    refused(&["--until", "latest"]);
    refused(&[base, "--until", "latest"]);
    let ambiguous = || {
        let (code, said) = restore(&["--until", in_both]);
        let named = said.contains("is in several timelines") && said.contains(&format!("from backup {base}"));
        assert!(code == Some(3) && named, "{said}");
    };
    ambiguous();
    let (code, said) = restore(&[base, "--until", in_both]);
    assert!(code == Some(0) && said.contains(&format!("base:     backup {base}")), "{said}");
    // For backups MariaDB is told from others by the host that mysnap runs on.
    if !*IS_MARIADB {
        let (status, said) = bench.command(&["backup", "nightly"]);
        assert!(!status.success() && said.contains("--new-server"), "{said}");
    }
    let new = backup(bench, &["--new-server"]);
    // It may stand a bit behind what was archived before it.
    bench.ship().unwrap();
    ambiguous();
    let (code, said) = restore(&["--until", "latest"]);
    assert!(code == Some(0) && said.contains(&format!("base:     backup {new}")), "{said}");
    refused(&[base, "--until", "latest"]);
    let levels = bench.status("shop");
    assert!(levels.iter().all(|line| line["level"] == "ok"), "{levels:?}");
}
