//! Days, weeks, months and years of a local calendar.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A part of the calendar of which one backup stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// The rule's name.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// The one in which `time` lies, by its name: `2026-11-20`, `2026-W47`, `2026-11`, `2026`.
    pub(super) fn of(self, time: Timestamp, zone: &TimeZone) -> String {
        let date = zone.to_datetime(time).date();
        match self {
            Self::Day => date.to_string(),
            Self::Week => {
                let week = date.iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            }
            Self::Month => format!("{}-{:02}", date.year(), date.month()),
            Self::Year => date.year().to_string(),
        }
    }
}
