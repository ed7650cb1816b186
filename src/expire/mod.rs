//! `expire`: which backups of a job stay, which go, and why.
//!
//! Only proved backups count, and only for them a place in a rule is used up: what failed, was not proved or can't
//! be read never evicts one that is good. Whatever the rules say, the two newest proved ones stay, nothing goes
//! without two newer proved ones, and what a staying backup is built on stays with it. Where the newest backup lies in
//! the future, or is not proved, nothing goes at all: then the clock, or the server, is what needs a look.
//!
//! [`plan()`] decides and is a function of what it is given; [`execute()`] removes what was decided.

mod calendar;
mod execute;
mod facts;
mod keep;
mod plan;
#[cfg(test)]
mod plan_tests;

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::id::RunId;

pub use execute::{Outcome, execute, finish_removals};
pub use facts::{Failed, stored};
pub use keep::{Keep, Rules};
pub use plan::plan;

/// So many proved backups of a job stay whatever the rules say.
pub const ALWAYS: usize = 2;

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Which one.
    pub id: RunId,
    /// When its run began.
    pub begin: Timestamp,
    /// What it is worth.
    #[serde(rename = "state")]
    pub standing: Standing,
    /// The backup without which it can't be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<RunId>,
}

/// What a backup is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every byte of it was read back, at least, and nothing has spoken against it since.
    Proved,
    /// Nobody has looked whether what is stored is what was read (`prove = "none"`).
    Unproved,
    /// Its proof, or its last drill, failed, because of this.
    Bad(String),
    /// Its manifest can't be read, because of this: it may be anybody's.
    Unreadable(String),
    /// Another host made it.
    Foreign(String),
}

impl Standing {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Unproved => "unproved",
            Self::Bad(_) => "BAD",
            Self::Unreadable(_) => "unreadable",
            Self::Foreign(_) => "foreign",
        }
    }

    /// Whether it was made here, as far as is known.
    fn is_ours(&self) -> bool {
        !matches!(self, Self::Foreign(_))
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.word().to_lowercase())
    }
}

/// What happens to each backup of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Why nothing goes, whatever the rules say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Every backup, newest first.
    pub backups: Vec<Decided>,
}

/// What happens to a backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The backup.
    #[serde(flatten)]
    pub backup: Stored,
    /// What happens to it.
    pub verdict: Verdict,
    /// Why, in words; never empty.
    pub reasons: Vec<String>,
}

/// What happens to a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It stays.
    Stays,
    /// It goes.
    Goes,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stays => "stays",
            Self::Goes => "goes",
        })
    }
}

impl Plan {
    /// What goes, in the order of removal: nothing is ever left that needs what has gone.
    pub fn going(&self) -> Vec<&RunId> {
        let mut going: Vec<&Decided> = self.backups.iter().filter(|one| one.verdict == Verdict::Goes).collect();
        going.sort_by_key(|one| std::cmp::Reverse(self.depth(&one.backup)));
        going.into_iter().map(|one| &one.backup.id).collect()
    }

    /// The same plan with nothing going that does not go in `shown`: somebody has agreed to that and no more.
    #[must_use]
    pub fn within(mut self, shown: &Self) -> Self {
        let agreed = shown.going();
        for one in self.backups.iter_mut().filter(|one| !agreed.contains(&&one.backup.id)) {
            if one.verdict == Verdict::Goes {
                one.verdict = Verdict::Stays;
                one.reasons = vec!["it would go by now; nobody has agreed to that yet".to_owned()];
            }
        }
        self
    }

    /// How many others it is built on. A chain that bites its own tail has an end too.
    fn depth(&self, backup: &Stored) -> usize {
        let base = |of: &Stored| of.needs.as_ref().and_then(|id| self.backups.iter().find(|one| one.backup.id == *id));
        let below = std::iter::successors(base(backup), |one| base(&one.backup));
        below.take(self.backups.len()).count()
    }
}
