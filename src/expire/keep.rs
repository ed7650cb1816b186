//! What a job keeps.

use std::fmt;
use std::time::Duration;

use super::calendar::Period;

/// What a job keeps. A rule that is 0, or none, keeps nothing; not all of them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many of the newest.
    pub last: u32,
    /// The newest of each of so many days that have one.
    pub daily: u32,
    /// The same of weeks, from Monday on.
    pub weekly: u32,
    /// The same of months.
    pub monthly: u32,
    /// The same of years.
    pub yearly: u32,
    /// All that are not older than this.
    pub within: Option<Duration>,
}

impl Keep {
    /// Whether it keeps nothing at all.
    pub fn is_nothing(&self) -> bool {
        let Self { last, daily, weekly, monthly, yearly, within } = *self;
        [last, daily, weekly, monthly, yearly].iter().all(|count| *count == 0) && within.is_none_or(|d| d.is_zero())
    }

    pub(super) fn periods(&self) -> [(Period, u32); 4] {
        [
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
    }
}

/// By what backups are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// By what the job keeps.
    Keep(Keep),
    /// What is older than this goes.
    OlderThan(Duration),
}

/// A length of time as people write it: `14 days`, `36 hours`.
pub(super) struct Length(pub(super) Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.0.as_secs() / 3600;
        let (count, unit) = if hours % 24 == 0 { (hours / 24, "day") } else { (hours, "hour") };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}
