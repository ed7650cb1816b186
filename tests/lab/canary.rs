//! I7: a password that is easy to recognise appears nowhere but in its option file and in memory.
//!
//! `MYSNAP_SWEEP=whole` takes a hundred runs, a number that many, otherwise a few.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mysql::prelude::Queryable as _;

use crate::host::{self, mysnap, run, try_run};
use crate::live::{LOCAL, Undo, forget_stored, local};

const CANARY: &str = "Kanarienvogel-4711";
const SCRATCH: &str = "/srv/canary";
const ACCOUNT: &str = "canary@localhost";

#[test]
fn the_password_is_in_no_arguments_environments_logs_records_and_manifests() {
    let _gone = Undo::with(&format!("{} -e 'DROP USER {ACCOUNT}'; rm -f /etc/mysnap/canary.cnf", host::client()));
    make_account();
    let config = local("canary", "[server]\noption_file = \"/etc/mysnap/canary.cnf\"\n");
    let watch = Watch::start();
    let mut said = String::new();
    for number in 0..host::rounds(5, 100) {
        // Most see everything that a check sees; some go all the way; some fail while they are connected.
        let (arguments, status): (&[&str], i32) = match number % 5 {
            0 => (&["--config", &config, "backup", "local"], 0),
            1 => (&["--config", &config, "--events", "json", "check", "local"], 0),
            2 => (&["--config", &config, "backup", "local"], 2),
            3 => (&["--config", &config, "config", "show"], 0),
            _ => (&["--config", &config, "backup", "local", "--dry-run"], 0),
        };
        let mut root = host::root();
        let lacks = status == 2;
        if lacks {
            root.query_drop(format!("REVOKE PROCESS ON *.* FROM {ACCOUNT}")).unwrap();
        }
        let ran = mysnap(arguments);
        if lacks {
            root.query_drop(format!("GRANT PROCESS ON *.* TO {ACCOUNT}")).unwrap();
        }
        assert_eq!(ran.status, status, "{arguments:?}: {}", ran.stderr);
        said += &ran.stdout;
        said += &ran.stderr;
    }
    assert_nowhere(watch, &said);
}

/// A second server and its tools, for a proof, a dump and a clone: none of them needs the password of the live one.
#[test]
fn the_password_is_nowhere_where_second_servers_work() {
    let _gone = Undo::with(&format!("{} -e 'DROP USER {ACCOUNT}'; rm -f /etc/mysnap/canary.cnf", host::client()));
    make_account();
    forget_stored();
    let job = |name: &str, extra: &str| {
        local(name, &format!("{extra}\n[server]\noption_file = \"/etc/mysnap/canary.cnf\"\n"))
    };
    let _scratch = Undo::with(&format!("rm -rf {SCRATCH}"));
    run(&["install", "-d", "-m", "0755", SCRATCH]);
    let (proved, dumped) = (job("canary", "prove = \"tables\""), job("canary-dump", "method = \"dump\""));
    let watch = Watch::start();
    let mut said = String::new();
    for arguments in [
        &["--config", &proved, "backup", "local"][..],
        &["--config", &proved, "clone", "latest", "--from", LOCAL, "--name", "canary", "--scratch", SCRATCH],
        &["clone", "list"],
        &["clone", "stop", "canary", "--yes"],
        &["--config", &dumped, "backup", "local"],
    ] {
        let ran = mysnap(arguments);
        assert_eq!(ran.status, 0, "{arguments:?}: {}", ran.stderr);
        said += &ran.stdout;
        said += &ran.stderr;
    }
    assert_nowhere(watch, &said);
    forget_stored();
    host::assert_nothing_left();
}

/// Neither where `watch` looked, nor in what was `said` or was written and is still there.
fn assert_nowhere(watch: Watch, said: &str) {
    let (looks, found) = watch.stop();
    assert!(looks > 20, "only {looks} looks at running programs");
    assert_eq!(found, Vec::<String>::new());
    assert!(!said.contains(CANARY), "{said}");
    let files = format!(
        "grep -rlF {CANARY} /var/lib/mysnap /run/mysnap /var/log /tmp /var/tmp {LOCAL} 2>/dev/null | grep -v '\\.ibd$'"
    );
    assert_eq!(String::from_utf8_lossy(&try_run(&["sh", "-c", &files]).stdout), "");
    let journal = format!("journalctl -b --no-pager | grep -cF {CANARY}");
    assert_eq!(String::from_utf8_lossy(&try_run(&["sh", "-c", &journal]).stdout).trim(), "0");
}

fn make_account() {
    let privileges: &[&str] = if host::is_mariadb() {
        &["RELOAD", "BINLOG MONITOR", "SLAVE MONITOR", "PROCESS"]
    } else {
        &["RELOAD", "REPLICATION CLIENT", "PROCESS"]
    };
    let mut root = host::root();
    root.query_drop(format!("DROP USER IF EXISTS {ACCOUNT}")).unwrap();
    // MariaDB's binary log, which is copied with the data, has the statement as it is.
    root.query_drop("SET SESSION sql_log_bin = 0").unwrap();
    root.query_drop(format!("CREATE USER {ACCOUNT} IDENTIFIED BY '{CANARY}'")).unwrap();
    root.query_drop(format!("GRANT {} ON *.* TO {ACCOUNT}", privileges.join(", "))).unwrap();
    let text = format!("umask 077 && printf '[client]\\nuser=canary\\npassword={CANARY}\\n' > /etc/mysnap/canary.cnf");
    run(&["sh", "-c", &text]);
}

/// Looks at every program that runs, again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Watch {
    fn start() -> Self {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&looks));
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                found.extend(look());
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(100));
            }
            found
        });
        Self { stop, looks, thread }
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        (self.looks.load(Ordering::SeqCst), self.thread.join().unwrap())
    }
}

fn look() -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            if String::from_utf8_lossy(&bytes).contains(CANARY) {
                found.push(format!("{}/{file}", entry.path().display()));
            }
        }
        found.extend(may_dump_core(&entry.path()));
    }
    found.extend(files_with_it(Path::new("/run/mysnap")));
    found
}

/// What a run has there is gone when it ends. Tables are large, and hold no password that can be read.
fn files_with_it(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // It may go while it is looked at.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(about) if about.is_dir() => found.extend(files_with_it(&path)),
            Ok(about) if about.is_file() && about.len() < 1 << 20 => {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.extend(String::from_utf8_lossy(&bytes).contains(CANARY).then(|| path.display().to_string()));
            }
            _ => {}
        }
    }
    found
}

/// What a core file would hold is nobody's: ours must have none.
fn may_dump_core(process: &Path) -> Option<String> {
    let name = std::fs::read_to_string(process.join("comm")).ok()?;
    let limits = std::fs::read_to_string(process.join("limits")).ok()?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size"))?;
    // Just started, it has not come to forbid it yet.
    let old_enough = std::fs::metadata(process).ok()?.modified().ok()?.elapsed().ok()? > Duration::from_millis(500);
    let none = core.split_whitespace().nth(4) == Some("0");
    (name.trim() == "mysnap" && old_enough && !none).then(|| format!("{}: {core}", process.display()))
}
