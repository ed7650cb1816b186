//! The wall clock, in UTC.

use jiff::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `timestamp` as it stands in identifiers: `20261121T092233Z`.
pub fn compact(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y%m%dT%H%M%SZ").to_string()
}
