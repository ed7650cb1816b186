//! The one table: error → exit status. Documented in the README; a test compares the two.

use crate::fault::{Kind, kind_of};

/// Success: for a backup, committed, every byte read without error, the snapshot valid to the end.
pub const SUCCESS: u8 = 0;
/// A failure without a class of its own.
pub const FAILED: u8 = 1;

/// Every class with its status and the sentence that the documentation carries.
pub const TABLE: [(Kind, u8, &str); 12] = [
    (Kind::Config, 2, "wrong arguments, configuration, credentials or privileges"),
    (Kind::Refused, 3, "a check refused before anything was touched"),
    (Kind::Lock, 4, "the read lock was not obtained, or not kept, within its budget"),
    (Kind::Busy, 5, "another run or another LVM command is at work"),
    (Kind::Snapshot, 6, "the snapshot could not be made, or was lost before the last byte was read"),
    (Kind::Copy, 7, "copying to or from the destination failed"),
    (Kind::Verify, 8, "stored files differ from their digests, or no server came up whole on them"),
    (Kind::CleanupPending, 9, "the result is good, but something of ours is left; run `mysnap recover`"),
    (Kind::NotFound, 10, "no such backup, job, snapshot or clone"),
    (Kind::Declined, 11, "not confirmed"),
    (Kind::Gap, 12, "binary logs are missing or damaged: an archive has a gap that no restore can cross"),
    (Kind::Cancelled, 128, "ended by a signal: 128 and its number (143 for SIGTERM, 130 for Ctrl-C)"),
];

/// The exit status for `error`, given the signal that was received, if any.
pub fn status(error: &anyhow::Error, signal: Option<i32>) -> u8 {
    let Some(kind) = kind_of(error) else { return FAILED };
    let number = TABLE.iter().find(|(k, ..)| *k == kind).map_or(FAILED, |(_, number, _)| *number);
    match (kind, signal) {
        (Kind::Cancelled, Some(signal)) => u8::try_from(128 + signal).unwrap_or(FAILED),
        _ => number,
    }
}

/// The class that `status` of another mysnap stands for; none where it has none.
pub fn kind_of_status(status: u8) -> Option<Kind> {
    TABLE.iter().find(|(_, number, _)| *number == status).map(|(kind, ..)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[test]
    fn every_class_has_a_status_of_its_own() {
        let mut numbers: Vec<u8> = TABLE.iter().map(|(_, number, _)| *number).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), TABLE.len());
        assert!(!numbers.contains(&SUCCESS) && !numbers.contains(&FAILED));
        for (kind, number, _) in TABLE {
            assert_eq!(status(&Fault::new(kind, "x").into(), None), number);
            assert_eq!(kind_of_status(number), Some(kind));
        }
    }

    #[test]
    fn a_signal_decides_the_status_only_where_it_ended_the_run() {
        assert_eq!(status(&Fault::new(Kind::Cancelled, "x").into(), Some(15)), 143);
        assert_eq!(status(&Fault::new(Kind::Lock, "x").into(), Some(15)), 4);
        assert_eq!(status(&anyhow::anyhow!("x"), None), FAILED);
    }

    #[test]
    fn the_readme_carries_the_table() {
        let readme = include_str!("../README.md");
        for (_, number, meaning) in TABLE {
            assert!(readme.contains(&format!("| {number} | {meaning} |")), "README lacks: | {number} | {meaning} |");
        }
    }
}
