//! Data that does not lie where one would think: refused by name, or backed up with the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql::prelude::Queryable as _;

use crate::host::{self, mysnap, mysnap_ok, run};
use crate::live::{LOCAL, Undo, expect, fails, local};
use crate::restore::start_and_ask;
use crate::support::start_server;

const DATADIR: &str = "/var/lib/mysql";

fn shell(line: &str) {
    run(&["sh", "-c", line]);
}

/// A volume of the server's group, mounted; gone when this is dropped.
struct Extra {
    _gone: Undo,
}

impl Extra {
    fn mounted(name: &str, at: &str) -> Self {
        let mut create = vec!["lvcreate", "-qy", "-n", name];
        create.extend(if host::is_thin() {
            ["-V", "320M", "--thinpool=pool", "vg0"]
        } else {
            ["-L", "320M", "vg0", "-q"]
        });
        run(&create);
        let gone = Undo::with(&format!("umount {at}; lvremove -qy vg0/{name} && rmdir {at}"));
        let fs = run(&["findmnt", "-no", "FSTYPE", DATADIR]);
        shell(&format!("mkfs.{} -q /dev/vg0/{name} && mkdir -p {at} && mount /dev/vg0/{name} {at}", fs.trim()));
        Self { _gone: gone }
    }
}

#[test]
fn a_database_that_lies_on_another_file_system_is_refused_by_name() {
    let config = local("links", "");
    {
        let _gone = Undo::with("rm -f /var/lib/mysql/linked; rm -r /srv/elsewhere");
        shell("mkdir -p /srv/elsewhere/linked && ln -s /srv/elsewhere/linked /var/lib/mysql/linked");
        fails(&config, 3, &["tablespace in /srv/elsewhere/linked lies on /dev/", "not a logical volume"]);
    }
    {
        shell("mkdir /var/lib/mysql/inner && mount -t tmpfs tmpfs /var/lib/mysql/inner");
        let _gone = Undo::with("umount /var/lib/mysql/inner; rmdir /var/lib/mysql/inner");
        fails(&config, 3, &["/var/lib/mysql/inner is mounted inside /var/lib/mysql"]);
    }
}

#[test]
fn a_volume_that_cannot_be_trusted_is_refused() {
    let config = local("links", "");
    let linked = |at: &str| {
        shell(&format!("ln -s {at} /var/lib/mysql/linked"));
        Undo::with("rm -f /var/lib/mysql/linked")
    };
    {
        let _volume = Extra::mounted("fixed", "/srv/fixed");
        run(&["mount", "-o", "remount,ro", "/srv/fixed"]);
        let _link = linked("/srv/fixed");
        fails(&config, 3, &["vg0/fixed is read-only"]);
    }
    let _slow = slow_volume("/srv/slow");
    let _link = linked("/srv/slow");
    fails(&config, 3, &["a small write to /srv/slow took", "on a disk this slow"]);
}

/// A volume on a disk that takes 300 ms for each write.
fn slow_volume(at: &str) -> Undo {
    run(&["modprobe", "-a", "loop", "dm-delay"]);
    shell("truncate -s 96M /var/tmp/slow.img && losetup /dev/loop7 /var/tmp/slow.img");
    // Not from its beginning, or LVM would find the physical volume on both devices.
    let skipped = 2048;
    let sectors = format!("$(($(blockdev --getsz /dev/loop7) - {skipped}))");
    let table = |delay: u32| format!("0 {sectors} delay /dev/loop7 {skipped} 0 /dev/loop7 {skipped} {delay}");
    let gone = Undo::with(&format!(
        "dmsetup suspend slow-disk && dmsetup reload slow-disk --table \"{}\"; dmsetup resume slow-disk; umount {at}; \
         vgremove -qyf vgslow; dmsetup remove slow-disk; losetup -d /dev/loop7; rm -f /var/tmp/slow.img; rmdir {at}",
        table(0)
    ));
    shell(&format!("dmsetup create slow-disk --table \"{}\"", table(0)));
    shell("vgcreate -qy vgslow /dev/mapper/slow-disk && lvcreate -qy -n slow -l 100%FREE vgslow");
    shell(&format!("mkfs.ext4 -q /dev/vgslow/slow && mkdir -p {at} && mount /dev/vgslow/slow {at}"));
    shell(&format!("dmsetup reload slow-disk --table \"{}\" && dmsetup resume slow-disk", table(300)));
    gone
}

/// Writes the same numbers here and there, one after the other, until it is stopped.
fn write_here_and_there(stop: &AtomicBool) {
    let mut conn = host::root();
    for n in 1.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        for table in ["here.plain", "far.plain"] {
            conn.query_drop(format!("INSERT INTO {table} VALUES ({n})")).unwrap();
        }
        conn.query_drop("BEGIN").unwrap();
        for table in ["here.inno", "far.inno"] {
            conn.query_drop(format!("INSERT INTO {table} VALUES ({n})")).unwrap();
        }
        conn.query_drop("COMMIT").unwrap();
    }
}

#[test]
fn two_volumes_are_snapshotted_under_one_hold_and_restored_together() {
    let _volume = Extra::mounted("extra", "/srv/extra");
    let _schemas = Undo::with(&format!(
        "{} -e 'DROP DATABASE IF EXISTS here; DROP DATABASE IF EXISTS far'; rm -f /var/lib/mysql/far",
        host::client()
    ));
    let mut root = host::root();
    for schema in ["here", "far"] {
        root.query_drop(format!("CREATE DATABASE {schema}")).unwrap();
    }
    shell(
        "mv /var/lib/mysql/far /srv/extra/far && ln -s /srv/extra/far /var/lib/mysql/far && chown -h mysql: /var/lib/mysql/far",
    );
    for schema in ["here", "far"] {
        root.query_drop(format!("CREATE TABLE {schema}.plain (n INT) ENGINE=MyISAM")).unwrap();
        root.query_drop(format!("CREATE TABLE {schema}.inno (n INT PRIMARY KEY) ENGINE=InnoDB")).unwrap();
    }
    // Two commands under the lock are not what is measured here.
    let config = local("two", "max_stall = \"30s\"\n");
    let checked = mysnap_ok(&["--config", &config, "check", "local"]);
    assert!(checked.contains("engines: there are tables without transactions"), "{checked}");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || write_here_and_there(&stop))
    };
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    expect(&ran, 0, &["is good"]);
    host::assert_nothing_left();

    let shown: serde_json::Value =
        serde_json::from_str(&mysnap_ok(&["--config", &config, "show", "latest", "--json"])).unwrap();
    let origins: Vec<&str> =
        shown["snapshots"].as_array().unwrap().iter().map(|s| s["origin"].as_str().unwrap()).collect();
    assert_eq!(origins, ["vg0/data", "vg0/extra"]);
    let _drills = Undo::with("rm -rf /var/lib/mysnap/drills");
    shell("mv /srv/extra/far /srv/extra/away");
    let drilled = mysnap(&["--config", &config, "drill", "local", "--scratch", "/var/tmp"]);
    shell("mv /srv/extra/away /srv/extra/far");
    expect(&drilled, 3, &["there is no directory /srv/extra/far, where the data has to be seen"]);
    let home = host::scratch("/var/tmp");
    let (to, far) = (home.path().join("data"), home.path().join("far"));
    let root_option = format!("--root=tablespace={}", far.display());
    mysnap_ok(&["--config", &config, "restore", "latest", "--to", to.to_str().unwrap(), &root_option, "--yes"]);
    assert_eq!(std::fs::read_link(to.join("far")).unwrap(), far, "the copy must not lead to the live files");
    let count = |table: &str| format!("(SELECT COUNT(*) FROM {table})");
    let tables = ["here.plain", "far.plain", "here.inno", "far.inno"].map(count).join(", ");
    let counts = start_and_ask(&to, &format!("SELECT {tables}"));
    let counts: Vec<i64> = counts.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(counts[2] > 0 && counts[2] == counts[3], "transactions on both volumes: {counts:?}");
    let apart = counts[0] - counts[1];
    assert!(counts[0] > 0 && (0..=1).contains(&apart), "one statement may lie between them: {counts:?}");
}

/// The server's option file of a test.
fn drop_in() -> &'static str {
    if host::is_mariadb_installed() {
        "/etc/mysql/mariadb.conf.d/99-test.cnf"
    } else {
        "/etc/mysql/mysql.conf.d/zzz-test.cnf"
    }
}

fn restart_with(options: &str) {
    run(&["systemctl", "stop", host::service()]);
    let section = if host::is_mariadb_installed() { "mariadbd" } else { "mysqld" };
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(drop_in(), format!("[{section}]\n{options}")).unwrap();
    start_server();
}

/// Puts every file of the server back where it was.
fn as_it_was() -> Undo {
    let (service, client) = (host::service(), host::client());
    Undo::with(&format!(
        "{client} -e 'DROP DATABASE IF EXISTS outside' || true; systemctl stop {service}; rm -f {}; \
         cd /srv/outside && for f in redo/* undo/*; do [ ! -e \"$f\" ] || mv \"$f\" {DATADIR}/; done; rm -rf /srv/outside; \
         systemctl start {service}",
        drop_in()
    ))
}

#[test]
fn logs_and_tablespaces_on_the_root_file_system_are_refused_and_a_log_that_is_off_is_told() {
    let config = local("outside", "");
    let _back = as_it_was();
    shell(
        "install -d -o mysql -g mysql /srv/outside /srv/outside/binlog /srv/outside/redo /srv/outside/undo /srv/outside/tables",
    );
    run(&["systemctl", "stop", host::service()]);
    let down = mysnap(&["--config", &config, "backup", "local"]);
    shell(&format!(
        "cd {DATADIR} && for f in ib_logfile* '#innodb_redo'; do [ ! -e \"$f\" ] || mv \"$f\" /srv/outside/redo/; done; mv undo* /srv/outside/undo/"
    ));
    let directories = if host::is_mariadb_installed() { "" } else { "innodb_directories = /srv/outside/tables\n" };
    restart_with(&format!(
        "log_bin = /srv/outside/binlog/binlog\ninnodb_log_group_home_dir = /srv/outside/redo\n\
         innodb_undo_directory = /srv/outside/undo\n{directories}"
    ));
    expect(&down, 3, &["is the server running?"]);
    let mut root = host::root();
    root.query_drop("CREATE DATABASE outside").unwrap();
    root.query_drop("CREATE TABLE outside.t (n INT) ENGINE=InnoDB DATA DIRECTORY='/srv/outside/tables'").unwrap();
    let words = [
        "in /srv/outside/binlog lies on",
        "redo log in /srv/outside/redo lies on",
        "undo log in /srv/outside/undo lies on",
        "tablespace in /srv/outside/tables/outside/t.ibd lies on",
        "what no snapshot covers would be missing in the backup",
    ];
    fails(&config, 3, &words);
    root.query_drop("DROP DATABASE outside").unwrap();
    drop(root);

    run(&["systemctl", "stop", host::service()]);
    shell(&format!("mv /srv/outside/redo/* /srv/outside/undo/* {DATADIR}/"));
    restart_with("skip_log_bin\n");
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    expect(&ran, 0, &["the binary log is off", "no binary log"]);
    let shown = mysnap_ok(&["show", "latest", "--from", LOCAL, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["position"]["binlog"].is_null(), "{shown}");
}
