//! The readers of this part, for [`crate::fuzz`].

use std::path::PathBuf;

use super::expire::Removed;
use super::{Ask, Begin, Looked, Order, Reply, Wanted};
use crate::binlog::index::is_plain;

/// What the node is told: an archive to which it may write, or files to remove, of whatever names.
pub(crate) fn order(line: &str) {
    drop(serde_json::from_str::<Order>(line));
    drop(serde_json::from_str::<Reply>(line).map(Reply::or_failed));
    let Ok(begin) = Begin::read(line) else { return };
    if let Wanted::Expire(plan) = &begin.wanted
        && super::expire::refuse_strange(plan).is_ok()
    {
        assert!(plan.timelines.iter().all(|one| is_plain(&one.id) && one.files.iter().all(|name| is_plain(name))));
    }
    let again = Begin::line(PathBuf::from(&begin.home), begin.wanted);
    assert!(again.is_ok_and(|line| Begin::read(&line).is_ok()), "what begins a talk can't be said again");
}

/// What the node asks, and what it says that it did.
pub(crate) fn said(line: &[u8]) {
    drop(serde_json::from_slice::<Ask>(line));
    drop(serde_json::from_slice::<Looked>(line));
    drop(serde_json::from_slice::<Removed>(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_begins_with_what_is_understood() {
        let wanted = |line: &str| Begin::read(line).unwrap().wanted;
        assert!(matches!(wanted(include_str!("../../../tests/data/fuzz/archive.json")), Wanted::Write(_)));
        assert!(matches!(wanted(include_str!("../../../tests/data/fuzz/expire.json")), Wanted::Expire(_)));
    }
}
