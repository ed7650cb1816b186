//! How rsync is called.
//!
//! Everything is kept (`-aHAX --numeric-ids`), except sockets, FIFOs and devices, which are no data.
//! Nothing may vanish from a snapshot, so that exit 24 is a failure like 23. File times are compared
//! to the nanosecond: a table written twice within a second must not pass for unchanged. Arguments
//! travel by rsync's own protocol (`-s`), never through the other side's shell. Its `--fsync` is not
//! used: one syncfs before the manifest does the same for all files at once, and tells of errors.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::nice::Niceness;
use super::{RootName, Slot, Store, Work};
use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;
use crate::sys::cmd::{Call, CommandError};
use crate::sys::units::Bytes;

/// What has no deadline of its own: rsync and ssh notice a dead network by themselves.
pub(super) const UNBOUNDED: Duration = Duration::from_secs(60 * 86_400);

/// How bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Bytes for each second, at most.
    pub bandwidth_limit: Option<Bytes>,
    /// How much of the machine it may take.
    pub niceness: Niceness,
}

/// One call of rsync.
#[derive(Debug, Clone)]
pub(super) struct Rsync<'a> {
    pub(super) transfer: &'a Transfer,
    /// The remote shell; none where both sides are here.
    pub(super) shell: Option<String>,
    /// What is here, or there.
    pub(super) from: OsString,
    /// What is there, or here.
    pub(super) to: OsString,
    /// Directories on the receiving side that may have the same files already.
    pub(super) link_dest: Vec<OsString>,
    /// Compare by content instead of by size and time.
    pub(super) checksum: bool,
}

impl Rsync<'_> {
    fn argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = self.transfer.niceness.prefix().into_iter().map(OsString::from).collect();
        argv.extend(
            [
                "rsync",
                "-aHAX",
                "--no-specials",
                "--no-devices",
                "--numeric-ids",
                "--sparse",
                "--delete",
                "--partial",
                "--modify-window=-1",
                "--secluded-args",
                "--info=progress2",
                "--no-human-readable",
                "--outbuf=N",
            ]
            .map(OsString::from),
        );
        // Comparing one large file by content is silent for longer than any useful timeout.
        argv.push(if self.checksum { "--checksum" } else { "--timeout=60" }.into());
        match &self.shell {
            Some(shell) => argv.push(format!("--rsh={shell}").into()),
            None => argv.push("--whole-file".into()),
        }
        if let Some(limit) = self.transfer.bandwidth_limit {
            argv.push(format!("--bwlimit={}", (limit.0 / 1024).max(1)).into());
        }
        for directory in &self.link_dest {
            let mut option = OsString::from("--link-dest=");
            option.push(directory);
            argv.push(option);
        }
        argv.extend(["--".into(), self.from.clone(), self.to.clone()]);
        argv
    }

    /// Runs it; `progress` gets the bytes moved so far.
    pub(super) fn run(&self, cancel: &Cancel, progress: impl Fn(u64)) -> anyhow::Result<()> {
        let argv = self.argv();
        let (program, args) = argv.split_first().unwrap_or_else(|| unreachable!("rsync has a name"));
        let mut line = Vec::new();
        let call = Call::new(program).args(args).deadline(UNBOUNDED).cancel(cancel);
        let result = call.stream(|piece| {
            for byte in piece {
                if matches!(byte, b'\r' | b'\n') {
                    parse_progress(&line).into_iter().for_each(&progress);
                    line.clear();
                } else {
                    line.push(*byte);
                }
            }
        });
        result.map_err(|error| {
            if let Err(cancelled) = cancel.check() {
                return cancelled.context("copying was stopped");
            }
            explain(error, &self.to)
        })
    }
}

/// `  1234567  12%  10.50MB/s  0:00:10 (xfr#5, to-chk=3/9)`: the first number.
pub(super) fn parse_progress(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_whitespace();
    let bytes = words.next()?.replace(',', "").parse().ok()?;
    words.next()?.ends_with('%').then_some(bytes)
}

fn explain(error: CommandError, to: &OsString) -> anyhow::Error {
    let said = error.stderr().unwrap_or_default().to_owned();
    let full = said.contains("No space left") || said.contains("Disk quota exceeded");
    let (what, hint) = match error.code() {
        _ if full => ("is full", "make room there; earlier backups are untouched"),
        Some(23) => {
            ("got only a part", "see which files rsync names: a read error, or attributes that can't be kept there")
        }
        Some(24) => ("got only a part", "files vanished while they were copied: is the source really a snapshot?"),
        Some(10 | 12 | 30 | 35 | 255) => {
            ("was cut off", "check the network and the node; a next run continues with what arrived")
        }
        Some(11) => ("had a read or write error", "check the disks and the room on both sides"),
        _ => ("could not be copied to", "see what rsync said"),
    };
    let message = format!("{} {what}", to.to_string_lossy());
    Fault::new(Kind::Copy, message).hint(hint).caused_by(error).into()
}

/// Copies what is stored of one root to `to`, which becomes equal to it. What an earlier try left there is compared byte
/// for byte: behind a power cut a file may have its size and time, and not its contents.
pub fn fetch(store: &dyn Store, slot: &Slot, root: &RootName, to: &Path, work: Work<'_>) -> anyhow::Result<()> {
    let mut target = to.as_os_str().to_owned();
    target.push("/");
    let rsync = Rsync {
        transfer: work.transfer,
        shell: store.rsync_shell(),
        from: store.rsync_name(slot, &format!("{root}/")),
        to: target,
        link_dest: Vec::new(),
        checksum: std::fs::read_dir(to).is_ok_and(|mut there| there.next().is_some()),
    };
    rsync.run(work.cancel, work.progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::IoClass;

    fn call(transfer: &Transfer) -> Rsync<'_> {
        Rsync {
            transfer,
            shell: None,
            from: "/run/snap/".into(),
            to: "/srv/b/x/".into(),
            link_dest: Vec::new(),
            checksum: false,
        }
    }

    fn words(call: &Rsync<'_>) -> String {
        call.argv().iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_local_copy_is_whole_and_nice() {
        let transfer = Transfer::default();
        let argv = words(&call(&transfer));
        assert_eq!(
            argv,
            "ionice -c 2 -n 7 nice -n 10 rsync -aHAX --no-specials --no-devices --numeric-ids --sparse --delete --partial \
             --modify-window=-1 --secluded-args --info=progress2 --no-human-readable --outbuf=N --timeout=60 --whole-file \
             -- /run/snap/ /srv/b/x/"
        );
    }

    #[test]
    fn a_remote_copy_has_a_shell_a_limit_and_the_earlier_generation() {
        let niceness = Niceness { cpu: 0, io: IoClass::None };
        let transfer = Transfer { bandwidth_limit: Some(Bytes(50 << 20)), niceness };
        let mut call = call(&transfer);
        call.shell = Some("ssh -T".to_owned());
        call.link_dest = vec!["/srv/b/nightly/1/datadir".into()];
        call.checksum = true;
        let argv = words(&call);
        assert!(argv.starts_with("rsync "), "{argv}");
        assert!(
            argv.contains("--checksum --rsh=ssh -T --bwlimit=51200 --link-dest=/srv/b/nightly/1/datadir -- "),
            "{argv}"
        );
        assert!(!argv.contains("--timeout") && !argv.contains("--whole-file"), "{argv}");
    }

    #[test]
    fn progress_is_the_first_number_before_a_percentage() {
        assert_eq!(parse_progress(b"     32768  12%   10.50MB/s    0:00:10 (xfr#5, to-chk=3/9)"), Some(32768));
        assert_eq!(parse_progress(b"  1,234,567 100%    1.00MB/s    0:00:01"), Some(1_234_567));
        for other in
            [&b""[..], b"sending incremental file list", b"12 files", b"skipping non-regular file \"a\"", b"\xff 1%"]
        {
            assert_eq!(parse_progress(other), None);
        }
    }
}
