//! Programs that a dead run started and that live on.
//!
//! What an LVM command makes is there only when it has ended: a look before that would find nothing,
//! and the record that makes it ours would go. It is left to finish, and woken in case it was stopped
//! like the run, perhaps with the origin suspended. rsync and ssh keep the snapshot mounted in the
//! dead run's mount namespace, and a second server works on files that are to go, so they are asked to
//! end. A program is the run's when an argument names what only the run has: its snapshot, its mount
//! points, its unfinished directory. The run may have published a backup all the same, and a person may
//! be copying that.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::Runs;
use super::scratch::PREFIXES;
use crate::fault::{Fault, Kind};
use crate::run::{Intent, RUNTIME_DIRECTORY, Record};
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

    /// The dead runs of which no LVM command works any more.
    pub(super) fn without_lvm(&self) -> anyhow::Result<Vec<&Record>> {
        let programs = self.programs()?;
        let has_lvm = |record: &Record| programs.iter().any(|program| is_lvm(program) && works_for(program, record));
        Ok(self.dead.iter().map(|(record, _)| record).filter(|record| !has_lvm(record)).collect())
    }

    fn programs(&self) -> anyhow::Result<Vec<Process>> {
        if self.dead.is_empty() {
            return Ok(Vec::new());
        }
        let is_theirs = |process: &Process| self.dead.iter().any(|(record, _)| works_for(process, record));
        Ok(process::others()?.into_iter().filter(is_theirs).collect())
    }
}

fn works_for(process: &Process, record: &Record) -> bool {
    let run = &record.id;
    let names = |what: &str| process.command.contains(&format!("{what}{run}"));
    if is_lvm(process) {
        return names("") || record.intents.iter().any(|intent| works_on_a_merge(process, intent));
    }
    match process.name.as_str() {
        "rsync" | "ssh" => names(&format!("{RUNTIME_DIRECTORY}/")) || names(".unfinished-"),
        _ if is_second_server(process) => PREFIXES.into_iter().any(names) || names(&format!("{RUNTIME_DIRECTORY}/")),
        _ => false,
    }
}

/// A rollback's commands name the snapshot, which another run made, or the origin. Were it somebody else's command, that is
/// waited for, and no more.
fn works_on_a_merge(process: &Process, intent: &Intent) -> bool {
    let Intent::Merge { group, name, origin, .. } = intent else { return false };
    let volumes = [name, origin].map(|lv| format!("{group}/{lv}"));
    process.command.split_whitespace().any(|word| volumes.iter().any(|volume| volume == word))
}

/// Or what starts it; its options name the directory that is its own.
fn is_second_server(process: &Process) -> bool {
    ["mariadbd", "mysqld", "choom", "nice", "setpriv"].contains(&process.name.as_str())
}

fn is_lvm(process: &Process) -> bool {
    process.name.starts_with("lv") || process.name.starts_with("vg")
}

/// LVM's commands are never killed.
fn help_to_end(process: &Process) {
    let signal = match process {
        process if is_lvm(process) => Signal::SIGCONT,
        // It would go on until it has recovered, on files that nobody wants any more.
        process if is_second_server(process) => Signal::SIGKILL,
        _ => Signal::SIGTERM,
    };
    // It may have ended meanwhile, which is what is wanted.
    if let Err(error) = kill(process.pid, signal) {
        tracing::debug!(command = process.command, %error, "signal not delivered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;

    fn process(name: &str, command: &str) -> Process {
        Process { pid: Pid::from_raw(1), name: name.to_owned(), command: command.to_owned() }
    }

    #[test]
    fn only_what_the_run_itself_started_is_its_program() {
        let record: Record = serde_json::from_str(include_str!("../../tests/data/record-1.json")).unwrap();
        assert_eq!(record.id.to_string(), "20261121T092233Z-4f2a");
        let works = |name: &str, command: &str| works_for(&process(name, command), &record);
        assert!(works("lvconvert", "lvconvert --type snapshot vg0/data vg0/data_mysnap_20261121T092233Z-4f2a"));
        assert!(works("rsync", "rsync -a -- /run/mysnap/20261121T092233Z-4f2a/0// node2:/srv/x/"));
        assert!(works("ssh", "ssh node2 sha256sum /srv/nightly/.unfinished-20261121T092233Z-4f2a/x"));
        assert!(works("mariadbd", "mariadbd --socket=/var/tmp/mysnap-drill-20261121T092233Z-4f2a/server/socket"));
        assert!(works("mysqld", "mysqld --socket=/run/mysnap/20261121T092233Z-4f2a/server/own/socket"));
        assert!(!works("mariadbd", "mariadbd --socket=/run/mysqld/mysqld.sock"));
        assert!(!works("rsync", "rsync -a node2:/srv/nightly/20261121T092233Z-4f2a/ /mnt/"));
        assert!(!works("vim", "vim /run/mysnap/20261121T092233Z-4f2a"));
        assert!(!works("lvremove", "lvremove vg0/data_mysnap_20261121T092233Z-ffff"));
    }

    #[test]
    fn a_rollbacks_commands_name_what_it_merges() {
        let mut record: Record = serde_json::from_str(include_str!("../../tests/data/record-1.json")).unwrap();
        record.intents = vec![Intent::Merge {
            group: "vg0".to_owned(),
            name: "data_mysnap_20261120T000000Z-0001".to_owned(),
            origin: "data".to_owned(),
            mount_point: "/var/lib/mysql".into(),
            unit: None,
            uses: Vec::new(),
        }];
        let works = |name: &str, command: &str| works_for(&process(name, command), &record);
        assert!(works("lvconvert", "lvconvert -q -y --merge -b vg0/data_mysnap_20261120T000000Z-0001"));
        assert!(works("lvchange", "lvchange -q -y -an vg0/data"));
        assert!(!works("lvchange", "lvchange -q -y -an vg0/data2"));
        assert!(!works("vim", "vim vg0/data"));
    }
}
