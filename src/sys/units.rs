//! Sizes, percentages and durations as people write them.
//!
//! Sizes are powers of two (`10GiB`; `10G` means the same, as for LVM) or plain bytes. Durations
//! carry a unit: `250ms`, `30s`, `5min`, `2h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const SIZE_UNITS: [(&str, u32); 6] = [("", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// Three significant digits in the largest fitting unit: `1.46 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = SIZE_UNITS.iter().rev().find(|(_, s)| self.0 >> s > 0).unwrap_or(&("", 0));
        if *shift == 0 {
            return write!(f, "{} B", self.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "for the eye only")]
        let value = self.0 as f64 / (1_u64 << shift) as f64;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.digits$} {unit}iB")
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a size; allowed: a whole number with KiB, MiB, GiB or TiB, such as \"10GiB\"");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let unit = unit.trim_end_matches("iB").trim_end_matches('B');
        let (_, shift) = SIZE_UNITS.iter().find(|(u, _)| u.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number.checked_mul(1_u64 << shift).map(Bytes).ok_or_else(wrong)
    }
}

/// A share of something, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u8);

impl Percent {
    /// This share of `whole`, rounded up.
    pub fn of(self, whole: Bytes) -> Bytes {
        let share = (u128::from(whole.0) * u128::from(self.0)).div_ceil(100);
        Bytes(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|n| n.trim_end().parse().ok());
        number
            .filter(|n| (1..=100).contains(n))
            .map(Percent)
            .ok_or_else(|| format!("{text:?} is not a percentage; allowed: \"1%\" to \"100%\""))
    }
}

/// Reads `250ms`, `30s`, `5min`, `2h`, `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration; allowed: a whole number with ms, s, min, h or d, such as \"30s\"");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

/// Reads an age, in whole hours or days: `36h`, `14d`.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let age = parse_duration(text).ok().filter(|age| !age.is_zero() && text.trim_end().ends_with(['h', 'd']));
    age.ok_or_else(|| format!("{text:?} is not an age; allowed: hours or days, such as \"36h\", \"14d\""))
}

/// Whole milliseconds, as records keep them.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `duration` for people: `340 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`, `3 d 4 h`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!("10GiB".parse(), Ok(Bytes(10 << 30)));
        assert_eq!("512m".parse(), Ok(Bytes(512 << 20)));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert!("10 gallons".parse::<Bytes>().is_err());
        assert!("-1".parse::<Bytes>().is_err());
        assert!("99999999999999TiB".parse::<Bytes>().is_err());
        assert_eq!(Bytes(1_567_000_000).to_string(), "1.46 GiB");
        assert_eq!(Bytes(7).to_string(), "7 B");
    }

    #[test]
    fn percentages_have_bounds() {
        assert_eq!("20%".parse(), Ok(Percent(20)));
        assert!("0%".parse::<Percent>().is_err());
        assert!("101%".parse::<Percent>().is_err());
        assert!("20".parse::<Percent>().is_err());
        assert_eq!(Percent(20).of(Bytes(101)), Bytes(21));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("5 min"), Ok(Duration::from_secs(300)));
        assert!(parse_duration("30").is_err());
        assert_eq!(human_duration(Duration::from_millis(340)), "340 ms");
        assert_eq!(human_duration(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn an_age_is_in_hours_or_days() {
        assert_eq!(parse_age("36h"), Ok(Duration::from_secs(36 * 3600)));
        assert_eq!(parse_age("14d"), Ok(Duration::from_secs(14 * 86_400)));
        for text in ["0d", "-1d", "14", "90min", "3s", "d", ""] {
            assert!(parse_age(text).unwrap_err().contains("hours or days"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            drop((text.parse::<Bytes>(), text.parse::<Percent>(), parse_duration(&text)));
        }
        #[test]
        fn a_percentage_never_exceeds_the_whole(p in 1_u8..=100, whole in 0_u64..) {
            proptest::prop_assert!(Percent(p).of(Bytes(whole)).0 <= whole);
        }
    }
}
