//! Programs that a dead run started and that live on.
//!
//! What an LVM command makes is there only when it has ended: a look before that would find nothing,
//! and the record that makes it ours would go. It is left to finish, and woken in case it was stopped
//! like the run, perhaps with the origin suspended. Anything else (rsync, ssh) keeps
//! the snapshot mounted in the dead run's mount namespace, so it is asked to end. A program is the
//! run's when an argument names the run: its snapshots and its unfinished directory do.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::Runs;
use crate::fault::{Fault, Kind};
use crate::sys::process::{self, Process};

/// How long a program is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

impl Runs {
    /// Waits until no program of a dead run works any more.
    pub(super) fn outlive_programs(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let programs = self.programs()?;
            programs.iter().for_each(help_to_end);
            let Some(first) = programs.first() else { return Ok(()) };
            if Instant::now() >= end {
                let message = format!("a dead run's program still works: `{}` (process {})", first.command, first.pid);
                return Err(Fault::new(Kind::CleanupPending, message)
                    .hint("the disk hangs, or another LVM command holds the group; then run `mysnap recover`")
                    .into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn programs(&self) -> anyhow::Result<Vec<Process>> {
        if self.dead.is_empty() {
            return Ok(Vec::new());
        }
        let is_theirs =
            |process: &Process| self.dead.iter().any(|(record, _)| process.command.contains(record.id.as_str()));
        Ok(process::others()?.into_iter().filter(is_theirs).filter(is_ours_to_start).collect())
    }
}

/// A person's `mysnap show ID` or editor is no program of the run.
fn is_ours_to_start(process: &Process) -> bool {
    is_lvm(process) || matches!(process.name.as_str(), "rsync" | "ssh")
}

fn is_lvm(process: &Process) -> bool {
    process.name.starts_with("lv") || process.name.starts_with("vg")
}

/// LVM's commands are never killed.
fn help_to_end(process: &Process) {
    let signal = if is_lvm(process) { Signal::SIGCONT } else { Signal::SIGTERM };
    // It may have ended meanwhile, which is what is wanted.
    if let Err(error) = kill(process.pid, signal) {
        tracing::debug!(command = process.command, %error, "signal not delivered");
    }
}
