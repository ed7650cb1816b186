//! The guest: its server, its volume, and how programs are run in it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use mysql::prelude::Queryable as _;
use serde_json::json;

/// A destination that is not on the server's volume.
pub const DESTINATION: &str = "/srv/bench";
/// Where mysnap's configuration of the benchmark lies.
pub const CONFIGURATION: &str = "/etc/mysnap/bench.toml";
/// The server's volume.
pub const ORIGIN: &str = "vg0/data";

/// What must be known before anything is measured.
pub struct Ground {
    /// Whether the server is MariaDB.
    pub is_mariadb: bool,
    /// Whether its volume is thin.
    pub is_thin: bool,
    /// Whether its file system is xfs.
    pub is_xfs: bool,
    /// Whether mylvmbackup is installed.
    pub has_mylvmbackup: bool,
    /// The size that mysnap gives a thick snapshot's store, in bytes.
    pub store: u64,
    versions: Vec<(&'static str, String)>,
}

impl Ground {
    /// Looks at the guest, and lets mysnap say how large it makes a store.
    pub fn survey() -> anyhow::Result<Self> {
        let version: String = session()?.query_first("SELECT VERSION()")?.context("the server has a version")?;
        configure()?;
        let has_mylvmbackup = Path::new("/usr/bin/mylvmbackup").exists();
        let mut versions = vec![
            ("server", version.clone()),
            ("mysnap", first_line(&["mysnap", "--version"])?),
            ("lvm", first_line(&["lvs", "--version"])?),
            ("kernel", first_line(&["uname", "-r"])?),
            ("rsync", first_line(&["rsync", "--version"])?),
        ];
        if has_mylvmbackup {
            versions.push(("mylvmbackup", first_line(&["dpkg-query", "-W", "-f", "${Version}", "mylvmbackup"])?));
        }
        Ok(Self {
            is_mariadb: version.contains("MariaDB"),
            is_thin: first_line(&["lvs", "--noheadings", "-o", "segtype", ORIGIN])? == "thin",
            is_xfs: first_line(&["findmnt", "-n", "-o", "FSTYPE", "/var/lib/mysql"])? == "xfs",
            has_mylvmbackup,
            store: store_size()?,
            versions,
        })
    }

    /// The same for the reader of the figures.
    pub fn described(&self) -> serde_json::Value {
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(name, version)| ((*name).to_owned(), json!(version))).collect();
        json!({ "versions": versions, "store_bytes": self.store })
    }

    /// The statement that reads the position.
    pub fn position_query(&self) -> &'static str {
        if self.is_mariadb { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" }
    }
}

/// Brings the ground back to where it was: no backups, no binary logs of earlier rounds, nothing
/// left to write out.
pub fn tidy() -> anyhow::Result<()> {
    let mut session = session()?;
    session.query_drop("FLUSH BINARY LOGS")?;
    session.query_drop("PURGE BINARY LOGS BEFORE NOW()")?;
    run(&["find", DESTINATION, "-mindepth", "1", "-delete"])?;
    run(&["sync"])?;
    run(&["udevadm", "settle"]).map(drop)
}

fn configure() -> anyhow::Result<()> {
    run(&["mkdir", "-p", "-m", "0700", DESTINATION])?;
    // Reading back what was copied comes after everything that is measured here. An emulated guest on
    // a busy host is slow: what is given up is not measured.
    let text = format!("[job.bench]\nto = \"{DESTINATION}\"\nretries = 1\nprove = \"none\"\nmax_stall = \"60s\"\n");
    #[expect(clippy::disallowed_methods, reason = "a file of the benchmark's own in a throw-away guest")]
    std::fs::write(CONFIGURATION, text)?;
    run(&["chmod", "0600", CONFIGURATION]).map(drop)
}

/// What mysnap plans, taken from a backup that it really made.
fn store_size() -> anyhow::Result<u64> {
    run(&["mysnap", "--config", CONFIGURATION, "backup", "bench"])?;
    let size = manifest()?.pointer("/snapshots/0/size").and_then(serde_json::Value::as_u64);
    size.context("the manifest names the size of the snapshot")
}

/// The manifest of the newest backup.
pub fn manifest() -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_str(&run(&["mysnap", "--config", CONFIGURATION, "show", "latest", "--json"])?)?)
}

/// A superuser's session.
pub fn session() -> anyhow::Result<mysql::Conn> {
    let options = mysql::OptsBuilder::new().socket(Some("/run/mysqld/mysqld.sock")).user(Some("root"));
    mysql::Conn::new(options).context("the server does not answer root on its socket")
}

/// Prints one figure.
pub fn tell(figure: &serde_json::Value) {
    // Nobody listens any more: there is nobody to tell that to either.
    drop(writeln!(std::io::stdout(), "{figure}"));
}

/// Runs a program, which must succeed; its standard output.
pub fn run(argv: &[&str]) -> anyhow::Result<String> {
    let output = command(argv)?.output().with_context(|| format!("cannot run {argv:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{argv:?} failed ({}): {error}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a program said, and when each line came.
pub type TimedLines = Vec<(Instant, String)>;

/// Runs a program and hears its standard output line by line; the lines, and whether it succeeded.
pub fn timed_lines(
    argv: &[&str],
    environment: &[(&str, &str)],
    heard: impl Fn(&str),
) -> anyhow::Result<(TimedLines, bool)> {
    let mut command = command(argv)?;
    command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run {argv:?}"))?;
    let stdout = child.stdout.take().with_context(|| format!("{argv:?} has no standard output"))?;
    let mut lines = TimedLines::new();
    for line in BufReader::new(stdout).lines() {
        let (line, at) = (line?, Instant::now());
        heard(&line);
        lines.push((at, line));
    }
    Ok((lines, child.wait()?.success()))
}

#[expect(clippy::disallowed_methods, reason = "what is measured must not run through what mysnap runs programs with")]
fn command(argv: &[&str]) -> anyhow::Result<Command> {
    let (program, arguments) = argv.split_first().context("a command has a program")?;
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").env("LVM_SUPPRESS_FD_WARNINGS", "1");
    Ok(command)
}

fn first_line(argv: &[&str]) -> anyhow::Result<String> {
    Ok(run(argv)?.lines().next().unwrap_or_default().trim().to_owned())
}
