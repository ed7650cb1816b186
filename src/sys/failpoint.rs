//! Outside steps, each with a name, where a test can make one go wrong.
//!
//! Everything that mysnap asks of the world passes here: SQL statements, external programs (LVM, ssh,
//! rsync), mounts, and the file operations that matter. A step is told apart by thread, what is done
//! and how often that was done before: `main run lvconvert#1`. So the steps of a run are a list that
//! a test can enumerate: it makes one run that only writes them down (`MYSNAP_FAILPOINT_LIST=FILE`),
//! then one for each step in which that step goes wrong (`MYSNAP_FAILPOINT=ACTION:STEP`).
//!
//! Only a build with the feature `failpoints` does any of that. In every other one the functions are
//! empty, and a test looks that the program does not even contain the names of the variables.

#[cfg(not(feature = "failpoints"))]
use std::ffi::OsString;

/// A step that is not the start of a program. An error is what the test wants the step to meet.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass(_: impl FnOnce() -> String) -> std::io::Result<()> {
    Ok(())
}

/// The start of a program: what to start instead, where a test wants that.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn program(_: &[OsString]) -> Option<Vec<OsString>> {
    None
}

#[cfg(feature = "failpoints")]
pub use armed::{pass, program};

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::Path;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};

    /// Longer than writers may wait for us, so that a hang under the lock costs the lock.
    const HANG: Duration = Duration::from_secs(8);

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Action {
        Fail,
        Hang,
        Signal(Signal),
    }

    impl Action {
        fn parse(name: &str) -> Option<Self> {
            Some(match name {
                "error" => Self::Fail,
                "hang" => Self::Hang,
                "term" => Self::Signal(Signal::SIGTERM),
                "kill" => Self::Signal(Signal::SIGKILL),
                "stop" => Self::Signal(Signal::SIGSTOP),
                _ => return None,
            })
        }
    }

    static TARGET: LazyLock<Option<(Action, String)>> = LazyLock::new(|| {
        let text = std::env::var("MYSNAP_FAILPOINT").ok()?;
        let (action, step) = text.split_once(':')?;
        Some((Action::parse(action)?, step.to_owned()))
    });
    static LIST: LazyLock<Option<OsString>> = LazyLock::new(|| std::env::var_os("MYSNAP_FAILPOINT_LIST"));
    static PASSED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    /// See [`super::pass`].
    pub fn pass(what: impl FnOnce() -> String) -> std::io::Result<()> {
        match reached(&what()) {
            Some(Action::Fail) => Err(std::io::Error::other("failpoint")),
            Some(Action::Hang) => {
                std::thread::sleep(HANG);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// See [`super::program`]. One that fails does nothing but that; one that hangs does its work late.
    pub fn program(argv: &[OsString]) -> Option<Vec<OsString>> {
        let name = argv.first()?.to_string_lossy().into_owned();
        let shell = |script: String| vec!["sh".into(), "-c".into(), script.into()];
        match reached(&format!("run {name}"))? {
            Action::Fail => Some(shell("echo failpoint >&2; exit 5".to_owned())),
            Action::Hang => {
                let mut late = shell(format!("sleep {}; exec \"$0\" \"$@\"", HANG.as_secs()));
                late.extend_from_slice(argv);
                Some(late)
            }
            _ => None,
        }
    }

    /// Counts and notes the step; where it is the one, does what can be done to the process.
    fn reached(what: &str) -> Option<Action> {
        let thread = std::thread::current().name().unwrap_or("other").to_owned();
        let step = {
            let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
            let count = passed.entry(format!("{thread} {what}")).or_default();
            *count += 1;
            format!("{thread} {what}#{count}")
        };
        note(&step);
        let (action, target) = TARGET.as_ref()?;
        if *target != step {
            return None;
        }
        note(&format!("here: {step}"));
        if let Action::Signal(signal) = action {
            drop(raise(*signal));
        }
        Some(*action)
    }

    fn note(line: &str) {
        let Some(list) = LIST.as_ref() else { return };
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(Path::new(list)) {
            drop(writeln!(file, "{line}"));
        }
    }
}
