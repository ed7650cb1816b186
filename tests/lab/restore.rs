//! Restores that are cut short, meet a full disk or a running server, and start.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mysnap::id::RunId;
use mysql::prelude::Queryable as _;

use crate::disk::Disk;
use crate::host::{self, mysnap, mysnap_ok, on_node2, run};
use crate::live::{Undo, expect};

/// A backup of the server here, on the second node; its configuration and its id. One is enough for
/// all tests: none changes it.
pub fn backed_up() -> (String, RunId) {
    static ONE: OnceLock<(String, RunId)> = OnceLock::new();
    ONE.get_or_init(back_up).clone()
}

fn back_up() -> (String, RunId) {
    let mut server = host::root();
    for statement in [
        "CREATE DATABASE IF NOT EXISTS come_back",
        "CREATE TABLE IF NOT EXISTS come_back.t (n INT PRIMARY KEY) ENGINE=InnoDB",
        "INSERT IGNORE INTO come_back.t VALUES (1), (2), (3)",
    ] {
        server.query_drop(statement).unwrap();
    }
    let to = format!("[job.nightly]\nto = \"root@{}:/srv/to-restore\"\n", host::node2());
    let config = host::configure("restore", &to);
    on_node2("rm -rf /srv/to-restore && mkdir -p -m 0700 /srv/to-restore");
    mysnap_ok(&["--config", &config, "backup", "nightly"]);
    let shown: serde_json::Value =
        serde_json::from_str(&mysnap_ok(&["--config", &config, "show", "latest", "--json"])).unwrap();
    (config, shown["id"].as_str().unwrap().parse().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a program that the test kills")]
fn restoring(config: &str, to: &Path, more: &[&str]) -> Child {
    let mut command = Command::new("/usr/local/bin/mysnap");
    command.args(["--config", config, "restore", "latest", "--to", text(to), "--yes"]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Starts a second server on `datadir`, counts the rows that were backed up, and ends it.
pub fn start_and_count(datadir: &Path) -> u64 {
    start_and_ask(datadir, "SELECT COUNT(*) FROM come_back.t").parse().unwrap()
}

/// Starts a second server on `datadir`, asks it `query`, and ends it.
pub fn start_and_ask(datadir: &Path, query: &str) -> String {
    let mut trial = Trial::start(datadir);
    trial.ask(query).unwrap_or_else(|error| panic!("{error}\n{}", trial.log()))
}

/// A second server, ended when dropped.
struct Trial {
    child: Child,
    own: PathBuf,
}

impl Trial {
    fn start(datadir: &Path) -> Self {
        let program = if host::is_mariadb_installed() { "/usr/sbin/mariadbd" } else { "/usr/sbin/mysqld" };
        let own = datadir.with_file_name(format!("run{}", datadir.file_name().unwrap().to_str().unwrap()));
        run(&["install", "-d", "-o", "mysql", "-g", "mysql", text(&own)]);
        let at = |name: &str| own.join(name).display().to_string();
        let mut options = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", datadir.display()),
            format!("--socket={}", at("s")),
            format!("--pid-file={}", at("pid")),
            format!("--log-error={}", at("log.err")),
            "--user=mysql".to_owned(),
            "--skip-networking".to_owned(),
            "--performance-schema=OFF".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--server-id=4711".to_owned(),
        ];
        // Recovery needs the binary log, under its own name.
        let log = run(&[host::client(), "-N", "-u", "root", "-e", "SELECT @@log_bin_basename"]);
        options.push(format!("--log-bin={}", Path::new(log.trim()).file_name().unwrap().to_str().unwrap()));
        if !host::is_mariadb_installed() {
            options.extend(["--mysqlx=OFF", "--secure-file-priv="].map(str::to_owned));
        }
        Self { child: spawn(program, &options), own }
    }

    /// The answer once the server is up; what stood in the way where it never comes up.
    fn ask(&mut self, query: &str) -> Result<String, String> {
        let line = format!("{} -N -u root -S {} -e '{query}'", host::client(), self.own.join("s").display());
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let output = host::try_run(&["sh", "-c", &line]);
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
            }
            if self.child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The last of what the server has said.
    fn log(&self) -> String {
        run(&["tail", "-n", "40", text(&self.own.join("log.err"))])
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        host::try_run(&["kill", &self.child.id().to_string()]);
        drop(self.child.wait());
        host::try_run(&["rm", "-r", text(&self.own)]);
    }
}

#[expect(clippy::disallowed_methods, reason = "a program that the test ends")]
fn spawn(program: &str, options: &[String]) -> Child {
    Command::new(program).args(options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_running_servers_directory_is_refused_even_with_consent() {
    let (config, _) = backed_up();
    let refused = mysnap(&["--config", &config, "restore", "latest", "--to", "/var/lib/mysql", "--replace", "--yes"]);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("/var/lib/mysql is in use by"), "{}", refused.stderr);
    host::assert_nothing_left();
}

#[test]
fn a_killed_restore_leaves_nothing_to_start_on_and_can_be_run_again() {
    let (config, id) = backed_up();
    let home = host::scratch("/var/tmp");
    let to = home.path().join("data");
    let staging = PathBuf::from(format!("{}.restoring-{id}", to.display()));
    for delay in [300, 900, 2500] {
        let mut child = restoring(&config, &to, &[]);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.success() || !to.exists(), "killed after {delay} ms, {} exists", to.display());
        if ended.success() {
            break;
        }
    }
    if !to.exists() {
        mysnap_ok(&["--config", &config, "restore", "latest", "--to", text(&to), "--yes"]);
    }
    assert!(!staging.exists());
    assert_eq!(start_and_count(&to), 3);
}

#[test]
fn a_restore_into_a_mount_point_keeps_the_former_server_aside_and_starts() {
    let (config, id) = backed_up();
    let disk = Disk::formatted();
    let to = disk.mount();
    run(&["chmod", "755", text(to)]);
    // The former content is a whole data directory: every tablespace is there twice.
    mysnap_ok(&["--config", &config, "restore", "latest", "--to", text(to), "--yes"]);
    for delay in [1500, 4000] {
        let mut child = restoring(&config, to, &["--replace"]);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    mysnap_ok(&["--config", &config, "restore", "latest", "--to", text(to), "--replace", "--yes"]);
    let aside = to.join(format!(".before-{id}"));
    assert!(aside.join("ibdata1").exists() && to.join("ibdata1").exists() && to.join("lost+found").exists());
    assert_eq!(start_and_count(to), 3);
}

#[test]
fn mysql_recovers_in_no_data_directory_whose_name_begins_with_a_dot() {
    let (config, _) = backed_up();
    let home = host::scratch("/var/tmp");
    let (plain, hidden) = (home.path().join("data"), home.path().join(".data"));
    let restored = |to: &Path| mysnap(&["--config", &config, "restore", "latest", "--to", text(to), "--yes"]);
    assert_eq!(restored(&plain).status, 0);
    if host::is_mariadb_installed() {
        assert_eq!(restored(&hidden).status, 0);
        assert_eq!(start_and_count(&hidden), 3);
        return;
    }
    let refused = restored(&hidden);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("its name begins with a dot"), "{}", refused.stderr);
    run(&["mv", text(&plain), text(&hidden)]);
    let mut trial = Trial::start(&hidden);
    trial.ask("SELECT 1").unwrap_err();
    assert!(trial.log().contains("Data Dictionary initialization failed"), "{}", trial.log());
    drop(trial);
    run(&["mv", text(&hidden), text(&plain)]);
    assert_eq!(start_and_count(&plain), 3);
}

#[test]
fn too_little_room_is_refused_before_the_first_write() {
    let (config, _) = backed_up();
    let home = tempfile::tempdir().unwrap();
    run(&["mount", "-t", "tmpfs", "-o", "size=10m", "none", text(home.path())]);
    let refused = mysnap(&["--config", &config, "restore", "latest", "--to", text(&home.path().join("data"))]);
    let names = home.path().read_dir().unwrap().count();
    run(&["umount", text(home.path())]);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("are needed at"), "{}", refused.stderr);
    assert_eq!(names, 0);
}

#[test]
fn files_that_the_installed_server_can_not_recover_are_refused_unless_allowed() {
    let (config, _) = backed_up();
    let home = host::scratch("/var/tmp");
    let to = home.path().join("data");
    let (program, release) = if host::is_mariadb_installed() {
        ("/usr/sbin/mariadbd", "10.6.18-MariaDB")
    } else {
        ("/usr/sbin/mysqld", "5.7.44")
    };
    let _back = Undo::with(&format!("mv -f {program}.away {program}"));
    run(&["mv", program, &format!("{program}.away")]);
    let says = format!("#!/bin/sh\necho '{program}  Ver {release} for Linux on x86_64'\n");
    mysnap::sys::durable::write(Path::new(program), says.as_bytes()).unwrap();
    run(&["chmod", "0755", program]);
    let restore = |more: &[&str]| {
        mysnap(&[&["--config", &config, "restore", "latest", "--to", text(&to), "--yes"], more].concat())
    };
    let number = release.trim_end_matches("-MariaDB");
    expect(&restore(&[]), 3, &[number, "is installed and cannot recover its files", "hint: install ", "--any-version"]);
    assert!(!to.exists(), "something was written");
    expect(&restore(&["--any-version"]), 0, &[number, "cannot recover its files"]);
    assert!(to.join("ibdata1").exists());
}
