//! `index.json`: which files an archive holds, and how far they hang together.
//!
//! Timelines are histories that never join: a server that was reset begins to count its files anew, another server
//! that took the first one's place has files of its own. Within a timeline a gap ends a window; a restore may go
//! from any place to any later one in the same window, and nowhere else ([`Index::path`]).

use std::fmt;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::gtid::GtidSet;
use crate::dump::Compression;
use crate::fault::{Fault, Kind};
use crate::server::{BinlogPosition, Facts, Flavour};
use crate::store::Sha256;

/// The number of the format.
pub const FORMAT: u32 = 1;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// [`FORMAT`].
    pub format: u32,
    /// The histories, oldest first; the last one is still being written.
    pub timelines: Vec<Timeline>,
}

/// A history of one server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its name, which is that of its directory.
    pub id: String,
    /// The server.
    pub server: Identity,
    /// Why it is not the one before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
    /// Its files, oldest first.
    pub files: Vec<LogFile>,
}

/// Which server wrote a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What tells it from others: its uuid; its host's name where it has none (MariaDB).
    pub key: String,
    /// Its family.
    pub flavour: Flavour,
    /// Its `server_id`.
    pub server_id: u32,
}

/// How far a file is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The server was writing to it when last looked at; stored as it is.
    Open,
    /// All of it is here, and it was read back.
    Closed,
    /// The server's own file is damaged; what is before the damage is here.
    Damaged,
}

/// A file of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The server's name for it.
    pub name: String,
    /// How far it is archived.
    pub state: State,
    /// How it is packed.
    pub compression: Compression,
    /// Its bytes, unpacked: the offset at which its last event ends.
    pub size: u64,
    /// Its digest, unpacked; none while it is open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
    /// The digest of its first event without the in-use flag.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fingerprint: Option<Sha256>,
    /// The time of its earliest event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_event: Option<Timestamp>,
    /// The time of its latest event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_event: Option<Timestamp>,
    /// Its first transaction with a name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_gtid: Option<String>,
    /// Its last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_gtid: Option<String>,
    /// What was executed before it, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gtids_before: Option<String>,
    /// The same with what it holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gtids_after: Option<String>,
    /// The file before it in its window; none where a window begins with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<String>,
    /// Why the file before it in the timeline is not its previous one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gap: Option<String>,
    /// What is wrong with the server's own file: it is here up to there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub damage: Option<String>,
    /// What else there is to know, such as bytes that a crash tore off.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// What hangs together: files of one timeline with nothing missing between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<'a> {
    /// Whose.
    pub timeline: &'a Timeline,
    /// Oldest first; never empty.
    pub files: &'a [LogFile],
}

/// A part of a file, to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The file.
    pub file: &'a LogFile,
    /// From this offset on.
    pub from: u64,
    /// Up to this offset.
    pub to: u64,
}

/// Where a replay begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start<'a> {
    /// At a position.
    Position(&'a BinlogPosition),
    /// After everything of this set; pieces then begin with the file, and what is in the set is to be skipped.
    Gtids(&'a GtidSet),
}

impl Index {
    /// One of an archive that holds nothing.
    pub fn empty() -> Self {
        Self { format: FORMAT, timelines: Vec::new() }
    }

    /// Reads one.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).context("the index is no JSON with a format")?;
        if format > FORMAT {
            let message = format!("the index has format {format}, this mysnap reads up to {FORMAT}");
            return Err(Fault::new(Kind::Refused, message).hint("use a newer mysnap").into());
        }
        let index: Self = serde_json::from_slice(bytes).context("the index is damaged")?;
        index.refuse_strange_names()?;
        Ok(index)
    }

    /// Writes it.
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Names become paths: none may lead elsewhere.
    fn refuse_strange_names(&self) -> anyhow::Result<()> {
        let names = self.timelines.iter().flat_map(|timeline| {
            std::iter::once(timeline.id.as_str()).chain(timeline.files.iter().map(|file| file.name.as_str()))
        });
        for name in names {
            anyhow::ensure!(is_plain(name), "the index has the strange name {name:?}");
        }
        Ok(())
    }

    /// Everything that hangs together, oldest first.
    pub fn windows(&self) -> Vec<Window<'_>> {
        self.timelines.iter().flat_map(Timeline::windows).collect()
    }

    /// The file of that name, in the newest timeline that has it.
    pub fn find(&self, name: &str) -> Option<(&Timeline, &LogFile)> {
        self.timelines.iter().rev().find_map(|timeline| Some((timeline, timeline.file(name)?)))
    }

    /// What has to be replayed to come from `start` to `target`, or to the end of what hangs together; in `timeline`,
    /// which may be left out where only one has the start.
    ///
    /// # Errors
    /// Where nothing here begins at `start`, it can't be told which timeline does, or something is missing between.
    pub fn path(
        &self,
        timeline: Option<&str>,
        start: &Start<'_>,
        target: Option<&BinlogPosition>,
    ) -> anyhow::Result<Vec<Piece<'_>>> {
        let (window, at) = self.begins(timeline, start)?;
        let files = window.files.get(at..).unwrap_or_default();
        let last = match target {
            None => files.len().saturating_sub(1),
            Some(target) => files.iter().position(|file| file.has(target)).ok_or_else(|| window.lacks(target))?,
        };
        let whole = |file| Piece { file, from: 4, to: file.size };
        let mut pieces: Vec<Piece<'_>> = files.iter().take(last + 1).map(whole).collect();
        if let (Some(first), Start::Position(position)) = (pieces.first_mut(), start) {
            first.from = position.offset;
        }
        if let (Some(last), Some(target)) = (pieces.last_mut(), target) {
            last.to = target.offset;
        }
        if pieces.iter().any(|piece| piece.from > piece.to) {
            return Err(Fault::new(Kind::Gap, "the target lies before the start").into());
        }
        Ok(pieces)
    }

    /// The window and the number of the file in it. File names, and MariaDB's numbers, begin anew after a reset: what
    /// two timelines have may be either.
    fn begins(&self, timeline: Option<&str>, start: &Start<'_>) -> anyhow::Result<(Window<'_>, usize)> {
        let windows = self.windows().into_iter().filter(|window| timeline.is_none_or(|id| window.timeline.id == id));
        let mut found = windows.filter_map(|window| Some((window, window.begins(start)?)));
        let refused = |why: String, hint: &str| Err(Fault::new(Kind::Gap, why).hint(hint).into());
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => {
                refused(format!("the archive does not have {start}"), "`mysnap binlog list` shows what it has")
            }
            (Some((one, _)), Some((other, _))) => refused(
                format!("{start} is in the timelines {} and {}", one.timeline.id, other.timeline.id),
                "name the one that the backup is of",
            ),
        }
    }
}

impl Identity {
    /// That of the server that says this about itself.
    pub fn of(facts: &Facts) -> Self {
        let key = facts.uuid.as_ref().unwrap_or(&facts.hostname);
        let key = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Self { key, flavour: facts.flavour, server_id: facts.server_id }
    }
}

impl fmt::Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "{}:{}", position.file, position.offset),
            Self::Gtids(set) => write!(f, "what follows {set}"),
        }
    }
}

impl Identity {
    /// What tells the server of `facts` from others, as it stands in names.
    pub fn key_of(facts: &Facts) -> String {
        let key = facts.uuid.as_ref().unwrap_or(&facts.hostname);
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

impl Timeline {
    /// When its first file was begun; none where its name does not say so.
    pub fn begun(&self) -> Option<Timestamp> {
        let (time, _) = self.id.split_once('-')?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&LogFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// What hangs together in it, oldest first.
    pub fn windows(&self) -> Vec<Window<'_>> {
        let parts = self.files.chunk_by(|_, next| next.gap.is_none());
        parts.map(|files| Window { timeline: self, files }).collect()
    }
}

impl Window<'_> {
    /// The number of the last file with which a replay from `start` can begin.
    fn begins(&self, start: &Start<'_>) -> Option<usize> {
        match start {
            Start::Position(position) => self.files.iter().position(|file| file.has(position)),
            Start::Gtids(set) => {
                let after = self.files.last()?.after()?;
                let at = self.files.iter().rposition(|file| file.begins_within(set))?;
                after.reaches(set).then_some(at)
            }
        }
    }

    /// The times of its first and its last event.
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.files.iter().filter_map(|file| file.first_event).min()?;
        Some((first, self.files.iter().filter_map(|file| file.last_event).max()?))
    }

    /// Bytes, unpacked.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    fn lacks(&self, target: &BinlogPosition) -> anyhow::Error {
        let last = self.files.last().map(|file| format!("{}:{}", file.name, file.size)).unwrap_or_default();
        let message =
            format!("the archive does not lead to {}:{}: without a gap it ends at {last}", target.file, target.offset);
        Fault::new(Kind::Gap, message).hint("`mysnap binlog list` shows what hangs together").into()
    }
}

impl fmt::Display for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.files.first(), self.files.last()) else { return Ok(()) };
        write!(f, "{}:4 to {}:{}", first.name, last.name, last.size)
    }
}

impl LogFile {
    /// Whether `position` lies in it or at its end.
    pub fn has(&self, position: &BinlogPosition) -> bool {
        self.name == position.file && (4..=self.size).contains(&position.offset)
    }

    /// Whether everything before it is in `set`, so that nothing is missing when a replay begins with it.
    fn begins_within(&self, set: &GtidSet) -> bool {
        self.before().is_some_and(|before| set.reaches(&before))
    }

    /// What the server had executed at its beginning.
    pub fn before(&self) -> Option<GtidSet> {
        self.gtids_before.as_deref()?.parse().ok()
    }

    /// What a restored server has executed at its end.
    pub fn after(&self) -> Option<GtidSet> {
        self.gtids_after.as_deref()?.parse().ok()
    }
}

/// Whether a name can't lead elsewhere and begins with no point, as hidden files and ours that are unfinished do.
pub fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() <= 200 && !name.starts_with(['.', '-']) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    const SAMPLE: &[u8] = include_bytes!("../../tests/data/binlog/index-1.json");
    const UUID: &str = "2f0f2d0a-c6b5-11f1-9c0e-525400123456";

    fn position(file: &str, offset: u64) -> BinlogPosition {
        BinlogPosition { file: file.to_owned(), offset }
    }

    #[test]
    fn an_index_of_format_1_is_read_for_ever() {
        let index = Index::decode(SAMPLE).unwrap();
        let windows: Vec<String> = index.windows().iter().map(ToString::to_string).collect();
        let expected = [
            "b.000001:4 to b.000001:4711",
            "binlog.000001:4 to binlog.000002:5000",
            "binlog.000005:4 to binlog.000005:900",
        ];
        assert_eq!(windows, expected);
        assert_eq!(Index::decode(&index.encode().unwrap()).unwrap(), index);
    }

    #[test]
    fn a_path_stays_in_its_window() {
        let index = Index::decode(SAMPLE).unwrap();
        let path = |from: (&str, u64), to: Option<(&str, u64)>| {
            let (from, to) = (position(from.0, from.1), to.map(|to| position(to.0, to.1)));
            let pieces = index.path(None, &Start::Position(&from), to.as_ref());
            pieces.map(|pieces| pieces.iter().map(|piece| (piece.from, piece.to)).collect::<Vec<_>>())
        };
        assert_eq!(path(("binlog.000001", 500), None).unwrap(), [(500, 1_048_576), (4, 5000)]);
        assert_eq!(path(("binlog.000001", 500), Some(("binlog.000001", 600))).unwrap(), [(500, 600)]);
        for (from, to) in [
            (("binlog.000001", 500), Some(("binlog.000005", 900))),
            (("binlog.000001", 500), Some(("binlog.000001", 400))),
            (("binlog.000002", 5001), None),
            (("binlog.000003", 4), None),
            (("binlog.000001", 500), Some(("binlog.000002", 5001))),
        ] {
            assert_eq!(kind_of(&path(from, to).unwrap_err()), Some(Kind::Gap), "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_set_begins_with_the_last_file_that_leaves_nothing_out() {
        let index = Index::decode(SAMPLE).unwrap();
        let first = |set: &str| {
            let set = format!("{UUID}:{set}").parse().unwrap();
            index.path(None, &Start::Gtids(&set), None).map(|pieces| pieces[0].file.name.clone())
        };
        assert_eq!(first("1-99").unwrap(), "binlog.000002");
        assert_eq!(first("1-98").unwrap(), "binlog.000001");
        assert_eq!(first("1-300").unwrap(), "binlog.000005");
        assert_eq!(kind_of(&first("1-302").unwrap_err()), Some(Kind::Gap), "what is newer than the archive");
    }

    #[test]
    fn what_two_timelines_have_must_be_told_apart() {
        let mut index = Index::decode(SAMPLE).unwrap();
        let mut reset = index.timelines[1].clone();
        reset.id = "20261127T000000Z-db2".to_owned();
        index.timelines.push(reset);
        let from = position("binlog.000001", 500);
        let error = index.path(None, &Start::Position(&from), None).unwrap_err();
        assert!(error.to_string().contains("is in the timelines 20261126T095501Z-"), "{error:#}");
        let path = index.path(Some("20261127T000000Z-db2"), &Start::Position(&from), None);
        assert_eq!(path.unwrap().len(), 2);
    }

    #[test]
    fn names_that_lead_elsewhere_and_newer_formats_are_refused() {
        let text = String::from_utf8(SAMPLE.to_vec()).unwrap();
        for name in ["../b.000001", "/b.000001", ".b.000001", "-b", ""] {
            assert!(Index::decode(text.replace("\"b.000001\"", &format!("{name:?}")).as_bytes()).is_err(), "{name}");
        }
        let newer = Index::decode(text.replace("\"format\": 1", "\"format\": 2").as_bytes()).unwrap_err();
        assert_eq!(kind_of(&newer), Some(Kind::Refused));
    }
}
