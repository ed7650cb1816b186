//! One contract for both kinds of snapshot, on real volumes; each fault has its real cause.

mod contract;
mod damaged;
mod hang;
mod inside;
mod inside_growth;
mod inside_merge;
mod merge;
mod own;
mod room;
mod scratch;
pub mod traced;

/// Makes a test of each function for each kind.
macro_rules! both_kinds {
    ($($name:ident),* $(,)?) => {
        mod thick {
            $(#[test] fn $name() { super::$name(mysnap::snapshot::SnapshotKind::Thick) })*
        }
        mod thin {
            $(#[test] fn $name() { super::$name(mysnap::snapshot::SnapshotKind::Thin) })*
        }
    };
}
use both_kinds;
