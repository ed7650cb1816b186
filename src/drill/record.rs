//! What drills came to, where `list`, `status` and `expire` find it: of each backup of a job the last one. What one drill
//! said against a backup is not taken back by a drill of another.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Found, Request};
use crate::id::{JobName, RunId};
use crate::store::{Catalog, Destination, ProofLevel, Store};
use crate::sys::lockfile::{Attempt, LockFile};
use crate::sys::units::milliseconds;
use crate::sys::{durable, retry};

/// Where the records are; they outlive a reboot.
const DIRECTORY: &str = "/var/lib/mysnap/drills";
/// For so long another drill of the job may take to write down what it came to.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a drill came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// 1.
    pub format: u32,
    /// The job of the backup.
    pub job: JobName,
    /// The destination from which it came.
    pub destination: String,
    /// The backup.
    pub backup: RunId,
    /// When the drill ended.
    pub at: Timestamp,
    /// How much was looked at.
    pub level: ProofLevel,
    /// How long all of it took: what a restore would take.
    pub total_ms: u64,
    /// What was found; none where it failed.
    pub found: Option<Found>,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Report {
    pub(super) fn of(
        request: &Request,
        store: &dyn Store,
        took: Duration,
        at: Timestamp,
        worked: Result<&Found, &anyhow::Error>,
    ) -> Self {
        let manifest = &request.backup.manifest;
        Self {
            format: 1,
            job: manifest.job.clone(),
            destination: store.destination().to_string(),
            backup: manifest.id.clone(),
            at,
            level: request.level,
            total_ms: milliseconds(took),
            found: worked.ok().cloned(),
            failure: worked.err().map(|error| format!("{error:#}")),
        }
    }
}

/// The drills of a job on this host: of each backup the last, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drills(Vec<Report>);

/// How they are written down.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    last: Report,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Report>,
}

impl Drills {
    /// Those of `job` with backups of `destination`; none where there were none.
    pub fn of(job: &JobName, destination: &Destination) -> anyhow::Result<Self> {
        Ok(read(&path(job))?.at(&destination.to_string()))
    }

    /// The last one.
    pub fn last(&self) -> Option<&Report> {
        self.0.first()
    }

    /// The last one of that backup.
    pub fn of_backup(&self, id: &RunId) -> Option<&Report> {
        self.0.iter().find(|report| report.backup == *id)
    }

    /// Those of backups that did not come back, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&Report, &str)> {
        self.0.iter().filter_map(|report| Some((report, report.failure.as_deref()?)))
    }

    /// The same without those of other destinations.
    fn at(mut self, destination: &str) -> Self {
        self.0.retain(|report| report.destination == destination);
        self
    }

    /// The same after one more; of the others at its destination those stay whose backups `are_there`. What is at
    /// another one is not known here.
    fn with(mut self, report: &Report, are_there: impl Fn(&RunId) -> bool) -> Self {
        self.0.retain(|other| {
            other.destination != report.destination || (other.backup != report.backup && are_there(&other.backup))
        });
        self.0.insert(0, report.clone());
        self
    }

    /// Reads a record.
    pub(crate) fn decode(text: &[u8]) -> serde_json::Result<Self> {
        let Record { last, earlier } = serde_json::from_slice(text)?;
        Ok(Self(std::iter::once(last).chain(earlier).collect()))
    }

    /// The bytes to store.
    pub(crate) fn encode(mut self) -> anyhow::Result<Vec<u8>> {
        anyhow::ensure!(!self.0.is_empty(), "there is no drill to be written down");
        let last = self.0.remove(0);
        serde_json::to_vec_pretty(&Record { last, earlier: self.0 }).context("cannot write the record of the drill")
    }
}

pub(super) fn path(job: &JobName) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{job}.json"))
}

fn read(path: &Path) -> anyhow::Result<Drills> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Drills::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Drills::decode(&text).with_context(|| format!("cannot read {}", path.display()))
}

/// Adds what a drill of a backup in `store` came to.
pub(super) fn save(report: &Report, store: &dyn Store) -> anyhow::Result<()> {
    // Where nobody can say what is there, nothing is forgotten.
    let there: Option<HashSet<RunId>> = Catalog::read(store, Some(&report.job))
        .ok()
        .map(|catalog| catalog.items.iter().map(|item| item.slot().id.clone()).collect());
    durable::create_private_directory(Path::new(DIRECTORY))?;
    let path = path(&report.job);
    let _alone = retry::until(PATIENCE, || alone(&path))?;
    let before = read(&path).unwrap_or_else(|error| {
        tracing::warn!("{error:#}; what earlier drills of job {} came to is lost", report.job);
        Drills::default()
    });
    let drills = before.with(report, |id| there.as_ref().is_none_or(|there| there.contains(id)));
    durable::write(&path, &drills.encode()?)
}

/// Nobody else adds to the record at `path` meanwhile.
fn alone(path: &Path) -> anyhow::Result<LockFile> {
    match LockFile::try_lock(&path.with_extension("lock"))? {
        Attempt::Held(lock) => Ok(lock),
        Attempt::Busy(_) => anyhow::bail!("another drill is writing {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &[u8] = include_bytes!("../../tests/data/drill-1.json");

    #[test]
    fn a_record_of_format_1_is_still_read_with_and_without_earlier_drills() {
        let old = Drills::decode(RECORD).unwrap();
        assert!(old.last().is_some_and(|last| last.found.is_some()) && old.failed().next().is_none());
        let new = Drills::decode(include_bytes!("../../tests/data/drill-earlier-1.json")).unwrap();
        let failed: Vec<&str> = new.failed().map(|(report, _)| report.backup.as_str()).collect();
        assert_eq!(failed, ["20261114T092201Z-77aa"]);
        let written = new.clone().encode().unwrap();
        assert_eq!(Drills::decode(&written).unwrap(), new);
        // An earlier mysnap reads the last one.
        assert_eq!(&serde_json::from_slice::<Report>(&written).unwrap(), new.last().unwrap());
    }

    #[test]
    fn a_failure_is_remembered_until_its_backup_comes_back_or_is_gone() {
        let sample: Report = serde_json::from_slice(RECORD).unwrap();
        let [one, two]: [RunId; 2] = ["20261101T000000Z-0001", "20261102T000000Z-0002"].map(|id| id.parse().unwrap());
        let report = |id: &RunId, failure: Option<&str>| Report {
            backup: id.clone(),
            failure: failure.map(str::to_owned),
            ..sample.clone()
        };
        let failed = |drills: &Drills| drills.failed().map(|(report, _)| report.backup.clone()).collect::<Vec<_>>();
        let all = |_: &RunId| true;
        let drills = Drills::default().with(&report(&one, Some("no")), all).with(&report(&two, None), all);
        assert_eq!((failed(&drills), drills.last().map(|last| &last.backup)), (vec![one.clone()], Some(&two)));
        assert!(failed(&drills.clone().with(&report(&one, None), all)).is_empty());
        assert!(failed(&drills.clone().with(&report(&two, None), |id| *id != one)).is_empty());
    }

    #[test]
    fn a_drill_of_another_destination_takes_nothing_back() {
        let sample: Report = serde_json::from_slice(RECORD).unwrap();
        let failed = Report { failure: Some("no".to_owned()), ..sample.clone() };
        // Of the same backup at another place, and where nothing of the first place is.
        let elsewhere = Report { destination: "/elsewhere".to_owned(), ..sample.clone() };
        let drills = Drills::default().with(&failed, |_| true).with(&elsewhere, |_| false);
        let [here, there] = [&failed, &elsewhere].map(|report| drills.clone().at(&report.destination));
        assert_eq!((here.failed().count(), there.failed().count()), (1, 0));
        assert_eq!((here.last(), there.last()), (Some(&failed), Some(&elsewhere)));
        assert_eq!(Drills::decode(&drills.clone().encode().unwrap()).unwrap(), drills);
    }
}
