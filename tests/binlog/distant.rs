//! A server whose binary logs are read by its family's tool, and the tools at work.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use mysnap::dump::Compression;
use mysnap::server::Access;
use mysnap::sys::{durable, retry};
use nix::unistd::Pid;

use crate::TABLE;
use crate::bench::{Bench, Stream};
use crate::server::{Server, either};

const PASSWORD: &str = "se#cr\"et\\ly";
/// All that an account needs, and RELOAD for `--rotate`.
pub static GRANTS: LazyLock<String> = LazyLock::new(|| format!("REPLICATION SLAVE, {}, RELOAD", monitor()));
pub const SOON: Duration = Duration::from_secs(60);

/// The privilege to ask for the binary logs.
pub fn monitor() -> &'static str {
    either("BINLOG MONITOR", "REPLICATION CLIENT")
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The password as it stands between single quotes.
pub fn quoted_password() -> String {
    PASSWORD.replace('\\', "\\\\")
}

/// A server that listens on TCP, as one on another host does.
pub struct Distant {
    pub server: Server,
    pub access: Access,
    _home: tempfile::TempDir,
}

impl Distant {
    pub fn start(options: &[&str], grants: &str) -> Self {
        Self::started(|listens| Server::start_with(&[listens, options].concat()), grants)
    }

    /// One that `start` starts with these options among others.
    pub fn started(start: impl FnOnce(&[&str]) -> Server, grants: &str) -> Self {
        let port = free_port();
        let server = start(&["--skip-networking=0", &format!("--port={port}"), "--bind-address=127.0.0.1"]);
        server.sql(TABLE);
        let quoted = quoted_password();
        for host in ["localhost", "127.0.0.1"] {
            server.sql(&format!(
                "CREATE USER far@'{host}' IDENTIFIED BY '{quoted}'; GRANT {grants} ON *.* TO far@'{host}'"
            ));
        }
        let home = tempfile::tempdir().unwrap();
        let option_file = home.path().join("far.cnf");
        let text = format!("[client]\nuser=far\npassword=\"{}\"\n", quoted.replace('"', "\\\""));
        durable::create_private_file(&option_file).unwrap().write_all(text.as_bytes()).unwrap();
        let (option_file, host) = (Some(option_file), Some("127.0.0.1".to_owned()));
        let access = Access { option_file, host, port: Some(port), ..Access::default() };
        Self { server, access, _home: home }
    }

    pub fn bench(&self, compression: Compression) -> Bench {
        Bench::new(&self.server, compression).by_tool(&self.access)
    }

    /// What tells that its files are on this host is not there, as on another one.
    pub fn is_away(&self) {
        let pid_file = self.server.sql("SELECT @@pid_file");
        fs::remove_file(self.server.datadir().join(pid_file.trim())).unwrap();
    }

    /// Waits until the archive has all that the server has logged.
    pub fn caught_up(&self, bench: &Bench) {
        let all = self.server.log_end();
        let caught_up = || {
            if !bench.archive().join("index.json").exists() || bench.index().timelines.is_empty() {
                return Err("nothing yet".to_owned());
            }
            let index = bench.index();
            let Some(last) = index.timelines.last().unwrap().files.last() else { return Err("no file yet".to_owned()) };
            if (&last.name, last.size) >= (&all.0, all.1) {
                Ok(())
            } else {
                Err(format!("{}:{}", last.name, last.size))
            }
        };
        retry::until(SOON, caught_up).unwrap();
    }
}

/// The tools that write into the archive.
pub fn tools(bench: &Bench) -> Vec<(Pid, String)> {
    let mine = format!("--result-file={}", bench.archive().display());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let pid = name.to_str()?.parse().ok()?;
        let line = fs::read(Path::new("/proc").join(&name).join("cmdline")).ok()?;
        Some((Pid::from_raw(pid), String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    processes.filter(|(_, line)| line.contains(&mine) && !line.contains("setpriv")).collect()
}

pub fn following(bench: &Bench) -> (Pid, String) {
    let found = || tools(bench).into_iter().find(|(_, line)| line.contains("--stop-never")).ok_or(());
    retry::until(SOON, found).unwrap()
}

/// What is left of spools.
pub fn spools(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".spool-")).collect()
}

pub fn ended_well(stream: Stream) -> String {
    let (status, said) = stream.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("no restore can cross"), "{said}");
    said
}

/// The same of one whose tool was cut off: it says so, and nothing is missing.
pub fn went_on(far: &Distant, bench: &Bench, stream: Stream) {
    far.caught_up(bench);
    let said = ended_well(stream);
    assert!(said.contains("did not go on with") && said.contains("the archive goes on"), "{said}");
    bench.compare(&far.server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
}
