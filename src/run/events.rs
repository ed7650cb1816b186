//! What a run tells while it works. The command line decides how it looks.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::units::Bytes;

/// Something worth telling. As JSON: one object a line; fields may be added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A phase begins.
    Phase {
        /// `check`, `hold`, `copy`, …
        name: Cow<'static, str>,
    },
    /// A phase ended well.
    PhaseDone {
        /// The phase.
        name: Cow<'static, str>,
        /// How long it took.
        #[serde(rename = "ms", with = "in_milliseconds")]
        elapsed: Duration,
        /// What came of it, in words.
        detail: String,
    },
    /// How far the phase is.
    Progress {
        /// Done so far.
        done: Bytes,
        /// Expected in all.
        total: Bytes,
    },
    /// Something that the operator should look at.
    Warning {
        /// What, and what to do.
        text: String,
    },
    /// The same in a quiet run: for the log only.
    Note {
        /// What.
        text: String,
    },
    /// A directory is there for whoever started the run to fill.
    Ready {
        /// The directory.
        path: PathBuf,
    },
}

mod in_milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::sys::units::milliseconds;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(milliseconds(*duration))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Whoever is told.
pub trait Observer: Sync {
    /// Takes an event. Never called between lock and unlock: the log may be on a frozen disk.
    fn event(&self, event: Event);
}

impl dyn Observer + '_ {
    /// Runs `work` as the phase `name`; `describe` says what came of it.
    pub fn phase<T>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
        describe: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let begun = std::time::Instant::now();
        self.event(Event::Phase { name: name.into() });
        let value = work()?;
        self.event(Event::PhaseDone { name: name.into(), elapsed: begun.elapsed(), detail: describe(&value) });
        Ok(value)
    }

    /// Tells of something that the operator should look at.
    pub fn warn(&self, text: impl Into<String>) {
        self.event(Event::Warning { text: text.into() });
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}
