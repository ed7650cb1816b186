//! How things stand: volumes that stay suspended, the newest backup of each job, archives of binary logs, runs at work,
//! what dead ones left, how full snapshots and pools are. Changes nothing.
//!
//! Each line has a level; the worst one is the whole's, and its number is the exit status that
//! monitoring expects of a plugin (Monitoring Plugins Development Guidelines, "Plugin Return Codes").

mod archive;
mod host;
mod job;
mod suspended;

use std::time::Duration;

use serde::Serialize;

use suspended::Stuck;

use crate::binlog;
use crate::id::JobName;
use crate::store::{Destination, Manifest, SshOptions};
use crate::sys::cancel::Cancel;

/// How bad it is; the number is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// As it should be.
    Ok = 0,
    /// Somebody should look, not at night.
    Warning = 1,
    /// Somebody should look now.
    Critical = 2,
    /// It could not be found out.
    Unknown = 3,
}

impl Level {
    /// The exit status.
    pub fn status(self) -> u8 {
        self as u8
    }

    /// `OK`, `WARNING`, `CRITICAL`, `UNKNOWN`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// What is known to be critical outweighs what is not known.
    fn weight(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Critical => 3,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// `volume`, `job`, `drill`, `archive`, `run`, `clone`, `leftover`, `snapshot`, `pool`.
    pub what: &'static str,
    /// Which one.
    pub name: String,
    /// How it is.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A job: the age of its newest good backup. An archive: that of the last pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// A snapshot or a pool: how full it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_percent: Option<f64>,
    /// An archive: what the server has and it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_bytes: Option<u64>,
}

impl Line {
    fn new(level: Level, what: &'static str, name: impl Into<String>, text: impl Into<String>) -> Self {
        let (name, text) = (name.into(), text.into());
        Self { level, what, name, text, hint: None, age_seconds: None, used_percent: None, behind_bytes: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with what is known before it.
    fn after(self, known: &str) -> Self {
        Self { text: format!("{known}{}", self.text), ..self }
    }

    /// Whether it is about a job or an archive of another name.
    pub fn is_of_another(&self, name: &str) -> bool {
        ["job", "drill", "archive"].contains(&self.what) && self.name != name
    }

    /// What could not be found out.
    fn unknown(what: &'static str, name: impl Into<String>, error: &anyhow::Error) -> Self {
        let hints = crate::fault::hints_of(error).join("; ");
        let line = Self::new(Level::Unknown, what, name, format!("{error:#}"));
        if hints.is_empty() { line } else { line.hint(hints) }
    }
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The worst level.
    pub level: Level,
    /// Line by line.
    pub lines: Vec<Line>,
}

impl Status {
    /// The whole of `lines`.
    pub fn of(lines: Vec<Line>) -> Self {
        let level = lines.iter().map(|line| line.level).max_by_key(|level| level.weight()).unwrap_or(Level::Ok);
        Self { level, lines }
    }

    /// The lines that make it what it is.
    pub fn worst(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.level == self.level)
    }
}

/// A job, as far as its backups are concerned.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// Where its backups are.
    pub to: Destination,
    /// How to get there.
    pub ssh: SshOptions,
    /// How old its newest good backup may be.
    pub max_age: Duration,
}

/// An archive of binary logs.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Its name.
    pub name: JobName,
    /// What it is of, and where.
    pub request: binlog::Request,
    /// How long ago its last pass may be.
    pub max_lag: Duration,
}

/// Looks at the backups of `jobs`, at `archives`, whose gaps these backups may have bridged, and at this host. Nothing
/// on a volume that stays suspended is looked at: that would never end.
pub fn look(jobs: &[Job], archives: &[Archive], cancel: &Cancel) -> Status {
    let stuck = match Stuck::look(cancel) {
        Ok(stuck) => stuck,
        Err(error) => return Status::of(vec![Line::unknown("volume", "-", &error)]),
    };
    if let Some(line) = stuck.hides_records() {
        return Status::of(stuck.lines(&[]).into_iter().chain([line]).collect());
    }
    let read: Vec<_> = jobs.iter().map(|job| (job, job::catalog(job, &stuck, cancel))).collect();
    let backups: Vec<&Manifest> = read
        .iter()
        .filter_map(|(_, catalog)| catalog.as_ref().ok())
        .flat_map(|catalog| catalog.good().map(|backup| &backup.manifest))
        .collect();
    let mut lines = stuck.lines(&backups);
    lines.extend(read.iter().flat_map(|(job, catalog)| job::lines(job, catalog)));
    lines.extend(archives.iter().flat_map(|archive| archive::look(archive, &backups, &stuck, cancel)));
    lines.extend(host::runs());
    lines.extend(host::leftovers());
    lines.extend(host::volumes());
    Status::of(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_line_decides_and_what_is_known_to_be_critical_outweighs_the_unknown() {
        let line = |level| Line::new(level, "job", "nightly", "");
        let level = |levels: &[Level]| Status::of(levels.iter().map(|level| line(*level)).collect()).level;
        assert_eq!(level(&[]), Level::Ok);
        assert_eq!(level(&[Level::Ok, Level::Warning]), Level::Warning);
        assert_eq!(level(&[Level::Unknown, Level::Warning]), Level::Unknown);
        assert_eq!(level(&[Level::Unknown, Level::Critical]), Level::Critical);
    }

    #[test]
    fn the_exit_status_is_that_of_a_monitoring_plugin() {
        let all = [Level::Ok, Level::Warning, Level::Critical, Level::Unknown];
        assert_eq!(all.map(Level::status), [0, 1, 2, 3]);
    }
}
