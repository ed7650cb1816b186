//! Values as they stand in the file, turned into types that can't be wrong.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use super::SnapshotSize;
use crate::dump::DumpSource;
use crate::dump::{Compression, Pattern};
use crate::expire::Keep;
use crate::server::{LockChoice, LogEngine, TlsMode};
use crate::store::{Destination, IoClass, Method, ProofLevel, Side};
use crate::sys::units::{self, Bytes, Percent};

/// A value that can be read from the file; the error says what is allowed.
pub(super) trait Setting: Sized {
    /// Reads it.
    fn read(value: &Value) -> Result<Self, String>;
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("a text is needed; write \"{value}\""))
}

fn parsed<T: FromStr<Err = String>>(value: &Value) -> Result<T, String> {
    text(value)?.parse()
}

fn one_of<T: Copy>(value: &Value, allowed: &[(&str, T)]) -> Result<T, String> {
    let found = value.as_str().and_then(|text| allowed.iter().find(|(name, _)| *name == text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = allowed.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("allowed: {}", names.join(", "))
    })
}

/// A whole number from `LOW` to `HIGH`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<const LOW: u32, const HIGH: u32>(pub(super) u32);

impl<const LOW: u32, const HIGH: u32> Setting for Number<LOW, HIGH> {
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|n| u32::try_from(n).ok());
        let number = number.filter(|n| (LOW..=HIGH).contains(n));
        number.map(Self).ok_or_else(|| format!("allowed: a whole number from {LOW} to {HIGH}"))
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "allowed: true, false".to_owned())
    }
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        let good = !text.is_empty() && !text.chars().any(char::is_control);
        if good { Ok(text.to_owned()) } else { Err("allowed: a text without control characters".to_owned()) }
    }
}

impl Setting for Vec<String> {
    fn read(value: &Value) -> Result<Self, String> {
        let refused = || "allowed: a list of texts, [\"…\", \"…\"]".to_owned();
        value.as_array().ok_or_else(refused)?.iter().map(|each| String::read(each).map_err(|_| refused())).collect()
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        if text.starts_with('/') { Ok(text.into()) } else { Err("allowed: an absolute path".to_owned()) }
    }
}

/// A path that is handed to ssh through rsync, which splits it into words.
#[derive(Debug)]
pub(super) struct PlainPath(pub(super) PathBuf);

impl Setting for PlainPath {
    fn read(value: &Value) -> Result<Self, String> {
        let path = PathBuf::read(value)?;
        let plain = |c: char| c.is_alphanumeric() || "/-_.+@:,=".contains(c);
        if text(value)?.chars().all(plain) {
            return Ok(Self(path));
        }
        Err("allowed: an absolute path without spaces, quotes and other special characters".to_owned())
    }
}

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        units::parse_duration(text(value)?)
    }
}

/// Hours or days.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age(pub(super) Duration);

impl Setting for Age {
    fn read(value: &Value) -> Result<Self, String> {
        units::parse_age(text(value)?).map(Self)
    }
}

impl Setting for Keep {
    fn read(value: &Value) -> Result<Self, String> {
        const ALLOWED: &str = "allowed: { last = 3, daily = 7, weekly = 4, monthly = 12, yearly = 1, within = \"14d\" }, \
                               all or some of these";
        let mut keep = Self::default();
        for (name, value) in value.as_table().ok_or(ALLOWED)? {
            let count =
                || Number::<0, 100_000>::read(value).map(|count| count.0).map_err(|why| format!("{name}: {why}"));
            match name.as_str() {
                "last" => keep.last = count()?,
                "daily" => keep.daily = count()?,
                "weekly" => keep.weekly = count()?,
                "monthly" => keep.monthly = count()?,
                "yearly" => keep.yearly = count()?,
                "within" => keep.within = Some(Age::read(value)?.0),
                other => return Err(format!("{other} is not known here; {ALLOWED}")),
            }
        }
        if keep.is_nothing() { Err(format!("it keeps nothing; {ALLOWED}")) } else { Ok(keep) }
    }
}

/// `false`, or a duration.
#[derive(Debug)]
pub(super) struct After(pub(super) Option<Duration>);

impl Setting for After {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Boolean(false) => Ok(Self(None)),
            Value::Boolean(true) => Err("allowed: false, or after how long, such as \"20s\"".to_owned()),
            other => Duration::read(other).map(|after| Self(Some(after))),
        }
    }
}

impl Setting for SnapshotSize {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        let size = match text {
            "auto" => Ok(Self::Auto),
            _ if text.ends_with('%') => text.parse().map(Self::Share),
            _ => text.parse().map(Self::Bytes),
        };
        size.ok()
            .filter(|size| *size != Self::Bytes(Bytes(0)))
            .ok_or_else(|| "allowed: \"auto\", a share such as \"20%\", a size such as \"10GiB\"".to_owned())
    }
}

impl Setting for Method {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("repository") => {
                Err("this method is not available in this release; allowed: \"copy\", \"dump\"".to_owned())
            }
            _ => one_of(value, &[("copy", Self::Copy), ("dump", Self::Dump)]),
        }
    }
}

impl Setting for DumpSource {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("snapshot", Self::Snapshot), ("live", Self::Live)])
    }
}

impl Setting for Compression {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("zstd", Self::Zstd), ("gzip", Self::Gzip), ("none", Self::None)])
    }
}

impl Setting for Vec<Pattern> {
    fn read(value: &Value) -> Result<Self, String> {
        Vec::<String>::read(value)?.iter().map(|text| text.parse()).collect()
    }
}

impl Setting for Bytes {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value)
    }
}

impl Setting for Percent {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value)
    }
}

impl Setting for Destination {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value)
    }
}

impl Setting for LockChoice {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("auto", Self::Auto), ("global", Self::Global), ("stages", Self::Stages)])
    }
}

impl Setting for LogEngine {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("auto", Self::Auto), ("files", Self::Files), ("tool", Self::Tool)])
    }
}

impl Setting for ProofLevel {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(
            value,
            &[
                ("checksum", Self::Checksum),
                ("none", Self::None),
                ("start", Self::Start),
                ("queries", Self::Queries),
                ("tables", Self::Tables),
            ],
        )
    }
}

impl Setting for Side {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("host", Self::Host), ("node", Self::Node)])
    }
}

impl Setting for IoClass {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("best-effort", Self::BestEffort), ("idle", Self::Idle), ("none", Self::None)])
    }
}

impl Setting for TlsMode {
    fn read(value: &Value) -> Result<Self, String> {
        let refused = one_of(value, &[("verify-identity", Self::VerifyIdentity), ("disabled", Self::Disabled)]);
        match value.as_str() {
            Some("verify-ca") => refused.map_err(|allowed| {
                format!("would trust every certificate of a public authority, whoever it is for; {allowed}")
            }),
            _ => refused,
        }
    }
}
