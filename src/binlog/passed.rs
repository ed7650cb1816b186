//! What a pass of the archiver brought.

use serde::{Deserialize, Serialize};

/// What a pass brought.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Passed {
    /// Bytes that were copied.
    pub copied: u64,
    /// Files that were closed.
    pub closed: Vec<String>,
    /// What is missing or damaged, and was not known before.
    pub alarms: Vec<String>,
    /// What else the operator should know.
    pub notes: Vec<String>,
}

impl Passed {
    /// `error` with the alarms, which are in the index and would not be named again.
    pub(super) fn with_alarms(&self, error: anyhow::Error) -> anyhow::Error {
        if self.alarms.is_empty() { error } else { error.context(self.alarms.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Kind, kind_of};

    #[test]
    fn alarms_are_told_with_the_error_that_came_after_them() {
        let passed = Passed { alarms: vec!["one".into(), "two".into()], ..Passed::default() };
        let full = || Fault::new(Kind::Copy, "no room").into();
        let error = passed.with_alarms(full());
        assert_eq!((format!("{error:#}").as_str(), kind_of(&error)), ("one; two: no room", Some(Kind::Copy)));
        assert_eq!(format!("{:#}", Passed::default().with_alarms(full())), "no room");
    }
}
