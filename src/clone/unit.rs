//! A clone as a transient unit of systemd, so that it outlives the command and the login.
//!
//! The unit runs mysnap itself, which has a mount namespace of its own: bind mounts of the unit would be
//! made before there is a snapshot to bind. What it tells until the clone can be used, or why it can't, comes
//! back through a file without a name that the command holds open: nothing of it is left, whoever is killed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind, hints_of, kind_of};
use crate::id::CloneName;
use crate::run::events::{Event, Observer};
use crate::sys::cancel::Cancel;
use crate::sys::cmd::Call;
use crate::sys::units::human_duration;

/// sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
const PAUSE: Duration = Duration::from_millis(100);
/// How often systemd is asked whether the unit lives.
const LOOK: Duration = Duration::from_secs(2);
/// How long its end may take.
const END: Duration = Duration::from_secs(900);
/// As in `packaging/mysnap@.service`: an LVM command that gets SIGKILL may leave a volume suspended, so
/// mysnap alone is asked to end, and nothing is in a hurry. What a killed one leaves is removed at once.
const PROPERTIES: [&str; 7] = [
    "KillMode=mixed",
    "SendSIGKILL=no",
    "TimeoutStopSec=infinity",
    "OOMScoreAdjust=-900",
    "UMask=0077",
    "LimitCORE=0",
    "CollectMode=inactive-or-failed",
];

/// Whether systemd runs here.
pub fn is_available() -> bool {
    Path::new(BOOTED).exists() && Call::is_installed("systemd-run")
}

/// The unit of the clone of that name.
pub fn name(clone: &CloneName) -> String {
    format!("mysnap-clone-{clone}.service")
}

/// What comes back from the unit, one a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Note(String),
    Warning(String),
    Ready,
    Failed { text: String, kind: Option<Kind>, hints: Vec<String> },
}

/// Starts the unit, which runs mysnap with `arguments` and the path of the file to report to, and waits until
/// the clone can be used. Where it can't, nothing of it is left.
pub fn start(
    clone: &CloneName,
    arguments: &[OsString],
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot tell where mysnap is")?;
    wait_while(clone, |state| state == "deactivating", cancel)?;
    let mut report = Report::new()?;
    let recover = format!("ExecStopPost={} recover --quiet", program.display());
    let properties = PROPERTIES.into_iter().chain([recover.as_str()]).flat_map(|property| ["--property", property]);
    Call::new("systemd-run")
        .args(["--quiet", "--unit", &name(clone), "--description", &format!("mysnap clone {clone}")])
        .args(properties)
        .arg("--")
        .arg(program)
        .args(arguments)
        .arg("--report")
        .arg(report.path())
        .run()
        .with_context(|| format!("cannot start the unit {}", name(clone)))?;
    report.wait(clone, observer, cancel)
}

/// The command's end of the report.
struct Report {
    file: File,
    /// What has come of a line so far.
    rest: Vec<u8>,
}

impl Report {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { file: tempfile::tempfile().context("cannot make a file without a name")?, rest: Vec::new() })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    fn wait(&mut self, clone: &CloneName, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<()> {
        let mut look = Instant::now() + LOOK;
        loop {
            let ended = Instant::now() >= look && !is_alive(&state(clone)?);
            for message in self.messages()? {
                match message {
                    Message::Note(text) => observer.event(Event::Note { text }),
                    Message::Warning(text) => observer.warn(text),
                    Message::Ready => return Ok(()),
                    Message::Failed { text, kind, hints } => return Err(failed(clone, text, (kind, &hints), cancel)),
                }
            }
            if ended {
                let fault = anyhow::anyhow!("the unit {} ended without a word", name(clone));
                return Err(fault.context(format!("see its log: journalctl -u {}", name(clone))));
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
            }
            if let Err(ended) = cancel.sleep(PAUSE) {
                Call::new("systemctl").args(["stop", &name(clone)]).deadline(END).run()?;
                return Err(ended);
            }
        }
    }

    /// What was told since the last look.
    fn messages(&mut self) -> anyhow::Result<Vec<Message>> {
        self.file.read_to_end(&mut self.rest).context("cannot read what the unit tells")?;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).context("the unit tells what is no report")).collect()
    }
}

/// Waits until the unit has cleaned up after its process, which ends; another one of the name can be started
/// then.
pub fn settle(clone: &CloneName, cancel: &Cancel) -> anyhow::Result<()> {
    wait_while(clone, is_alive, cancel)
}

fn wait_while(clone: &CloneName, goes_on: impl Fn(&str) -> bool, cancel: &Cancel) -> anyhow::Result<()> {
    let end = Instant::now() + END;
    while goes_on(&state(clone)?) {
        anyhow::ensure!(Instant::now() < end, "the unit {} had not ended after {END:?}", name(clone));
        cancel.sleep(PAUSE)?;
    }
    Ok(())
}

fn is_alive(state: &str) -> bool {
    !["inactive", "failed"].contains(&state)
}

/// As systemd calls it; `inactive` where there is no such unit.
fn state(clone: &CloneName) -> anyhow::Result<String> {
    let shown = Call::new("systemctl").args(["show", "--property=ActiveState", "--value", &name(clone)]).stdout()?;
    Ok(shown.trim().to_owned())
}

/// The unit's error as if it were ours.
fn failed(clone: &CloneName, text: String, (kind, hints): (Option<Kind>, &[String]), cancel: &Cancel) -> anyhow::Error {
    if let Err(error) = settle(clone, cancel) {
        tracing::warn!("{error:#}");
    }
    let Some(kind) = kind else { return anyhow::anyhow!(text) };
    let fault = Fault::new(kind, text);
    if hints.is_empty() { fault.into() } else { fault.hint(hints.join("; ")).into() }
}

/// The unit's end of the report.
#[derive(Debug)]
pub struct Reporter {
    file: Mutex<File>,
}

impl Reporter {
    /// Opens what the command waits at.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        let file = file.with_context(|| format!("nobody waits at {} any more", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// The clone can be used.
    pub fn ready(&self) {
        self.tell(&Message::Ready);
    }

    /// The clone can't be used, and nothing of it is left but what `error` says.
    pub fn failed(&self, error: &anyhow::Error) {
        let hints = hints_of(error).into_iter().map(str::to_owned).collect();
        self.tell(&Message::Failed { text: format!("{error:#}"), kind: kind_of(error), hints });
    }

    fn tell(&self, message: &Message) {
        let line = serde_json::to_string(message).map_err(std::io::Error::from);
        let told = line.and_then(|line| match self.file.lock() {
            Ok(mut file) => file.write_all(format!("{line}\n").as_bytes()),
            Err(_) => Ok(()),
        });
        if let Err(error) = told {
            tracing::warn!(%error, "the command that waits could not be told");
        }
    }
}

impl Observer for Reporter {
    fn event(&self, event: Event) {
        match event {
            Event::PhaseDone { name, elapsed, detail } => {
                self.tell(&Message::Note(format!("{name}: {detail} ({})", human_duration(elapsed))));
            }
            Event::Warning { text } => self.tell(&Message::Warning(text)),
            Event::Note { text } => self.tell(&Message::Note(text)),
            Event::Phase { .. } | Event::Progress { .. } | Event::Ready { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_unit_tells_comes_back_whole_and_in_order() {
        let mut report = Report::new().unwrap();
        let reporter = Reporter::open(&report.path()).unwrap();
        assert!(report.messages().unwrap().is_empty());
        reporter.event(Event::Note { text: "one\ntwo".to_owned() });
        reporter.file.lock().unwrap().write_all(b"\"rea").unwrap();
        assert!(matches!(report.messages().unwrap().as_slice(), [Message::Note(text)] if text == "one\ntwo"));
        reporter.file.lock().unwrap().write_all(b"dy\"\n").unwrap();
        let error = Fault::new(Kind::Verify, "no server came up").hint("look").into();
        reporter.failed(&error);
        let messages = report.messages().unwrap();
        let [Message::Ready, Message::Failed { text, kind, hints }] = messages.as_slice() else {
            panic!("{messages:?}");
        };
        assert_eq!((text.as_str(), *kind, hints.len()), ("no server came up", Some(Kind::Verify), 1));
    }

    #[test]
    fn where_the_command_is_gone_nothing_is_started() {
        let path = Report::new().unwrap().path();
        assert!(Reporter::open(&path).is_err());
    }
}
