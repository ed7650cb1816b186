//! To which point: what a person writes, and what it means.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::binlog::gtid::Gtid;
use crate::binlog::is_plain;
use crate::server::BinlogPosition;

/// A point in the history of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which one.
    pub point: Point,
    /// Whether what lies there is left out.
    pub before: bool,
}

/// What names a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// The end of what is archived.
    Latest,
    /// Before the first transaction that is later.
    Time(Timestamp),
    /// After that transaction.
    Gtid(Gtid),
    /// At that place, which must lie between two transactions.
    Place(BinlogPosition),
}

impl Target {
    /// What `--until` says: everything up to there, what lies there included.
    pub fn until(text: &str, round: Option<Duration>) -> Result<Self, String> {
        let point = match text.trim() {
            "latest" => Point::Latest,
            text => Point::parse(text)?,
        };
        Ok(Self { point: rounded(point, round)?, before: false })
    }

    /// What `--before` says: nothing of what lies there, such as `binlog find` prints it.
    pub fn before(text: &str) -> Result<Self, String> {
        Ok(Self { point: Point::parse(text.trim())?, before: true })
    }
}

impl Point {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(place) = place(text) {
            return Ok(Self::Place(place));
        }
        if text.parse::<Date>().is_ok() && !text.contains([':', ' ']) {
            return Err(format!("{text:?} is a date without a time; write \"{text} 00:00:00 UTC\" or … local"));
        }
        match text.parse::<Gtid>() {
            Ok(gtid) => Ok(Self::Gtid(gtid)),
            Err(_) => moment(text).map(Self::Time),
        }
    }
}

/// `binlog.000003:4711`, or `binlog.000003:4711-4800` as `binlog find` prints an event: then its beginning.
fn place(text: &str) -> Option<BinlogPosition> {
    let (file, offset) = text.rsplit_once(':')?;
    let (_, number) = file.rsplit_once('.')?;
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let offset = offset.split_once('-').map_or(offset, |(begin, _)| begin);
    let offset = offset.parse().ok().filter(|_| numbered && is_plain(file))?;
    Some(BinlogPosition { file: file.to_owned(), offset })
}

/// A moment with its zone: `Z`, `+01:00`, or behind a space `UTC`, `local`, `Europe/Berlin`.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let allowed = "allowed: \"latest\", a GTID, FILE:OFFSET, or a time with its zone such as \"2026-11-26 09:30:00 UTC\", \
                   \"2026-11-26T10:30:00+01:00\", \"2026-11-26 10:30:00 local\"";
    if text.parse::<DateTime>().is_ok() {
        return Err(format!("{text:?} has no zone; {allowed}"));
    }
    let wrong = || format!("{text:?} names no point; {allowed}");
    let (time, zone) = text.rsplit_once(' ').ok_or_else(wrong)?;
    let time: DateTime = time.trim().parse().map_err(|_| wrong())?;
    let zone = match zone {
        "local" => local().map_err(|why| format!("{text:?}: {why}"))?,
        "UTC" | "utc" | "Z" => TimeZone::UTC,
        name => TimeZone::get(name).map_err(|_| format!("{text:?}: there is no zone {name:?}; {allowed}"))?,
    };
    in_zone(text, time, &zone)
}

/// This host's zone: what is meant must not become UTC because it is set wrongly.
fn local() -> Result<TimeZone, String> {
    TimeZone::try_system().map_err(|error| {
        format!("the zone of this host is not known ({error}): set TZ or /etc/localtime right, or write the zone instead of local")
    })
}

fn in_zone(text: &str, time: DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    let moment = zone.to_ambiguous_timestamp(time);
    match moment.offset() {
        AmbiguousOffset::Unambiguous { .. } => moment.unambiguous().map_err(|error| error.to_string()),
        AmbiguousOffset::Gap { .. } => Err(format!("{text:?} is no time: clocks were set forward over it")),
        AmbiguousOffset::Fold { before, after } => {
            Err(format!("{text:?} was twice, clocks were set back: write {time}{before} or {time}{after}"))
        }
    }
}

/// The time rounded down to a multiple of `round` in UTC.
fn rounded(point: Point, round: Option<Duration>) -> Result<Point, String> {
    let (Point::Time(time), Some(round)) = (&point, round) else { return Ok(point) };
    let step = i64::try_from(round.as_secs()).unwrap_or(i64::MAX);
    if step == 0 {
        return Err("a time is rounded to whole seconds at least, such as \"15min\"".to_owned());
    }
    let down = time.as_second() - time.as_second().rem_euclid(step);
    Timestamp::from_second(down).map(Point::Time).map_err(|error| error.to_string())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.before { write!(f, "just before {}", self.point) } else { self.point.fmt(f) }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the end of what is archived"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Gtid(gtid) => write!(f, "{gtid}"),
            Self::Place(BinlogPosition { file, offset }) => write!(f, "{file}:{offset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: &str) -> Point {
        Target::until(text, None).unwrap().point
    }

    #[test]
    fn a_point_is_told_by_how_it_is_written() {
        assert_eq!(point("latest"), Point::Latest);
        let place = |offset| Point::Place(BinlogPosition { file: "binlog.000003".into(), offset });
        assert_eq!((point("binlog.000003:4711"), point("binlog.000003:4-99")), (place(4711), place(4)));
        assert_eq!(point("0-1-500").to_string(), "0-1-500");
        let mysql = "071a4ecc-1bf9-11f1-a838-e6dd1807d029:17";
        assert_eq!(point(mysql).to_string(), mysql);
        for same in ["2026-11-26T09:30:00Z", "2026-11-26 09:30:00 UTC", "2026-11-26T10:30:00+01:00"] {
            assert_eq!(point(same).to_string(), "2026-11-26T09:30:00Z", "{same}");
        }
        assert!(matches!(point("2026-11-26 09:30:00 local"), Point::Time(_)));
        let before = Target::before("0-1-5").unwrap();
        assert_eq!((before.before, before.to_string().as_str()), (true, "just before 0-1-5"));
    }

    #[test]
    fn what_may_mean_several_points_is_refused() {
        for (text, why) in [
            ("2026-11-26 09:30:00", "has no zone"),
            ("2026-11-26", "a date without a time"),
            ("2026-11-26 09:30:00 Mars/Olympus", "there is no zone"),
            ("yesterday", "names no point"),
            ("binlog.000003:x", "names no point"),
            ("../b.000003:4", "names no point"),
        ] {
            let said = Target::until(text, None).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let told = |text: &str| in_zone(text, text.parse().unwrap(), &berlin);
        assert!(told("2026-10-25 02:30:00").unwrap_err().contains("write 2026-10-25T02:30:00+02 or"));
        assert!(told("2026-03-29 02:30:00").unwrap_err().contains("set forward over it"));
        assert_eq!(told("2026-11-26 10:30:00").unwrap().to_string(), "2026-11-26T09:30:00Z");
    }

    #[test]
    fn a_time_is_rounded_down_where_that_was_asked_for() {
        let round = |text, minutes: u64| Target::until(text, Some(Duration::from_secs(60 * minutes))).unwrap();
        assert_eq!(round("2026-11-26T09:44:59.9Z", 15).to_string(), "2026-11-26T09:30:00Z");
        assert_eq!(round("2026-11-26T09:45:00Z", 15).to_string(), "2026-11-26T09:45:00Z");
        assert_eq!(round("0-1-5", 15).to_string(), "0-1-5");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            drop((Target::until(&text, None), Target::before(&text)));
        }
    }
}
