//! The wall clock, in UTC, and the host's time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The host's own time zone; UTC where it has none.
pub fn zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

/// `timestamp` as it stands in identifiers: `20261121T092233Z`.
pub fn compact(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y%m%dT%H%M%SZ").to_string()
}
