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
use mysnap::binlog::{self, Home, Index, LogFile, Pulse, Request, Shipped, State};
use mysnap::dump::Compression;
use mysnap::run::events::Silent;
use mysnap::server::{Access, BinlogPosition, LogEngine};
use mysnap::store::{Destination, SshOptions};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::Call;
use mysnap::sys::durable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::{Server, numbers, program};

const INTERVAL: Duration = Duration::from_millis(200);

/// An archive, and a configuration for it.
pub struct Bench {
    directory: tempfile::TempDir,
    request: Request,
    /// The archive as its own host has it.
    home: Home,
    config: PathBuf,
    _keeps: Option<Tmpfs>,
}

impl Bench {
    pub fn new(server: &Server, compression: Compression) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("to");
        Self::with(directory, server, (&Destination::Local(to), &SshOptions::default()), compression)
    }

    pub fn at(server: &Server, to: &Path, compression: Compression) -> Self {
        Self::elsewhere(server, &Destination::Local(to.to_owned()), &SshOptions::default(), compression)
    }

    /// The same by the family's own tool, with another way to the server.
    pub fn by_tool(mut self, access: &Access) -> Self {
        self.request = Request { server: access.clone(), engine: LogEngine::Tool, ..self.request };
        let (option_file, host, port) = (&access.option_file, &access.host, access.port);
        let text = fs::read_to_string(&self.config).unwrap();
        let (_, archive) = text.split_once("[binlog.shop]\n").unwrap();
        let text = format!(
            "[server]\noption_file = {:?}\nhost = {:?}\nport = {}\n[binlog.shop]\nengine = \"tool\"\n{archive}",
            option_file.as_ref().unwrap(),
            host.as_ref().unwrap(),
            port.unwrap(),
        );
        durable::write(&self.config, text.as_bytes()).unwrap();
        self
    }

    /// The same with another place for what the tool reads.
    pub fn spooling(mut self, place: &Path) -> Self {
        let text = fs::read_to_string(&self.config).unwrap();
        let others = text.lines().filter(|line| !line.starts_with("spool = ")).map(|line| format!("{line}\n"));
        let text = format!("{}spool = {place:?}\n", others.collect::<String>());
        durable::write(&self.config, text.as_bytes()).unwrap();
        self.request.spool = Some(place.to_owned());
        self
    }

    /// The same as the configuration's default would have it.
    pub fn by_itself(mut self) -> Self {
        self.request.engine = LogEngine::Auto;
        let text = fs::read_to_string(&self.config).unwrap().replace("engine = \"tool\"\n", "");
        durable::write(&self.config, text.as_bytes()).unwrap();
        self
    }

    pub fn elsewhere(server: &Server, to: &Destination, ssh: &SshOptions, compression: Compression) -> Self {
        Self::with(tempfile::tempdir().unwrap(), server, (to, ssh), compression)
    }

    fn with(
        directory: tempfile::TempDir,
        server: &Server,
        (to, ssh): (&Destination, &SshOptions),
        compression: Compression,
    ) -> Self {
        let access = server.access();
        let packed = format!("{compression:?}").to_lowercase();
        let config = directory.path().join("mysnap.toml");
        let path = |name: &str, path: &Option<PathBuf>| path.as_ref().map(|path| format!("ssh_{name} = {path:?}\n"));
        let port = ssh.port.map(|port| format!("ssh_port = {port}\n"));
        let ssh_keys =
            [path("key", &ssh.key), path("known_hosts", &ssh.known_hosts), port].map(Option::unwrap_or_default);
        let ssh_keys = ssh_keys.concat();
        let (option_file, socket) = (access.option_file.clone().unwrap(), server.socket());
        let text = format!(
            "[server]\noption_file = {option_file:?}\nsocket = {socket:?}\nuser = \"root\"\n\
             [binlog.shop]\nto = \"{to}\"\n{ssh_keys}compression = {packed:?}\nsync_interval = \"200ms\"\n"
        );
        durable::write(&config, text.as_bytes()).unwrap();
        let shop = to.path().join("shop");
        let (home, engine) = (Home::at(&to.at(&shop), ssh), LogEngine::Auto);
        let request = Request { server: access, engine, spool: None, home, compression, sync_interval: INTERVAL };
        Self { directory, request, home: Home::new(shop), config, _keeps: None }
    }

    /// The same with the file system that it is on.
    pub fn keeping(self, file_system: Tmpfs) -> Self {
        Self { _keeps: Some(file_system), ..self }
    }

    pub fn archive(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub fn ship(&self) -> anyhow::Result<Shipped> {
        binlog::ship(&self.request, false, &Silent, &Cancel::new())
    }

    pub fn ship_rotated(&self) -> anyhow::Result<Shipped> {
        binlog::ship(&self.request, true, &Silent, &Cancel::new())
    }

    pub fn index(&self) -> Index {
        let mut index = self.home.read_index().unwrap().unwrap();
        verify::look_at_open(&self.home, &mut index).unwrap();
        index
    }

    pub fn verify(&self) -> Report {
        verify::verify(&self.home, &self.index(), &|_| {}, &Cancel::new()).unwrap()
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
        self.home.timeline(&self.index().timelines[0].id).join(name)
    }

    fn bytes(&self, timeline: &str, file: &LogFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.home.read(timeline, file).unwrap().read_to_end(&mut bytes).unwrap();
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

    /// Adds sections to the configuration.
    pub fn configure(&self, sections: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        durable::write(&self.config, format!("{text}{sections}").as_bytes()).unwrap();
    }

    /// The archive as the server's host has it.
    pub fn elsewhere_home(&self) -> Home {
        self.request.home.clone()
    }

    /// Replaces what the configuration says.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{text}");
        durable::write(&self.config, text.replace(from, to).as_bytes()).unwrap();
    }

    /// What `status` says of an archive.
    pub fn status(&self, archive: &str) -> Vec<serde_json::Value> {
        let (_, said) = self.command(&["status", archive, "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let lines = status["lines"].as_array().unwrap();
        lines.iter().filter(|line| line["what"] == "archive").cloned().collect()
    }

    /// As if the last pass had been so much earlier.
    pub fn age_pulse(&self, by: Duration) {
        let pulse = Pulse { at: self.pulse().at - by, ..self.pulse() };
        durable::write(&self.archive().join("pulse.json"), &serde_json::to_vec(&pulse).unwrap()).unwrap();
    }

    pub fn pulse(&self) -> Pulse {
        self.home.read_pulse().unwrap().unwrap()
    }

    /// As if the configuration had another interval.
    pub fn each(&self, interval: &str) {
        let text = fs::read_to_string(&self.config).unwrap().replace("200ms", interval);
        durable::write(&self.config, text.as_bytes()).unwrap();
    }

    /// A stream at work.
    pub fn stream(&self) -> Stream {
        self.start(&["binlog", "stream", "shop"])
    }

    /// One that tells how far the archive is durable.
    pub fn stream_told(&self) -> Stream {
        self.start_telling(&["binlog", "stream", "shop"], "mysnap::binlog=debug")
    }

    /// The command at work.
    pub fn start(&self, arguments: &[&str]) -> Stream {
        self.start_telling(arguments, "warn")
    }

    fn start_telling(&self, arguments: &[&str], told: &str) -> Stream {
        #[expect(clippy::disallowed_methods, reason = "it is killed and signalled as a service manager would")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_mysnap"));
        command.arg("--config").arg(&self.config).args(arguments);
        self.spawn(command, told)
    }

    /// A command at work, whose output is this one's.
    pub fn spawn(&self, mut command: Command, told: &str) -> Stream {
        let log = self.directory.path().join("stream.log");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command
            .env("MYSNAP_LOG", told)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap();
        Stream { child, log }
    }

    /// Where its configuration is.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The archived file as the server's own tool tells it, up to `stop`.
    pub fn replayed(&self, server: &Server, name: &str, stop: u64) -> String {
        let index = self.index();
        let (timeline, file) = index.find(name).unwrap();
        let plain = self.directory.path().join(name);
        durable::write(&plain, &self.bytes(&timeline.id, file)).unwrap();
        assert!(server.datadir().join(name).exists());
        let ran = program("mariadb-binlog", "mysqlbinlog")
            .args(["--no-defaults", "--verbose"])
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

/// `mysnap` at work.
pub struct Stream {
    child: Child,
    log: PathBuf,
}

impl Stream {
    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Lets it do nothing while `meanwhile` is done.
    pub fn stopped<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        let done = meanwhile();
        kill(pid, Signal::SIGCONT).unwrap();
        done
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

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
        let statements = format!(
            "USE shop; INSERT INTO t (a) SELECT REPEAT('w', 1 + RAND() * 200) FROM {}; BEGIN; \
             INSERT INTO shop.t (a) VALUES ('one'); UPDATE shop.t SET a = 'two' WHERE id = LAST_INSERT_ID(); COMMIT;",
            numbers(20)
        )
        .repeat(20);
        let write = |_| {
            let (stop, statements, socket) = (Arc::clone(&stop), statements.clone(), server.socket());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let client = program("mariadb", "mysql").args(["--no-defaults", "-uroot", "--force"]);
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
