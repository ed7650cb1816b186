//! The one place where external programs are started.
//!
//! An argument vector, never a shell; a fixed environment (`LC_ALL=C`, a fixed `PATH`); a process
//! group of its own, so that a terminal's Ctrl-C reaches us and not the child; a deadline; and
//! standard error in the error. At the deadline or on cancellation an ordinary child gets SIGTERM,
//! two seconds of grace, SIGKILL. A *spared* one (LVM) is never killed: SIGKILL during
//! `lvcreate -s` leaves the origin suspended. We let go of it and say so; [`settle`] waits for it
//! before anybody cleans up what it may still make. Nor does it stay stopped: it may have the origin
//! suspended.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cancel::{Cancel, POLL};
use super::failpoint;

/// The deadline of a call that names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(2);
/// How long output is waited for after the child ended (a grandchild may hold the pipe).
const DRAIN: Duration = Duration::from_millis(500);
/// How often one that is spared is told to go on.
const WAKE: Duration = Duration::from_secs(1);
/// How long it may clean up once its standard input has ended.
const PARTING: Duration = Duration::from_secs(60);
/// Where programs are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What ties a program's life to that of whoever started it.
const TIE: [&str; 4] = ["setpriv", "--pdeathsig", "TERM", "--"];
/// Where MySQL's programs look for logins that come before those of any option file, even of the only one they are told
/// to read: below what is no directory nobody can put one.
const NO_LOGIN_FILE: (&str, &str) = ("MYSQL_TEST_LOGIN_FILE", "/dev/null/none");
const KEPT_ENVIRONMENT: [&str; 3] = ["HOME", "SSH_AUTH_SOCK", "TMPDIR"];

/// Why an external program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program is not installed.
    #[error("{program} is not installed (not found in {PATH})")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The kernel refused to start it.
    #[error("cannot run `{argv}`")]
    Spawn {
        /// The whole command.
        argv: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It ended with a status other than zero.
    #[error("`{argv}` failed ({status}): {stderr}")]
    Failed {
        /// The whole command.
        argv: String,
        /// Its status.
        status: ExitStatus,
        /// The end of its standard error.
        stderr: String,
    },
    /// It had not ended at its deadline.
    #[error("`{argv}` had not ended after {after:?}{}", if *.spared { "; it was left to end by itself" } else { "" })]
    Deadline {
        /// The whole command.
        argv: String,
        /// The deadline.
        after: Duration,
        /// Whether it still runs.
        spared: bool,
    },
    /// It said nothing for longer than it may.
    #[error("`{argv}` has said nothing for {after:?}")]
    Silent {
        /// The whole command.
        argv: String,
        /// How long it may say nothing.
        after: Duration,
    },
    /// The run was asked to end.
    #[error("`{argv}` was stopped by signal {signal}")]
    Cancelled {
        /// The whole command.
        argv: String,
        /// The signal that we received.
        signal: i32,
    },
    /// What it says in one line is longer than anything that it could have to say.
    #[error("`{argv}` said more than {limit} bytes without an end of the line")]
    Endless {
        /// The whole command.
        argv: String,
        /// In bytes.
        limit: usize,
    },
}

impl CommandError {
    /// The exit code, where the program ended by itself with one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed { status, .. } => status.code(),
            _ => None,
        }
    }

    /// What the program wrote to standard error, where it ended by itself.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Failed { stderr, .. } => Some(stderr),
            _ => None,
        }
    }
}

/// What a program that ended left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

/// A program about to be run.
#[derive(Debug)]
#[must_use]
pub struct Call<'a> {
    argv: Vec<OsString>,
    deadline: Duration,
    silence: Duration,
    cancel: Option<&'a Cancel>,
    stdin: Vec<u8>,
    /// How often it is told that we are alive, where it is talked with.
    beat: Option<Duration>,
    spared: bool,
    zone: String,
}

impl<'a> Call<'a> {
    /// `program` is looked up in a fixed `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            deadline: DEFAULT_DEADLINE,
            silence: Duration::MAX,
            cancel: None,
            stdin: Vec::new(),
            beat: None,
            spared: false,
            zone: "UTC".to_owned(),
        }
    }

    /// Whether `program` is installed where calls look for it.
    pub fn is_installed(program: &str) -> bool {
        Self::found(program).is_some()
    }

    /// Where calls find `program`.
    pub fn found(program: &str) -> Option<std::path::PathBuf> {
        which::which_in(program, Some(PATH), "/").ok()
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.argv.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// How long it may take.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long it may say nothing, for one that may take any time and tells of its work.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The time zone in which it works, as `TZ` (tzset(3)); UTC where nothing else is said.
    pub fn zone(mut self, zone: String) -> Self {
        self.zone = zone;
        self
    }

    /// What ends it early. A spared program is not ended early.
    pub fn cancel(mut self, cancel: &'a Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// What it reads; nothing otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Leave its standard input open after that, with an empty line each `beat`: see [`super::talk`].
    pub(super) fn talked_with(mut self, beat: Duration) -> Self {
        self.beat = Some(beat);
        self
    }

    /// Never signal it: at the deadline it is let go of.
    pub fn spared(mut self) -> Self {
        self.spared = true;
        self
    }

    /// Have it asked to end when we are gone, however that comes: nobody else would end it.
    pub fn tied(mut self) -> Self {
        self.argv.splice(0..0, TIE.map(OsString::from));
        self
    }

    /// The command as a person would type it.
    pub fn display(&self) -> String {
        self.argv.iter().map(|a| quote(&a.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// The program and its arguments.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// Runs it; its standard output must be UTF-8.
    pub fn stdout(self) -> Result<String, CommandError> {
        self.stdout_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs it; its standard output as bytes.
    pub fn stdout_bytes(self) -> Result<Vec<u8>, CommandError> {
        let argv = self.display();
        let finished = self.finish()?;
        finished.succeeded(&argv).map(|f| f.stdout)
    }

    /// Runs it for its effect.
    pub fn run(self) -> Result<(), CommandError> {
        self.stdout_bytes().map(drop)
    }

    /// Runs it; any exit status is an answer.
    pub fn finish(self) -> Result<Finished, CommandError> {
        self.start()?.wait()
    }

    /// Runs it and hands every piece of its standard output to `sink` as it comes.
    pub fn stream(self, sink: impl FnMut(&[u8])) -> Result<(), CommandError> {
        let argv = self.display();
        self.start()?.wait_with(sink)?.succeeded(&argv).map(drop)
    }

    /// Starts it without waiting.
    pub fn start(self) -> Result<Running<'a>, CommandError> {
        let instead = failpoint::program(&self.argv);
        self.start_as(instead.as_deref())
    }

    /// Has `waiting` do it, which was started beforehand and is told `words`. Started it is where that one has ended.
    pub(super) fn start_in(self, mut waiting: Running<'a>, words: Vec<u8>) -> Result<Running<'a>, CommandError> {
        let instead = failpoint::program(&self.argv);
        if instead.is_some() || waiting.has_ended() {
            return self.start_as(instead.as_deref());
        }
        waiting.argv = self.display();
        tracing::debug!(argv = waiting.argv, "told to one that waits");
        waiting.say(words);
        waiting.speaker = None;
        waiting.started = Instant::now();
        waiting.deadline = self.deadline;
        Ok(waiting)
    }

    fn start_as(self, instead: Option<&[OsString]>) -> Result<Running<'a>, CommandError> {
        let started = Instant::now();
        let argv = self.display();
        tracing::debug!(argv, "start");
        let mut child = self.spawn(&argv, instead.unwrap_or(&self.argv))?;
        let (speaker, words) = channel();
        if let Some(stdin) = child.stdin.take() {
            let (first, beat) = (self.stdin, self.beat.unwrap_or(Duration::MAX));
            // A program that ends before it has read everything says so by its status.
            std::thread::spawn(move || {
                feed(stdin, &first, &words, beat)
                    .unwrap_or_else(|error| tracing::debug!(%error, "standard input was not read to its end"));
            });
        }
        let (sender, output) = channel();
        forward(child.stdout.take(), sender.clone(), Piece::Out);
        forward(child.stderr.take(), sender, Piece::Err);
        Ok(Running {
            child,
            argv,
            output,
            stderr: Vec::new(),
            ended: None,
            started,
            deadline: self.deadline,
            silence: self.silence,
            heard: started,
            woken: started,
            cancel: self.cancel,
            speaker: self.beat.map(|_| speaker),
            spared: self.spared,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place where programs are started")]
    fn spawn(&self, argv: &str, words: &[OsString]) -> Result<Child, CommandError> {
        let (program, args) = words.split_first().unwrap_or_else(|| unreachable!("a call has a program"));
        let found = which::which_in(program, Some(PATH), "/")
            .map_err(|_| CommandError::Missing { program: program.to_string_lossy().into_owned() })?;
        let mut command = std::process::Command::new(found);
        command.args(args).env_clear().env("PATH", PATH).env("LC_ALL", "C").env("TZ", &self.zone);
        command.env(NO_LOGIN_FILE.0, NO_LOGIN_FILE.1);
        command.env("LVM_SUPPRESS_FD_WARNINGS", "1").process_group(0).current_dir("/");
        for name in KEPT_ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let is_fed = self.beat.is_some() || !self.stdin.is_empty();
        command.stdin(if is_fed { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| CommandError::Spawn { argv: argv.to_owned(), source })
    }
}

impl Finished {
    /// The same, or an error where the status is not zero.
    pub fn succeeded(self, argv: &str) -> Result<Self, CommandError> {
        if self.status.success() {
            return Ok(self);
        }
        Err(CommandError::Failed { argv: argv.to_owned(), status: self.status, stderr: tail(&self.stderr) })
    }
}

enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

/// A program that was started.
#[derive(Debug)]
#[must_use]
pub struct Running<'a> {
    child: Child,
    argv: String,
    output: Receiver<Piece>,
    stderr: Vec<u8>,
    ended: Option<(ExitStatus, Instant)>,
    started: Instant,
    deadline: Duration,
    silence: Duration,
    /// When it said something.
    heard: Instant,
    /// When it was told to go on, were it stopped.
    woken: Instant,
    cancel: Option<&'a Cancel>,
    /// Its standard input is open as long as this is there.
    speaker: Option<Sender<Vec<u8>>>,
    spared: bool,
}

/// Spared programs that were let go of before they ended.
static LET_GO: Mutex<Vec<(Pid, String)>> = Mutex::new(Vec::new());

/// Waits until every spared program that was let go of has ended, or says which one goes on after
/// `patience`. What it makes in the end is there only then.
pub fn settle(patience: Duration) -> Result<(), CommandError> {
    let end = Instant::now() + patience;
    loop {
        let mut running = LET_GO.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(pid, _)| matches!(waitpid(*pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)));
        let Some((_, argv)) = running.first() else { return Ok(()) };
        running.iter().for_each(|(pid, _)| tell(*pid, Signal::SIGCONT));
        if Instant::now() >= end {
            return Err(CommandError::Deadline { argv: argv.clone(), after: patience, spared: true });
        }
        drop(running);
        std::thread::sleep(POLL);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.speaker.is_some() && !self.has_ended() {
            self.end();
        }
        if self.spared
            && !self.has_ended()
            && let Ok(pid) = i32::try_from(self.child.id())
        {
            let mut running = LET_GO.lock().unwrap_or_else(PoisonError::into_inner);
            running.push((Pid::from_raw(pid), self.argv.clone()));
        }
    }
}

impl Running<'_> {
    /// The command as a person would type it.
    pub fn argv(&self) -> &str {
        &self.argv
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end for at most `patience` from now, whatever its deadline was.
    pub fn wait_at_most(mut self, patience: Duration) -> Result<Finished, CommandError> {
        self.deadline = self.started.elapsed() + patience;
        self.wait()
    }

    /// Says that nothing more comes, and waits for its end for as long as it may clean up.
    pub(super) fn part(mut self) -> Result<Finished, CommandError> {
        self.speaker = None;
        self.wait_at_most(PARTING)
    }

    /// Ends one that is talked with without the time to clean up: it hears nothing any more.
    pub(super) fn give_up(mut self) {
        self.speaker = None;
        self.end();
    }

    /// Asks it to end by SIGTERM.
    pub fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// What kills it and all that it started, from another thread. To be thrown away before its end is
    /// waited for: its number may then be another program's.
    pub fn killer(&self) -> impl FnOnce() + Send + use<> {
        let group = i32::try_from(self.child.id()).map(Pid::from_raw);
        move || {
            if let Ok(group) = group
                && let Err(error) = killpg(group, Signal::SIGKILL)
            {
                tracing::debug!(%error, "nothing to kill");
            }
        }
    }

    /// Waits for its end, its deadline or cancellation.
    pub fn wait(self) -> Result<Finished, CommandError> {
        let mut stdout = Vec::new();
        let mut finished = self.wait_with(|piece| stdout.extend_from_slice(piece))?;
        finished.stdout = stdout;
        Ok(finished)
    }

    fn wait_with(mut self, mut sink: impl FnMut(&[u8])) -> Result<Finished, CommandError> {
        let status = loop {
            if let Some(status) = self.step(&mut sink)? {
                break status;
            }
        };
        tracing::debug!(argv = self.argv, %status, elapsed = ?self.started.elapsed(), "ended");
        Ok(Finished { status, stdout: Vec::new(), stderr: std::mem::take(&mut self.stderr) })
    }

    /// Takes a piece of its output, where there is one; its status once it has ended and all was taken.
    pub(super) fn step(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<Option<ExitStatus>, CommandError> {
        let heard = self.output.recv_timeout(POLL / 4);
        let says_more = heard.is_ok();
        if says_more {
            self.heard = Instant::now();
        }
        match (heard, self.ended) {
            (Ok(Piece::Out(bytes)), _) => sink(&bytes),
            (Ok(Piece::Err(bytes)), _) => self.stderr.extend_from_slice(&bytes),
            (Err(RecvTimeoutError::Timeout), _) => {}
            (Err(RecvTimeoutError::Disconnected), None) => std::thread::sleep(POLL / 4),
            (Err(RecvTimeoutError::Disconnected), Some((status, _))) => return Ok(Some(status)),
        }
        if self.ended.is_none() {
            self.ended = self.look()?.map(|status| (status, Instant::now()));
        }
        // What it wrote before its end may lie here still, where we are slower than it was.
        let is_drained = !says_more || self.started.elapsed() >= self.deadline;
        Ok(self.ended.filter(|(_, at)| is_drained && at.elapsed() > DRAIN).map(|(status, _)| status))
    }

    /// Writes to the standard input of a program that is talked with.
    pub(super) fn say(&self, words: Vec<u8>) {
        // That it reads no more is told by its end.
        if self.speaker.as_ref().is_none_or(|speaker| speaker.send(words).is_err()) {
            tracing::debug!(argv = self.argv, "nobody listens any more");
        }
    }

    fn look(&mut self) -> Result<Option<ExitStatus>, CommandError> {
        let argv = || self.argv.clone();
        match self.child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) => {}
            Err(source) => return Err(CommandError::Spawn { argv: argv(), source }),
        }
        if self.started.elapsed() >= self.deadline {
            let error = CommandError::Deadline { argv: argv(), after: self.deadline, spared: self.spared };
            self.end();
            return Err(error);
        }
        if self.spared && self.woken.elapsed() >= WAKE {
            self.woken = Instant::now();
            self.signal(Signal::SIGCONT);
        }
        if self.heard.elapsed() >= self.silence {
            let error = CommandError::Silent { argv: argv(), after: self.silence };
            self.end();
            return Err(error);
        }
        if !self.spared
            && let Some(signal) = self.cancel.and_then(Cancel::signal)
        {
            let error = CommandError::Cancelled { argv: argv(), signal };
            self.end();
            return Err(error);
        }
        Ok(None)
    }

    /// SIGTERM, grace, SIGKILL for the whole group; nothing for a spared program. One that is talked with
    /// first gets the time to end by itself.
    fn end(&mut self) {
        if self.spared || (self.speaker.take().is_some() && self.ends_within(PARTING)) {
            return;
        }
        self.signal(Signal::SIGTERM);
        self.ends_within(GRACE);
        // Also where it ended in time: what it started may live on.
        self.signal(Signal::SIGKILL);
        // SIGKILL too waits for a dead disk: cleaning up must not.
        if !self.ends_within(GRACE) {
            tracing::warn!(argv = self.argv, "a killed program hangs in the kernel; it is left behind");
        }
    }

    fn ends_within(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end && !self.has_ended() {
            std::thread::sleep(POLL / 4);
        }
        self.has_ended()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            tell(Pid::from_raw(group), signal);
        }
    }
}

fn tell(group: Pid, signal: Signal) {
    // ESRCH: it ended meanwhile, which is what was wanted.
    if let Err(error) = killpg(group, signal) {
        tracing::debug!(%group, %error, "signal not delivered");
    }
}

/// Writes `first`, then what else comes as long as somebody may say something.
fn feed(mut stdin: ChildStdin, first: &[u8], words: &Receiver<Vec<u8>>, beat: Duration) -> std::io::Result<()> {
    stdin.write_all(first)?;
    loop {
        match words.recv_timeout(beat) {
            Ok(words) => stdin.write_all(&words)?,
            Err(RecvTimeoutError::Timeout) => stdin.write_all(b"\n")?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn forward(source: Option<impl Read + Send + 'static>, sender: Sender<Piece>, wrap: fn(Vec<u8>) -> Piece) {
    let Some(mut source) = source else { return };
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = source.read(&mut buffer) {
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            // A program that was let go of still writes; a closed pipe would end it in the middle.
            drop(sender.send(wrap(piece.to_vec())));
        }
    });
}

/// The last kilobytes of what a program said, on one line.
fn tail(stderr: &[u8]) -> String {
    const KEPT: usize = 2000;
    let text = String::from_utf8_lossy(stderr.get(stderr.len().saturating_sub(KEPT)..).unwrap_or_default());
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") }
}

/// `word` as a POSIX shell reads it back unchanged: for messages, and for what ssh hands to the
/// login shell on the other side.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_its_status_and_what_it_said() {
        let error = Call::new("sh").args(["-c", "echo no luck >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.code(), Some(3));
        let text = error.to_string();
        assert!(text.contains("no luck") && text.contains("sh -c"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Call::new("no-such-program-here").run().unwrap_err();
        assert!(matches!(error, CommandError::Missing { .. }), "{error}");
    }

    #[test]
    fn the_environment_is_fixed() {
        let seen = Call::new("env").stdout().unwrap();
        assert!(seen.contains("LC_ALL=C\n"), "{seen}");
        assert!(seen.contains("MYSQL_TEST_LOGIN_FILE=/dev/null/none\n"), "{seen}");
        assert!(!seen.contains("CARGO"), "{seen}");
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        let began = Instant::now();
        let call = Call::new("sh").args(["-c", "sleep 77.77 & wait"]).deadline(Duration::from_millis(100));
        assert!(matches!(call.run().unwrap_err(), CommandError::Deadline { spared: false, .. }));
        assert!(began.elapsed() < Duration::from_secs(10));
        let processes = Call::new("ps").args(["-eo", "args"]).stdout().unwrap();
        assert!(!processes.contains("sleep 77.77"), "{processes}");
    }

    #[test]
    fn one_that_speaks_may_take_longer_than_it_may_be_silent() {
        let said = |script: &str| Call::new("sh").args(["-c", script]).silence(Duration::from_millis(800)).stdout();
        assert_eq!(said("for n in 1 2 3 4 5; do sleep 0.3; echo $n; done").unwrap(), "1\n2\n3\n4\n5\n");
        assert!(matches!(said("echo 1; sleep 60").unwrap_err(), CommandError::Silent { .. }));
    }

    #[test]
    fn what_a_program_wrote_before_it_ended_is_taken_to_its_end_however_slowly() {
        let (mut taken, began) = (0, Instant::now());
        let call = Call::new("head").args(["-c", "20000000", "/dev/zero"]);
        call.stream(|piece| {
            taken += piece.len();
            std::thread::sleep(Duration::from_millis(5));
        })
        .unwrap();
        assert_eq!(taken, 20_000_000);
        assert!(began.elapsed() > 2 * DRAIN, "it was no slower than the program");
    }

    #[test]
    fn a_spared_program_is_let_go_of_and_lives_on() {
        let call = Call::new("sleep").arg("1.2345").deadline(Duration::from_millis(100)).spared();
        assert!(matches!(call.run().unwrap_err(), CommandError::Deadline { spared: true, .. }));
        let processes = Call::new("ps").args(["-eo", "args"]).stdout().unwrap();
        assert!(processes.contains("sleep 1.2345"), "{processes}");
        assert!(matches!(settle(Duration::ZERO), Err(CommandError::Deadline { spared: true, .. })));
        settle(Duration::from_secs(10)).unwrap();
        let processes = Call::new("ps").args(["-eo", "args"]).stdout().unwrap();
        assert!(!processes.contains("sleep 1.2345"), "{processes}");
    }

    #[test]
    fn a_spared_program_that_is_stopped_goes_on() {
        let stopped = |end: &str| Call::new("sh").args(["-c", &format!("kill -STOP $$; {end}")]).spared();
        assert_eq!(stopped("exit 7").deadline(Duration::from_secs(20)).run().unwrap_err().code(), Some(7));
        let let_go = stopped("exit").deadline(Duration::from_millis(100)).run().unwrap_err();
        assert!(matches!(let_go, CommandError::Deadline { spared: true, .. }), "{let_go}");
        settle(Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn cancellation_ends_a_wait() {
        let cancel = Cancel::new();
        cancel.set(15);
        let error = Call::new("sleep").arg("60").cancel(&cancel).run().unwrap_err();
        assert!(matches!(error, CommandError::Cancelled { signal: 15, .. }));
    }

    #[test]
    fn input_is_fed_and_output_is_whole() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(Call::new("cat").stdin(input.clone()).stdout_bytes().unwrap(), input);
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_word_comes_back_from_a_shell(word in "[^\u{0}]{0,20}") {
            let script = format!("printf %s {}", quote(&word));
            proptest::prop_assert_eq!(Call::new("sh").args(["-c", &script]).stdout().unwrap(), word);
        }
    }
}
