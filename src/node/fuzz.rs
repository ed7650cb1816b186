//! The readers of this part, for [`crate::fuzz`].

use std::path::{Component, Path};

use super::Found;
use super::ask::Heard;
use super::request::{Request, Wanted};
use crate::dump::Dumped;
use crate::store::Shown;

/// What the node is asked: one that is taken can be asked again, and leads nowhere else.
pub(crate) fn request(line: &str) {
    let Ok(wanted) = Request::wanted(line) else { return };
    if let Wanted::Prove(task) | Wanted::Dump(task, _) = &wanted {
        let slot = task.slot().relative();
        let is_inside = Path::new(&slot).components().all(|part| matches!(part, Component::Normal(_)));
        assert!(is_inside, "{slot} leads out of the destination");
        assert!(task.roots.iter().all(|root| !root.name.as_str().contains('/')), "{:?}", task.roots);
    }
    let again = Request::line(wanted.clone()).and_then(|line| Request::wanted(&line));
    assert!(again.is_ok_and(|again| format!("{again:?}") == format!("{wanted:?}")), "a request changes on its way");
}

/// What the node says, whoever was asked what.
pub(crate) fn answer(line: &[u8]) {
    let Some(Heard::Result(value)) = Heard::of(line) else { return };
    drop(serde_json::from_value::<Found>(value.clone()));
    drop(serde_json::from_value::<Shown>(value.clone()));
    drop(serde_json::from_value::<(Shown, Dumped)>(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_begins_with_what_is_understood() {
        let asked = Request::wanted(include_str!("../../tests/data/fuzz/prove.json"));
        assert!(matches!(asked.unwrap(), Wanted::Prove(_)));
        let result = |line: &[u8]| match Heard::of(line) {
            Some(Heard::Result(value)) => value,
            other => panic!("{other:?}"),
        };
        let found = result(include_bytes!("../../tests/data/fuzz/found.json"));
        serde_json::from_value::<Found>(found).unwrap();
        let dumped = result(include_bytes!("../../tests/data/fuzz/dumped.json"));
        serde_json::from_value::<(Shown, Dumped)>(dumped).unwrap();
    }
}
