//! What a backup says about itself.
//!
//! A manifest carries its own digest and lies beside a twin, so that a flipped bit or a torn write
//! is noticed and survived; where both are damaged the backup is *unreadable*, never absent. The
//! digests of its files are in a list of their own, which keeps the manifest small; the manifest
//! holds the digest of that list. See `docs/formats.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::Sha256;
use super::files::{FileEntry, Totals};
use super::increment::Increment;
use crate::id::{JobName, RunId};
use crate::server::{Facts, LockMode, PlaceKind, Position};

/// The format that we write, and the newest that we read.
pub const FORMAT: u32 = 1;

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The run that made it.
    pub id: RunId,
    /// The job that it belongs to.
    pub job: JobName,
    /// How it was made.
    pub method: Method,
    /// The host on which the run was.
    pub host: String,
    /// When the run began.
    pub begin: Timestamp,
    /// When the backup was complete.
    pub end: Timestamp,
    /// The version of mysnap.
    pub mysnap: String,
    /// The server that was backed up.
    pub server: Facts,
    /// Where it stood.
    pub position: Position,
    /// Whether the files are those of a server that was running: the first start recovers them.
    pub crash_consistent: bool,
    /// The directories and files that make up the server's data.
    pub roots: Vec<Root>,
    /// The list of all files.
    pub files: FileList,
    /// The hold that the server went through.
    pub hold: HoldRecord,
    /// The snapshots that were copied.
    pub snapshots: Vec<SnapshotRecord>,
    /// How long each part of the run took, in order.
    pub phases: Vec<PhaseRecord>,
    /// The tools used, with their versions.
    pub tools: BTreeMap<String, String>,
    /// How it was shown that what is stored is what was read.
    pub proof: Proof,
    /// What an increment adds to which backup; none in one that is whole in itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<Increment>,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The files as they were in the snapshot.
    #[default]
    Copy,
    /// Statements and rows, which a server is fed with.
    Dump,
    /// What the server's binary log has between two places, kept in an archive: no files of its own.
    Increment,
}

/// The name of a root, which is also its directory in a backup: `datadir`, `binlog-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootName(String);

impl RootName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RootName> for String {
    fn from(name: RootName) -> Self {
        name.0
    }
}

impl TryFrom<String> for RootName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for RootName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=40).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not the name of a root; allowed: lower case letters, digits and '-'"))
    }
}

/// A directory, or a single file, of the server's data. It is stored below the backup in a
/// directory of its name; a single file lies in that directory under its own name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Its name.
    pub name: RootName,
    /// Where the server has it, symlinks followed.
    pub live_path: PathBuf,
    /// What it holds.
    pub kinds: Vec<PlaceKind>,
    /// Whether it is a single file.
    pub is_file: bool,
    /// The logical volume that it lies on (`vg0/data`).
    pub volume: String,
}

impl Root {
    /// Whether this is the data directory.
    pub fn is_datadir(&self) -> bool {
        self.kinds.contains(&PlaceKind::DataDirectory)
    }
}

/// The list of files that a manifest vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// The digest of the list.
    pub sha256: Sha256,
    /// What it adds up to.
    pub totals: Totals,
}

impl FileList {
    /// The list of `entries`.
    pub fn of(entries: &[FileEntry]) -> anyhow::Result<Self> {
        Ok(Self { sha256: Sha256::of(&super::files::encode(entries)?), totals: Totals::of(entries) })
    }
}

/// What the server's writers went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// The lock; an increment needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockMode>,
    /// From asking for the lock to having it.
    pub waited_ms: u64,
    /// From having the lock to its release.
    pub held_ms: u64,
    /// What that time went to, in order; the rest is the lock's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PhaseRecord>,
    /// How many tries it took.
    pub tries: u32,
    /// When the lock was released: the moment that the data is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl HoldRecord {
    /// That of a backup for which nobody waited.
    pub fn none() -> Self {
        Self { lock: None, waited_ms: 0, held_ms: 0, parts: Vec::new(), tries: 1, at: None }
    }
}

/// A snapshot that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The volume that it was taken of (`vg0/data`).
    pub origin: String,
    /// Its own name.
    pub name: String,
    /// `thick` or `thin`.
    pub kind: String,
    /// The size of its copy-on-write store, or of the thin volume, in bytes.
    pub size: u64,
    /// The share of the store, or of the pool, that was used at the end, in percent.
    pub used_percent: u8,
    /// Whether it was still valid after the last byte was read.
    pub valid_after_copy: bool,
}

/// How long a part of the run took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub ms: u64,
}

/// How it was shown that what is stored is what was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What was done.
    pub level: ProofLevel,
    /// When the last of it was done.
    pub at: Timestamp,
    /// How many files were read back.
    pub files: u64,
    /// How many bytes were read back.
    pub bytes: u64,
    /// Files that had to be copied a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<String>,
    /// The node on which a server was started on the files; none where it was the database host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What a server that was started on the files showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// What it showed that makes the backup a bad one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Proof {
    /// One that has shown nothing yet.
    pub fn of(level: ProofLevel, at: Timestamp) -> Self {
        Self { level, at, files: 0, bytes: 0, repaired: Vec::new(), node: None, shown: None, failure: None }
    }

    /// Takes over what a server showed, or why the files are bad, and that this was known only then.
    pub fn judge(&mut self, verdict: Result<Shown, String>, at: Timestamp) {
        self.at = at;
        match verdict {
            Ok(shown) => self.shown = Some(shown),
            Err(why) => self.failure = Some(why),
        }
    }
}

/// What a server that was started on the files showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// From its start until it answered, recovery included.
    pub start_ms: u64,
    /// How it was compared with the recorded position.
    pub position: String,
    /// How many of the job's own queries were answered as they must be.
    #[serde(default)]
    pub queries: u64,
    /// How many tables were read.
    pub tables: u64,
    /// How many could not be, because their engine has no check.
    pub uncheckable: u64,
}

/// How much proof a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofLevel {
    /// The copying tool reported success.
    None,
    /// Every file was read back and has the digest of its source.
    #[default]
    Checksum,
    /// Besides, a server recovered on the files, and its binary log ended where the backup says.
    Start,
    /// Besides, the job's own queries had the answers that they must have.
    Queries,
    /// Besides, it read every table.
    Tables,
}

impl ProofLevel {
    /// Whether a server is started for it.
    pub fn starts_a_server(self) -> bool {
        self >= Self::Start
    }
}

/// The outer form: which format, and the digest of the inner text as it stands.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    format: u32,
    sha256: Sha256,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

/// Only the number, for manifests that we can't read.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// The bytes to store.
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let text = serde_json::to_string_pretty(self).context("cannot write the manifest as JSON")?;
        let manifest: &RawValue = serde_json::from_str(&text).context("cannot read the manifest's own JSON")?;
        let envelope = Envelope { format: FORMAT, sha256: Sha256::of(text.as_bytes()), manifest };
        let mut bytes = serde_json::to_vec_pretty(&envelope).context("cannot write the manifest as JSON")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads stored bytes; refuses what is damaged, of a newer format or hostile.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let Format { format } = serde_json::from_slice(bytes).context("the manifest is damaged")?;
        anyhow::ensure!(
            format == FORMAT,
            "the manifest has format {format}; this mysnap reads format {FORMAT}: a newer one is needed"
        );
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).context("the manifest is damaged")?;
        let text = envelope.manifest.get();
        anyhow::ensure!(envelope.sha256 == Sha256::of(text.as_bytes()), "the manifest does not match its own digest");
        refuse_unknown_method(text)?;
        let manifest: Self = serde_json::from_str(text).context("the manifest lacks something")?;
        manifest.refuse_hostile()?;
        Ok(manifest)
    }

    /// The moment that the data is of.
    pub fn taken(&self) -> Timestamp {
        self.hold.at.unwrap_or(self.begin)
    }

    /// The backup without which this one can't be brought back; it must stay for as long as this one does.
    pub fn needs(&self) -> Option<&RunId> {
        self.increment.as_ref().map(|increment| &increment.base)
    }

    /// Its bytes: of its files, or of an increment's part of the archive, unpacked.
    pub fn bytes(&self) -> u64 {
        self.increment.as_ref().map_or(self.files.totals.bytes, |increment| increment.bytes)
    }

    /// The root of that name.
    pub fn root(&self, name: &RootName) -> Option<&Root> {
        self.roots.iter().find(|root| root.name == *name)
    }

    fn refuse_hostile(&self) -> anyhow::Result<()> {
        for (n, root) in self.roots.iter().enumerate() {
            let path = &root.live_path;
            let plain = path.is_absolute() && path.components().all(|c| c != std::path::Component::ParentDir);
            anyhow::ensure!(plain, "the manifest names a root at {}", path.display());
            let twice = self.roots.iter().take(n).any(|other| other.name == root.name);
            anyhow::ensure!(!twice, "the manifest names two roots {}", root.name);
        }
        let datadirs = self.roots.iter().filter(|root| root.is_datadir()).count();
        let wanted = match self.method {
            Method::Copy => 1,
            Method::Dump | Method::Increment => 0,
        };
        anyhow::ensure!(datadirs == wanted, "the manifest names {datadirs} data directories");
        let is_increment = self.method == Method::Increment;
        anyhow::ensure!(self.increment.is_some() == is_increment, "the manifest's method and its increment differ");
        anyhow::ensure!(!is_increment || self.roots.is_empty(), "the manifest of an increment names a root");
        Ok(())
    }
}

/// What a later release makes is no damage.
fn refuse_unknown_method(text: &str) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Named {
        method: String,
    }
    let Named { method } = serde_json::from_str(text).context("the manifest lacks something")?;
    let known = serde_json::from_value::<Method>(method.as_str().into()).is_ok();
    anyhow::ensure!(
        known,
        "the backup was made by the method {method:?}, which this mysnap does not know: a newer one is needed"
    );
    Ok(())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
