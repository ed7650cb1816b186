//! Why a snapshot is given up, and what a person does about it.

use std::fmt;

use super::Snapshot;
use crate::fault::{Fault, Kind};

/// Why a snapshot is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Somebody else removed it.
    Gone,
    /// Its store overflowed.
    Overflowed,
    /// Its store is nearly full.
    StoreFull,
    /// A command that was to grow its store died: the kernel uses more of the group than LVM has given it.
    Outgrown,
    /// Its pool is nearly full.
    PoolFull,
    /// Its pool takes no writes any more, those of its origin neither.
    PoolFailed,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "it is gone: somebody else removed it",
            Self::Overflowed => "it overflowed",
            Self::StoreFull => "its store is full and the group has no room",
            Self::Outgrown => {
                "the command that grew its store died in the middle, and its store is not what LVM takes it for"
            }
            Self::PoolFull => "its pool is nearly full, which would stop the server",
            Self::PoolFailed => "its pool has failed, and takes the server's writes no more",
        })
    }
}

/// The error that says that `snapshot` is lost, and why.
pub fn lost(snapshot: &Snapshot, why: Loss) -> anyhow::Error {
    let message = format!("snapshot {} was given up: {why}", snapshot.spec.name);
    let pool = || snapshot.spec.origin.pool_name().map_or_else(String::new, |pool| pool.to_string());
    Fault::new(Kind::Snapshot, message).hint(hint(why, pool)).into()
}

/// What a person does about it; more room helps only where room was short.
fn hint(why: Loss, pool: impl FnOnce() -> String) -> String {
    let text = match why {
        Loss::PoolFailed => return repair(&pool()),
        Loss::Gone => {
            "the server is unharmed; find out who removes volumes that are not theirs (a clean-up in cron, another \
             host on the same disks), then try again"
        }
        Loss::Outgrown => {
            "the server is unharmed; find out what killed it (the kernel's log tells of memory that ran out), then try \
             again"
        }
        Loss::Overflowed | Loss::StoreFull | Loss::PoolFull => {
            "the server is unharmed; give the group or pool more room, raise snapshot_size, or try at a calmer time"
        }
    };
    text.to_owned()
}

/// How a thin `pool` that has failed is brought back.
pub(super) fn repair(pool: &str) -> String {
    format!(
        "`lvs -a -o +lv_health_status` and the kernel's log say why; one that is out of data needs room (`lvextend`); for \
         one whose metadata is read-only stop what uses it, `lvchange -an` its volumes and itself, \
         `lvconvert --repair {pool}`, and give the metadata room (`lvextend --poolmetadatasize`); then `mysnap recover`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_room_is_asked_for_only_where_room_was_short() {
        let of = |why| hint(why, || "vg0/pool".to_owned());
        for why in [Loss::Overflowed, Loss::StoreFull, Loss::PoolFull] {
            assert!(of(why).contains("raise snapshot_size"), "{}", of(why));
        }
        for why in [Loss::Gone, Loss::Outgrown] {
            assert!(of(why).contains("unharmed") && !of(why).contains("room"), "{}", of(why));
        }
        assert!(of(Loss::PoolFailed).contains("lvconvert --repair vg0/pool"));
    }
}
