//! A run of mysnap that is watched while it works, and the ground for runs that need no other node.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::host::{self, Ran, run, try_run};

/// A destination on this host, on a disk other than the server's.
pub const LOCAL: &str = "/srv/local";

const PROGRAM: &str = "/usr/local/bin/mysnap";

/// The default budget, for a test of what writers wait at most.
pub const DEFAULT_STALL: &str = "max_stall = \"5s\"\n";

/// A configuration with the job `local`, which goes to [`LOCAL`]; its path. Unless `extra` says
/// otherwise it tries once, with a budget that is not what ends the hold, however slow the guest.
pub fn local(name: &str, extra: &str) -> String {
    make_destination();
    let mut job = format!("[job.local]\nto = \"{LOCAL}\"\n");
    for (key, line) in [("retries", "retries = 1\n"), ("max_stall", "max_stall = \"30s\"\n")] {
        if !extra.contains(key) {
            job.push_str(line);
        }
    }
    host::configure(name, &(job + extra))
}

fn make_destination() {
    run(&["mkdir", "-p", "-m", "0700", LOCAL]);
}

/// Removes what is stored of the job `local`.
pub fn forget_stored() {
    run(&["rm", "-rf", &format!("{LOCAL}/local")]);
}

/// The backups that are there, as a stranger who looks at the directory sees them.
pub fn stored() -> Vec<String> {
    make_destination();
    let listed = run(&["find", LOCAL, "-mindepth", "2", "-maxdepth", "2", "-type", "d", "-name", "[!.]*"]);
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// A backup of `local` fails with `status`, says all of `words`, and leaves nothing.
pub fn fails(config: &str, status: i32, words: &[&str]) -> Ran {
    let before = stored();
    let ran = host::mysnap(&["--config", config, "backup", "local"]);
    expect(&ran, status, words);
    assert_eq!(stored(), before, "a failed run must not be listed");
    host::assert_nothing_left();
    if status > 2 {
        expect(&ran, status, &["left: nothing; earlier backups are as they were"]);
    }
    ran
}

/// Its exit status is `status`, and it says all of `words`.
pub fn expect(ran: &Ran, status: i32, words: &[&str]) {
    assert_eq!(ran.status, status, "{}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word) || ran.stdout.contains(word), "{word:?} is not in: {}", ran.stderr);
    }
}

/// A run of mysnap in the background, which tells of its phases.
pub struct Live {
    child: Child,
    events: Receiver<serde_json::Value>,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Live {
    /// `mysnap --events json --config CONFIG ARGUMENTS`.
    pub fn start(config: &str, arguments: &[&str]) -> Self {
        Self::start_logging("warn", config, arguments)
    }

    /// The same, with more or less of a log on standard error.
    #[expect(clippy::disallowed_methods, reason = "tests start programs too")]
    pub fn start_logging(log: &str, config: &str, arguments: &[&str]) -> Self {
        Self::started(Command::new(PROGRAM).env("MYSNAP_LOG", log), config, arguments)
    }

    /// The same as `start`, by a shell that runs the line `first` before and then becomes mysnap.
    #[expect(clippy::disallowed_methods, reason = "tests start programs too")]
    pub fn start_by(first: &str, config: &str, arguments: &[&str]) -> Self {
        let line = format!("{first}; exec \"$0\" \"$@\"");
        Self::started(Command::new("sh").args(["-c", &line, PROGRAM]).env("MYSNAP_LOG", "warn"), config, arguments)
    }

    fn started(command: &mut Command, config: &str, arguments: &[&str]) -> Self {
        command.args(["--events", "json", "--config", config]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, events) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdout = std::thread::spawn(move || {
            let mut all = String::new();
            for line in lines.map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    // Nobody may be listening any more.
                    drop(sender.send(event));
                }
                all.push_str(&line);
                all.push('\n');
            }
            all
        });
        let mut error = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut all = String::new();
            error.read_to_string(&mut all).unwrap();
            all
        });
        Self { child, events, stdout, stderr }
    }

    /// The backup of job `local`.
    pub fn backup(config: &str) -> Self {
        Self::start(config, &["backup", "local"])
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits until the phase `name` has begun; false where the run ended before.
    pub fn came_to(&mut self, name: &str) -> bool {
        let end = Instant::now() + Duration::from_secs(600);
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) if event["event"] == "phase" && event["name"] == name => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!("the run neither ends nor comes to {name}"),
            }
        }
    }

    /// Waits until the phase `name` has begun, which it must.
    pub fn wait_for(&mut self, name: &str) {
        if !self.came_to(name) {
            let status = self.child.wait().unwrap();
            let said = std::mem::replace(&mut self.stderr, std::thread::spawn(String::new)).join().unwrap();
            panic!("the run ended ({status}) before {name}: {said}");
        }
    }

    /// What is mounted where it is.
    pub fn mounts(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Its end.
    pub fn finish(mut self) -> Ran {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.join().unwrap();
        let stderr = self.stderr.join().unwrap();
        Ran { status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()), stdout, stderr }
    }
}

/// Waits until `done` holds.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The LVM that makes the snapshot under the lock, with something happening before it does what it is told: how
/// a test gets into the hold. The command itself is LVM's own.
pub struct BeforeSnapshot(String);

impl BeforeSnapshot {
    /// Runs the shell lines `first` each time before the real command.
    pub fn runs(first: &str) -> Self {
        let tool = if host::is_thin() { "lvcreate" } else { "lvconvert" };
        let path = "/usr/local/sbin/lvm".to_owned();
        let text = format!(
            "#!/bin/sh\nfirst() {{\n{first}\n}}\nwhile IFS= read -r line; do\n\
             case $line in {tool}*) first </dev/null >&2 ;; esac\n\
             printf '%s\\n' \"$line\"\ndone | /usr/sbin/lvm \"$@\"\n"
        );
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, text).unwrap();
        run(&["chmod", "0755", &path]);
        Self(path)
    }
}

/// A snapshot command that comes to a halt under the lock until the test lets it go on.
pub struct Halt {
    _command: BeforeSnapshot,
}

impl Halt {
    const HERE: &str = "/run/mysnap-test-halt";

    pub fn new() -> Self {
        let here = Self::HERE;
        drop(try_run(&["rm", "-f", here]));
        Self { _command: BeforeSnapshot::runs(&format!("touch {here}; while [ -e {here} ]; do sleep 0.05; done")) }
    }

    /// Waits until it was come to.
    pub fn reached(&self) {
        until("the hold", || std::path::Path::new(Self::HERE).exists());
    }

    pub fn go_on(self) {
        run(&["rm", Self::HERE]);
    }
}

impl Drop for Halt {
    fn drop(&mut self) {
        drop(try_run(&["rm", "-f", Self::HERE]));
    }
}

impl Drop for BeforeSnapshot {
    fn drop(&mut self) {
        drop(try_run(&["rm", "-f", &self.0]));
    }
}

/// A shell command that undoes what a test did, whatever becomes of the test.
pub struct Undo(String);

impl Undo {
    pub fn with(command: &str) -> Self {
        Self(command.to_owned())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let output = try_run(&["sh", "-c", &self.0]);
        if !output.status.success() {
            eprintln!("{}: {}", self.0, String::from_utf8_lossy(&output.stderr));
        }
    }
}
