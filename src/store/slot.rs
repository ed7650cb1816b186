//! The place of one backup at a destination.

use crate::id::{JobName, RunId};

/// The place of one backup at a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Its job.
    pub job: JobName,
    /// The run that made it.
    pub id: RunId,
    /// How far it came.
    pub state: State,
}

/// How far a backup came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is being made, or the run that made it died.
    Unfinished,
    /// It is complete.
    Finished,
    /// Its removal was cut short.
    Removing,
}

impl Slot {
    /// The place of the finished backup `id`.
    pub fn finished(job: &JobName, id: &RunId) -> Self {
        Self { job: job.clone(), id: id.clone(), state: State::Finished }
    }

    /// The same backup in another state.
    #[must_use]
    pub fn with(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }

    /// The name of its directory.
    pub fn name(&self) -> String {
        let Self { id, state, .. } = self;
        match state {
            State::Unfinished => format!(".unfinished-{id}"),
            State::Finished => id.to_string(),
            State::Removing => format!(".removing-{id}"),
        }
    }

    /// Its directory below the destination.
    pub fn relative(&self) -> String {
        format!("{}/{}", self.job, self.name())
    }

    /// The place that a directory `name` of `job` is; none where the directory is not one of ours.
    pub fn parse(job: &str, name: &str) -> Option<Self> {
        let (state, id) = [(".unfinished-", State::Unfinished), (".removing-", State::Removing), ("", State::Finished)]
            .into_iter()
            .find_map(|(prefix, state)| Some((state, name.strip_prefix(prefix)?)))?;
        Some(Self { job: job.parse().ok()?, id: id.parse().ok()?, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_apart_by_their_names() {
        let id: RunId = "20261121T092233Z-4f2a".parse().unwrap();
        for state in [State::Unfinished, State::Finished, State::Removing] {
            let slot = Slot { job: "nightly".parse().unwrap(), id: id.clone(), state };
            assert_eq!(Slot::parse("nightly", &slot.name()), Some(slot));
        }
        assert_eq!(Slot::parse("nightly", "lost+found"), None);
        assert_eq!(Slot::parse("..", id.as_str()), None);
    }
}
