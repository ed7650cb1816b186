//! An archive of a server, what writes to that server, and how the two are compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysnap::binlog::event::{HEADER, Header, Kind};
use mysnap::binlog::verify::{self, Report};
use mysnap::binlog::{self, Home, Index, LogFile, Request, Shipped, State};
use mysnap::dump::Compression;
use mysnap::run::events::Silent;
use mysnap::server::BinlogPosition;
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::Call;
use mysnap::sys::durable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::Server;

const INTERVAL: Duration = Duration::from_millis(200);

/// An archive, and a configuration for it.
pub struct Bench {
    directory: tempfile::TempDir,
    request: Request,
    config: PathBuf,
}

impl Bench {
    pub fn new(server: &Server, compression: Compression) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("to");
        Self::with(directory, server, &to, compression)
    }

    pub fn at(server: &Server, to: &Path, compression: Compression) -> Self {
        Self::with(tempfile::tempdir().unwrap(), server, to, compression)
    }

    fn with(directory: tempfile::TempDir, server: &Server, to: &Path, compression: Compression) -> Self {
        let access = server.access();
        let packed = format!("{compression:?}").to_lowercase();
        let config = directory.path().join("mysnap.toml");
        let (option_file, socket) = (access.option_file.clone().unwrap(), server.socket());
        let text = format!(
            "[server]\noption_file = {option_file:?}\nsocket = {socket:?}\nuser = \"root\"\n\
             [binlog.shop]\nto = {to:?}\ncompression = {packed:?}\nsync_interval = \"200ms\"\n"
        );
        durable::write(&config, text.as_bytes()).unwrap();
        let home = Home::new(to.join("shop"));
        Self { directory, request: Request { server: access, home, compression, sync_interval: INTERVAL }, config }
    }

    pub fn archive(&self) -> PathBuf {
        self.request.home.path().to_owned()
    }

    pub fn ship(&self) -> anyhow::Result<Shipped> {
        binlog::ship(&self.request, false, &Silent, &Cancel::new())
    }

    pub fn ship_rotated(&self) -> anyhow::Result<Shipped> {
        binlog::ship(&self.request, true, &Silent, &Cancel::new())
    }

    pub fn index(&self) -> Index {
        let mut index = self.request.home.read_index().unwrap().unwrap();
        verify::look_at_open(&self.request.home, &mut index).unwrap();
        index
    }

    pub fn verify(&self) -> Report {
        verify::verify(&self.request.home, &self.index(), &|_| {}, &Cancel::new()).unwrap()
    }

    /// Where the archive ends.
    pub fn end(&self) -> BinlogPosition {
        let index = self.index();
        let last = index.timelines.last().unwrap().files.last().unwrap();
        BinlogPosition { file: last.name.clone(), offset: last.size }
    }

    /// What the last file of the archive has behind a position in it.
    pub fn added(&self, end: &BinlogPosition) -> Vec<u8> {
        let index = self.index();
        let timeline = index.timelines.last().unwrap();
        self.bytes(&timeline.id, timeline.file(&end.file).unwrap()).split_off(usize::try_from(end.offset).unwrap())
    }

    /// A stored file of the only timeline.
    pub fn stored(&self, name: &str) -> PathBuf {
        self.request.home.timeline(&self.index().timelines[0].id).join(name)
    }

    fn bytes(&self, timeline: &str, file: &LogFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.request.home.read(timeline, file).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Every archived file, unpacked.
    pub fn contents(&self) -> BTreeMap<(String, String), Vec<u8>> {
        let index = self.index();
        let files = index.timelines.iter().flat_map(|timeline| timeline.files.iter().map(move |file| (timeline, file)));
        files.map(|(t, file)| ((t.id.clone(), file.name.clone()), self.bytes(&t.id, file))).collect()
    }

    /// Every file that the server has is in the last timeline, byte for byte; how many there are.
    pub fn compare(&self, server: &Server) -> usize {
        let index = self.index();
        let timeline = index.timelines.last().unwrap();
        let list = fs::read_to_string(server.datadir().join("b.index")).unwrap();
        let names: Vec<&str> = list.lines().map(|line| line.trim_start_matches("./")).collect();
        for name in &names {
            let there = fs::read(server.datadir().join(name)).unwrap();
            let file = timeline.file(name).unwrap_or_else(|| panic!("{name} is not archived: {index:?}"));
            let mut here = self.bytes(&timeline.id, file);
            here.truncate(usize::try_from(file.size).unwrap());
            let (there, lacks) = there.split_at(here.len());
            let may_lack = file.state == State::Open && are_checkpoints(lacks) || !file.notes.is_empty();
            assert!(lacks.is_empty() || may_lack, "{name} lacks {} bytes behind {}", lacks.len(), here.len());
            if file.state == State::Open {
                assert!(in_use_cleared(&here) == in_use_cleared(there), "{name} differs");
            } else {
                assert!(here == there, "{name} differs");
            }
        }
        names.len()
    }

    /// What the command says on both of its outputs.
    pub fn command(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let finished =
            Call::new(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(&self.config).args(arguments).finish().unwrap();
        let both = [finished.stdout, finished.stderr].concat();
        (finished.status, String::from_utf8(both).unwrap())
    }

    /// A stream at work.
    pub fn stream(&self) -> Stream {
        let log = self.directory.path().join("stream.log");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        #[expect(clippy::disallowed_methods, reason = "it is killed and signalled as a service manager would")]
        let child = Command::new(env!("CARGO_BIN_EXE_mysnap"))
            .arg("--config")
            .arg(&self.config)
            .args(["binlog", "stream", "shop"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap();
        Stream { child, log }
    }

    /// The archived file as the server's own tool tells it, up to `stop`.
    pub fn replayed(&self, server: &Server, name: &str, stop: u64) -> String {
        let index = self.index();
        let (timeline, file) = index.find(name).unwrap();
        let plain = self.directory.path().join(name);
        durable::write(&plain, &self.bytes(&timeline.id, file)).unwrap();
        assert!(server.datadir().join(name).exists());
        let ran = Call::new("mariadb-binlog")
            .arg("--no-defaults")
            .arg(format!("--stop-position={stop}"))
            .arg(&plain)
            .finish()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }
}

/// The same bytes as those of a file that was closed.
pub fn in_use_cleared(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().skip(21).take(1).for_each(|flags| *flags &= !1);
    bytes
}

/// `mysnap binlog stream`.
pub struct Stream {
    child: Child,
    log: PathBuf,
}

impl Stream {
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order: how it ended, and what it said.
    pub fn end(mut self) -> (ExitStatus, String) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        (self.child.wait().unwrap(), fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

/// Clients that write until they are dropped, or the server is gone.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Writers {
    pub fn start(server: &Server, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let statements = "USE shop; INSERT INTO t (a) SELECT REPEAT('w', 1 + RAND() * 200) FROM seq_1_to_20; \
            BEGIN; INSERT INTO shop.t (a) VALUES ('one'); UPDATE shop.t SET a = 'two' WHERE id = LAST_INSERT_ID(); COMMIT;"
            .repeat(20);
        let write = |_| {
            let (stop, statements, socket) = (Arc::clone(&stop), statements.clone(), server.socket());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let client = Call::new("mariadb").args(["--no-defaults", "-uroot", "--force"]);
                    let socket = format!("--socket={}", socket.display());
                    drop(client.arg(socket).stdin(statements.as_bytes()).finish());
                }
            })
        };
        Self { threads: (0..count).map(write).collect(), stop }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A small file system in memory.
pub struct Tmpfs {
    directory: tempfile::TempDir,
}

impl Tmpfs {
    pub fn mount(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        Call::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory.path()).run().unwrap();
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        Call::new("mount").args(["-o", &options]).arg(self.path()).run().unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Call::new("umount").args(["-l"]).arg(self.path()).run());
    }
}

/// MariaDB adds one event to the open file for each file before it that InnoDB has written out, when it comes to that.
pub fn are_checkpoints(mut events: &[u8]) -> bool {
    const BINLOG_CHECKPOINT: u8 = 161;
    while let Some(header) = events.first_chunk().and_then(Header::parse) {
        let size = header.size as usize;
        if header.kind != Kind(BINLOG_CHECKPOINT) || !(HEADER..=events.len()).contains(&size) {
            return false;
        }
        events = &events[size..];
    }
    events.is_empty()
}
