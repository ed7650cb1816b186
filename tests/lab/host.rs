//! The two guests as a test sees them: programs, the server under test, the second node.

use std::path::PathBuf;
use std::process::{Command, Output};

use mysql::prelude::Queryable as _;

/// Runs a program; the test fails with what it said unless it succeeds.
pub fn run(argv: &[&str]) -> String {
    let output = try_run(argv);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{argv:?} failed ({}): {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program; any outcome is an answer.
#[expect(clippy::disallowed_methods, reason = "tests start programs too")]
pub fn try_run(argv: &[&str]) -> Output {
    Command::new(argv[0]).args(&argv[1..]).env("LC_ALL", "C").output().unwrap_or_else(|e| panic!("{argv:?}: {e}"))
}

/// Runs a shell line on the second node.
pub fn on_node2(line: &str) -> String {
    run(&["ssh", &node2(), line])
}

/// The second node's name.
pub fn node2() -> String {
    std::env::var("MYSNAP_NODE2").expect("MYSNAP_NODE2 names the second guest")
}

/// A superuser's connection to the server on this guest.
pub fn root() -> mysql::Conn {
    let options = mysql::OptsBuilder::new().socket(Some("/run/mysqld/mysqld.sock")).user(Some("root"));
    mysql::Conn::new(options).expect("the server answers root on its socket")
}

/// Whether the server under test is MariaDB.
pub fn is_mariadb() -> bool {
    let version: String = root().query_first("SELECT VERSION()").unwrap().unwrap();
    version.contains("MariaDB")
}

/// The service of the server under test.
pub fn service() -> &'static str {
    if is_mariadb_installed() { "mariadb" } else { "mysql" }
}

/// The same where the server may be stopped.
pub fn is_mariadb_installed() -> bool {
    PathBuf::from("/usr/sbin/mariadbd").exists()
}

/// The flavour's command line client.
pub fn client() -> &'static str {
    if is_mariadb_installed() { "mariadb" } else { "mysql" }
}

/// Whether the data lies on a thin volume.
pub fn is_thin() -> bool {
    run(&["lvs", "--noheadings", "-o", "segtype", "vg0/data"]).trim() == "thin"
}

/// How often something is repeated: `whole` of MYSNAP_SWEEP, a number as it stands, else `short`.
pub fn rounds(short: u32, whole: u32) -> u32 {
    match std::env::var("MYSNAP_SWEEP").as_deref() {
        Ok("whole") => whole,
        Ok(count) => count.parse().unwrap_or(short),
        Err(_) => short,
    }
}

/// Every name in the volume group, sorted.
pub fn volumes() -> Vec<String> {
    let mut names: Vec<String> =
        run(&["lvs", "--noheadings", "-o", "lv_name", "vg0"]).lines().map(|l| l.trim().to_owned()).collect();
    names.sort();
    names
}

/// What I4 and I5 of the invariants ask for, seen from outside: nothing of ours is left, the origin
/// is live, and another client can write.
pub fn assert_nothing_left() {
    let ours = run(&["lvs", "--noheadings", "-o", "lv_full_name", "@mysnap"]);
    assert_eq!(ours.trim(), "", "snapshots are left");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("mysnap"), "mounts are left: {mounts}");
    let records = std::fs::read_dir("/var/lib/mysnap/runs").map_or(0, Iterator::count);
    assert_eq!(records, 0, "records are left");
    let suspended = run(&["dmsetup", "info", "-c", "--noheadings", "-o", "suspended"]);
    assert!(!suspended.contains("Suspended"), "a device is suspended");
    assert_writable();
}

/// Another client can write within a second.
pub fn assert_writable() {
    let mut conn = root();
    conn.query_drop("SET SESSION lock_wait_timeout = 1").unwrap();
    conn.query_drop("CREATE TABLE IF NOT EXISTS mysql_witness_probe.t (n INT) ENGINE=InnoDB")
        .or_else(|_| {
            conn.query_drop("CREATE DATABASE IF NOT EXISTS mysql_witness_probe")?;
            conn.query_drop("CREATE TABLE IF NOT EXISTS mysql_witness_probe.t (n INT) ENGINE=InnoDB")
        })
        .unwrap();
    conn.query_drop("INSERT INTO mysql_witness_probe.t VALUES (1)").unwrap();
}

/// Runs mysnap with a configuration; the standard output and error, and the exit status.
pub struct Ran {
    /// Exit status; 128 and the number where a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs mysnap; any outcome is an answer.
pub fn mysnap(arguments: &[&str]) -> Ran {
    let mut argv = vec!["/usr/local/bin/mysnap"];
    argv.extend(arguments);
    let output = try_run(&argv);
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs mysnap, which must succeed; its standard output.
pub fn mysnap_ok(arguments: &[&str]) -> String {
    let ran = mysnap(arguments);
    assert_eq!(ran.status, 0, "mysnap {arguments:?}\n{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// Writes a configuration with one job, `nightly`, and returns its path.
pub fn configure(name: &str, text: &str) -> String {
    let path = format!("/etc/mysnap/{name}.toml");
    std::fs::create_dir_all("/etc/mysnap").unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(&path, text).unwrap();
    run(&["chmod", "0600", &path]);
    path
}

/// A directory for a test, removed when dropped. Its name does not begin with a dot: MySQL could not
/// recover in it.
pub fn scratch(above: &str) -> tempfile::TempDir {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    tempfile::Builder::new().prefix("scratch-").permissions(mode).tempdir_in(above).unwrap()
}
