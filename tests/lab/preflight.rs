//! What a run refuses before anybody waits for it: the exit status, the words, and nothing touched.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable as _;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::host::{self, mysnap, node2, on_node2, run, try_run};
use crate::live::{LOCAL, Live, Undo, expect, fails, forget_stored, local, until};
use crate::support::start_server;

const OPTION_FILE: &str = "/etc/mysnap/mysnap.cnf";

/// A copy of the lab's option file under another name, changed by `sed`.
fn option_file(name: &str, sed: &str) -> String {
    let path = format!("/etc/mysnap/{name}.cnf");
    run(&["sh", "-c", &format!("umask 077 && sed '{sed}' {OPTION_FILE} > {path}")]);
    path
}

fn with_option_file(path: &str) -> String {
    local("option-file", &format!("[server]\noption_file = \"{path}\"\n"))
}

#[test]
fn a_wrong_configuration_is_named_by_file_line_key_and_value() {
    let unknown = local("unknown", "max_stal = \"5s\"\n");
    fails(&unknown, 2, &["/etc/mysnap/unknown.toml:5: max_stal is not a known key", "did you mean max_stall?"]);
    let wrong = local("wrong", "snapshot_size = \"a lot\"\n");
    fails(&wrong, 2, &["/etc/mysnap/wrong.toml:5: snapshot_size = \"a lot\"", "allowed: \"auto\", a share"]);
    let ran = mysnap(&["--config", &local("good", ""), "backup", "daily"]);
    expect(&ran, 10, &["has no job \"daily\"", "it has local"]);
}

#[test]
fn what_others_could_have_written_or_read_is_refused() {
    let config = local("open", "");
    run(&["chmod", "0666", &config]);
    fails(&config, 2, &["/etc/mysnap/open.toml", "can be written by others", "chmod go-w"]);
    run(&["chmod", "0600", &config]);

    let secret = option_file("readable", "");
    run(&["chmod", "0644", &secret]);
    let config = with_option_file(&secret);
    fails(&config, 2, &["/etc/mysnap/readable.cnf", "a password that others can read", "chmod 600"]);
    run(&["chown", "mysql", &secret]);
    fails(&config, 2, &["/etc/mysnap/readable.cnf", "belongs to another account"]);

    run(&["sh", "-c", "mkdir -p /srv/open && chmod 0777 /srv/open && cp -p /etc/mysnap/mysnap.cnf /srv/open/"]);
    let _gone = Undo::with("rm -rf /srv/open");
    fails(&with_option_file("/srv/open/mysnap.cnf"), 2, &["/srv/open", "others can write"]);
}

#[test]
fn a_refused_login_names_the_option_file_and_not_the_password() {
    let path = option_file("wrong", "s/^password.*/password = geheim/");
    let ran = fails(&with_option_file(&path), 2, &["refused the login of \"mysnap\"", "/etc/mysnap/wrong.cnf"]);
    assert!(!ran.stderr.contains("geheim"), "{}", ran.stderr);
}

#[test]
fn each_missing_privilege_is_named_with_its_grant() {
    let privileges: &[&str] = if host::is_mariadb() {
        &["RELOAD", "BINLOG MONITOR", "SLAVE MONITOR", "PROCESS"]
    } else {
        &["RELOAD", "REPLICATION CLIENT", "PROCESS"]
    };
    let config = local("grants", "");
    let mut root = host::root();
    for privilege in privileges {
        root.query_drop(format!("REVOKE {privilege} ON *.* FROM 'mysnap'@'localhost'")).unwrap();
        let ran = mysnap(&["--config", &config, "backup", "local"]);
        root.query_drop(format!("GRANT {privilege} ON *.* TO 'mysnap'@'localhost'")).unwrap();
        let grant = format!("GRANT {privilege} ON *.* TO");
        expect(&ran, 2, &[&format!("the account lacks {privilege}"), &grant]);
    }
    host::assert_nothing_left();
}

#[test]
fn no_room_for_the_snapshot_is_noticed_before_any_lock_is_asked_for() {
    let mut root = host::root();
    let log: String = root.query_first("SELECT @@GLOBAL.general_log_file").unwrap().unwrap();
    let path = if log.starts_with('/') { log } else { format!("/var/lib/mysql/{log}") };
    let _off = Undo::with(&format!("{} -e 'SET GLOBAL general_log = 0' && rm -f {path}", host::client()));
    root.query_drop("SET GLOBAL general_log = 1").unwrap();
    if host::is_thin() {
        fails(&local("pool", "pool_data_limit = \"1%\"\n"), 3, &["the data of thin pool vg0/pool is", "lvextend"]);
        fails(&local("pool", "pool_metadata_limit = \"1%\"\n"), 3, &["the metadata of thin pool vg0/pool is"]);
    } else {
        run(&["lvcreate", "-qy", "-Wn", "-Zn", "-an", "-n", "filler", "-l", "100%FREE", "vg0"]);
        let _gone = Undo::with("lvremove -qy vg0/filler");
        fails(&local("full", ""), 3, &["the snapshot of vg0/data needs", "volume group vg0 has 0 B free", "vgextend"]);
    }
    let asked = run(&["cat", &path]);
    assert!(asked.contains("FLUSH LOCAL ENGINE LOGS"), "the log must show what was asked: {asked}");
    for lock in ["READ LOCK", "BACKUP STAGE", "LOCK INSTANCE"] {
        assert!(!asked.contains(lock), "{asked}");
    }
}

#[test]
fn a_destination_that_would_not_do_is_refused() {
    let to = |path: &str| host::configure("target", &format!("[job.local]\nto = \"{path}\"\n"));
    let words = ["/var/lib/mysql/backup lies on vg0/data, the volume to be backed up"];
    fails(&to("/var/lib/mysql/backup"), 3, &words);
    run(&["sh", "-c", "mkdir -p /srv/small && mount -t tmpfs -o size=20M tmpfs /srv/small"]);
    let _gone = Undo::with("umount /srv/small");
    fails(&to("/srv/small"), 3, &["/srv/small has 20.0 MiB free, the backup needs about"]);
    assert_eq!(run(&["ls", "-A", "/srv/small"]), "", "nothing must be made there");
}

#[test]
fn another_node_that_would_not_do_is_refused() {
    let node = node2();
    let to = |to: &str, extra: &str| host::configure("target", &format!("[job.local]\nto = \"{to}\"\n{extra}"));
    on_node2("mkdir -p /srv/small && mount -t tmpfs -o size=20M tmpfs /srv/small");
    let _gone = Undo::with(&format!("ssh {node} umount /srv/small"));
    fails(&to(&format!("root@{node}:/srv/small"), ""), 3, &["/srv/small has 20.0 MiB free"]);

    let known = "/etc/mysnap/known_hosts";
    run(&["sh", "-c", &format!(": > {known}")]);
    let strict = format!("ssh_known_hosts = \"{known}\"\n");
    let config = to(&format!("root@{node}:/srv/backup"), &strict);
    fails(&config, 3, &[&format!("the host key of {node} is not known"), "known: none; offered now: SHA256:"]);
    assert_eq!(run(&["cat", known]), "", "no key must be learned");

    run(&["sh", "-c", "rm -f /root/other* && ssh-keygen -q -t ed25519 -N '' -f /root/other"]);
    run(&["sh", "-c", &format!("echo {node} $(cut -d' ' -f1,2 /root/other.pub) > {known}")]);
    let before = run(&["cat", known]);
    fails(&config, 3, &[&format!("the host key of {node} is another one than before"), "known: SHA256:", "ssh-keygen"]);
    assert_eq!(run(&["cat", known]), before, "no key must be learned");

    let nobody = to("root@nobody.invalid:/srv/backup", "");
    fails(&nobody, 7, &["cannot reach nobody.invalid", "check the network"]);
}

#[test]
fn a_group_held_by_another_lvm_command_is_not_waited_for() {
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open("/run/lock/lvm/V_vg0").unwrap();
    let held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    let config = local("held", "");
    let began = Instant::now();
    let ran = mysnap(&["--config", &config, "backup", "local"]);
    let took = began.elapsed();
    drop(held);
    expect(&ran, 5, &["volume group vg0 is held by another LVM command"]);
    assert!(took < Duration::from_secs(20), "{took:?}");
    host::assert_nothing_left();
}

#[test]
fn a_socket_that_leads_elsewhere_is_refused() {
    let path = "/run/elsewhere.sock";
    let _gone = Undo::with(&format!("rm -f {path}"));
    let listener = UnixListener::bind(path).unwrap();
    // The process at the other end is this test, which does not work in the data directory.
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = UnixStream::connect("/run/mysqld/mysqld.sock").unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    let config = local("socket", &format!("[server]\nsocket = \"{path}\"\n"));
    fails(&config, 3, &["/run/elsewhere.sock does not run in /var/lib/mysql on this host", "another instance"]);
}

#[test]
fn an_entry_in_fstab_that_a_leftover_could_take_is_warned_of() {
    run(&["cp", "/etc/fstab", "/etc/fstab.before"]);
    let _back = Undo::with("mv /etc/fstab.before /etc/fstab");
    let uuid = run(&["blkid", "-s", "UUID", "-o", "value", "/dev/vg0/data"]);
    run(&["sed", "-i", &format!("s#^/dev/vg0/data #UUID={} #", uuid.trim()), "/etc/fstab"]);
    let ran = mysnap(&["--config", &local("fstab", ""), "check", "local"]);
    expect(&ran, 0, &["/etc/fstab mounts /var/lib/mysql by UUID=", "name it /dev/vg0/data there"]);
}

/// What a boot does whose table of mounts goes by UUID: the server goes on, on what a dead run left.
struct Booted;

impl Booted {
    fn on(device: &str) -> Self {
        let (service, at) = (host::service(), "/var/lib/mysql");
        let options = if run(&["findmnt", "-no", "FSTYPE", at]).trim() == "xfs" { "rw,nouuid" } else { "rw" };
        let booted = Self;
        run(&["systemctl", "stop", service]);
        run(&["umount", at]);
        // No boot knows that a run wanted it read-only.
        run(&["blockdev", "--setrw", device]);
        run(&["mount", "-o", options, device, at]);
        start_server();
        booted
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        let at = "/var/lib/mysql";
        let back = format!("systemctl stop {}; umount {at}; mount /dev/vg0/data {at}", host::service());
        drop(Undo::with(&back));
        start_server();
    }
}

/// The snapshot that a backup left which died while it copied; nothing has it open any more.
fn left_by_a_dead_run(config: &str) -> String {
    forget_stored();
    let mut live = Live::backup(config);
    live.wait_for("copy");
    live.signal(Signal::SIGKILL);
    live.finish();
    until("the end of its rsync", || !try_run(&["pgrep", "-f", "rsync .*/run/mysnap"]).status.success());
    run(&["lvs", "--noheadings", "-o", "lv_full_name", "@mysnap"]).trim().to_owned()
}

#[test]
fn a_leftover_that_a_boot_mounted_in_its_origins_place_is_left_to_people() {
    let slow = local("elsewhere-slow", "bandwidth_limit = \"4MiB\"\n");
    let config = local("elsewhere", "");
    let snapshot = left_by_a_dead_run(&slow);
    let device = format!("/dev/{snapshot}");
    let _gone =
        Undo::with(&format!("if [ -e {device} ]; then lvremove -qy {snapshot}; fi; rm -rf /var/lib/mysnap/runs/*"));
    let there = || run(&["lvs", "--noheadings", "-o", "lv_full_name", "@mysnap"]).trim() == snapshot;
    let is_mounted = format!("snapshot {snapshot} of run ");
    {
        let _booted = Booted::on(&device);
        host::root().query_drop("CREATE DATABASE since_the_boot").unwrap();
        let told = [is_mounted.as_str(), "is mounted at /var/lib/mysql, and not by mysnap", "copy the data from there"];
        expect(&mysnap(&["--config", &config, "status"]), 2, &told);
        expect(&mysnap(&["--config", &config, "check", "local"]), 3, &["/var/lib/mysql is", "and not its origin"]);
        let recovered = mysnap(&["recover"]);
        expect(&recovered, 0, &told);
        assert!(!recovered.stderr.contains("run `mysnap recover`"), "{}", recovered.stderr);
        expect(&mysnap(&["--config", &config, "backup", "local"]), 3, &told);
        let id = snapshot.split("_mysnap_").nth(1).unwrap();
        expect(&mysnap(&["release", id, "--yes"]), 3, &told);
        assert!(there(), "{}", host::volumes().join(" "));
        host::assert_writable();
    }
    // Whoever looks at it has unmounted it, and the nightly backup comes.
    let told = [is_mounted.as_str(), "was mounted by others", "mysnap release"];
    expect(&mysnap(&["recover"]), 0, &told);
    expect(&mysnap(&["--config", &config, "backup", "local"]), 0, &["was mounted by others", "is good"]);
    expect(&mysnap(&["--config", &config, "status"]), 2, &told);
    assert!(there(), "{}", host::volumes().join(" "));
    let found = looking_into(&device, |at| at.join("since_the_boot").is_dir());
    assert!(found, "what was written since the boot is gone");
    let id = snapshot.split("_mysnap_").nth(1).unwrap();
    expect(&mysnap(&["release", id, "--yes"]), 0, &[&format!("removed {snapshot}")]);
    host::assert_nothing_left();
}

/// What `look` finds where `device` is mounted read-only, beside its origin.
fn looking_into<T>(device: &str, look: impl FnOnce(&std::path::Path) -> T) -> T {
    let xfs = run(&["findmnt", "-no", "FSTYPE", "/var/lib/mysql"]).trim() == "xfs";
    let at = host::scratch("/srv");
    let shown = at.path().display().to_string();
    run(&["mount", "-o", if xfs { "ro,nouuid" } else { "ro" }, device, &shown]);
    let _gone = Undo::with(&format!("umount {shown}"));
    look(at.path())
}

#[test]
fn of_twenty_runs_at_once_one_works_and_the_others_name_it() {
    let config = local("twenty", "");
    let before = crate::live::stored();
    let starts: Vec<_> = (0..20)
        .map(|_| {
            let config = config.clone();
            std::thread::spawn(move || mysnap(&["--config", &config, "backup", "local"]))
        })
        .collect();
    let ended: Vec<host::Ran> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    let worked = ended.iter().filter(|ran| ran.status == 0).count();
    assert!(worked >= 1, "{}", ended[0].stderr);
    for ran in ended.iter().filter(|ran| ran.status != 0) {
        expect(ran, 5, &["the server in /var/lib/mysql is held by backup local (pid", "since 20"]);
    }
    assert_eq!(crate::live::stored().len(), before.len() + worked);
    host::assert_nothing_left();
}

#[test]
fn volumes_of_others_are_left_alone_whatever_they_are_called() {
    let create = |name: &str, tags: &[&str]| {
        let mut argv = vec!["lvcreate", "-qy", "-Wn", "-Zn", "-an", "-n", name, "-L", "4M", "vg0"];
        argv.extend(tags);
        run(&argv);
    };
    let _gone = Undo::with("lvremove -qy vg0/data_mysnap_20260101T000000Z-abcd vg0/mysnap vg0/stray");
    create("data_mysnap_20260101T000000Z-abcd", &[]);
    create("mysnap", &["--addtag", "mysnap_backup"]);
    create("stray", &["--addtag", "mysnap", "--addtag", "mysnap.run=20260101T000000Z-abcd"]);
    let before = host::volumes();
    let ran = mysnap(&["recover"]);
    let alone = "volume vg0/stray carries our tag and no run of this host knows it; it is left alone";
    expect(&ran, 0, &[alone, "waits for you, as said above"]);
    let ran = mysnap(&["--config", &local("strays", ""), "check", "local"]);
    expect(
        &ran,
        0,
        &["volume vg0/stray carries our tag and no run of this host knows it", "`mysnap snapshots` shows it"],
    );
    assert_eq!(host::volumes(), before);
    // A person may remove what carries our tag.
    let released = mysnap(&["release", "20260101T000000Z-abcd", "--yes"]);
    expect(&released, 0, &["removed vg0/stray"]);
    until("the end of the stray", || !host::volumes().contains(&"stray".to_owned()));
    assert_eq!(host::volumes().len(), before.len() - 1);
    run(&["lvcreate", "-qy", "-Wn", "-Zn", "-an", "-n", "stray", "-L", "4M", "vg0"]);
}

#[test]
fn a_check_of_a_good_host_is_quiet_about_locks_and_leaves_no_trace() {
    let config = local("trace", "");
    let state = "find /var/lib/mysnap /run/mysnap -printf '%p %s\\n' 2>/dev/null | sort; ls -A";
    let before = (run(&["sh", "-c", &format!("{state} {LOCAL}")]), host::volumes());
    let ran = mysnap(&["--config", &config, "check", "local", "--json"]);
    expect(&ran, 0, &["\"level\": \"good\"", "\"subject\": \"privileges\""]);
    assert_eq!((run(&["sh", "-c", &format!("{state} {LOCAL}")]), host::volumes()), before);
}

/// P10: whatever looked whether the volume is fast enough would wait for ever.
#[test]
fn a_suspended_volume_is_named_before_anything_is_written_to_it() {
    let config = local("suspended", "");
    let resume = Undo::with("dmsetup resume /dev/vg0/data");
    run(&["dmsetup", "suspend", "/dev/vg0/data"]);
    let began = Instant::now();
    for verb in ["check", "backup"] {
        let ran = mysnap(&["--config", &config, verb, "local"]);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.status, 3, "{verb}: {told}");
        assert!(told.contains("vg0/data is suspended") && told.contains("dmsetup resume"), "{verb}: {told}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    drop(resume);
    expect(&mysnap(&["--config", &config, "check", "local"]), 0, &[]);
}

#[test]
fn a_destination_that_takes_no_writes_is_refused_before_anybody_waits() {
    let at = "/srv/read-only";
    let made = format!("mkdir -p -m 0700 {at} && mount -t tmpfs -o ro,mode=0700 none {at}");
    let gone = format!("umount {at}; rmdir {at}");
    run(&["sh", "-c", &made]);
    on_node2(&made);
    let _gone = Undo::with(&format!("({gone}); ssh {} '{gone}'", node2()));
    for to in [at.to_owned(), format!("root@{}:{at}/below", node2())] {
        let config = host::configure("read-only", &format!("[job.local]\nto = \"{to}\"\n"));
        fails(&config, 3, &[at, "takes no writes", "`findmnt`"]);
    }
}

#[test]
fn a_pool_that_lvm_may_not_activate_after_a_power_cut_is_warned_of() {
    if !host::is_thin() {
        return;
    }
    let config = local("unforgiving", "");
    let check = || mysnap(&["--config", &config, "check", "local"]);
    let warning = "LVM may not activate vg0/pool after a power cut";
    let ran = check();
    assert!(!ran.stdout.contains(warning), "the lab's hosts let thin_check mend: {}", ran.stdout);
    run(&["cp", "-p", "/etc/lvm/lvm.conf", "/run/lvm.conf"]);
    let _as_it_was = Undo::with("mv /run/lvm.conf /etc/lvm/lvm.conf");
    run(&["sed", "-i", "s/, \"--clear-needs-check-flag\" ] }/ ] }/", "/etc/lvm/lvm.conf"]);
    expect(&check(), 0, &[warning, "--clear-needs-check-flag"]);
}
