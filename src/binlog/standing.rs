//! How an archive stands: how far behind the server it is, and which gaps no backup has bridged yet. Changes nothing.

use jiff::Timestamp;

use super::index::{Identity, Index, LogFile, State, Timeline, Window};
use super::origin::{Listing, Origin};
use super::place::{Next, next};
use super::pulse::Pulse;
use super::source::Listed;
use super::stream::Request;
use crate::server::{BinlogPosition, Facts};
use crate::sys::cancel::Cancel;

/// How an archive stands.
#[derive(Debug)]
pub struct Standing {
    /// What it holds.
    pub index: Index,
    /// The last pass; none where nobody knows of one.
    pub pulse: Option<Pulse>,
    /// How far it was behind the server at the last pass, or why that can't be told.
    pub behind: anyhow::Result<Behind>,
}

/// What the server has and the archive has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// So many bytes, all of which it still has.
    Bytes(u64),
    /// Something that the server has no more, or it is not the server that it was.
    Lost(String),
}

/// A backup, as far as a replay may begin with it.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// The server that it is of.
    pub server: &'a Facts,
    /// Where that stood.
    pub position: &'a BinlogPosition,
    /// The moment that the data is of.
    pub taken: Timestamp,
}

/// How the archive of `request` stands; none where there is none yet.
pub fn look(request: &Request, cancel: &Cancel) -> anyhow::Result<Option<Standing>> {
    let Some(index) = request.home.read_index()? else { return Ok(None) };
    let pulse = request.home.read_pulse()?;
    let behind = behind(request, &index, pulse.as_ref(), cancel);
    Ok(Some(Standing { index, pulse, behind }))
}

fn behind(request: &Request, index: &Index, pulse: Option<&Pulse>, cancel: &Cancel) -> anyhow::Result<Behind> {
    let mut session = request.server.connect(cancel)?;
    let origin = Origin::of(&session, request, cancel)?;
    let Listing { files, sizes } = origin.listing(&mut session, cancel)?;
    let Some(timeline) = index.timelines.last() else { return Ok(Behind::Bytes(sizes.iter().sum())) };
    if timeline.server.key != origin.identity.key {
        let (then, now) = (&timeline.server.key, &origin.identity.key);
        return Ok(Behind::Lost(format!("the server is another one: {now}, not {then}")));
    }
    Ok(match next(&request.home, &*origin.glance(), timeline, &files)? {
        Next::Gap(_, why) | Next::Restarted(why) => Behind::Lost(why),
        Next::Go(at) => {
            let rest = files.get(at..).unwrap_or_default();
            let bytes: u64 = sizes.iter().skip(at).sum();
            Behind::Bytes(bytes.saturating_sub(archived(timeline, pulse, rest)))
        }
    })
}

/// How much of the first of `rest` is archived. The index tells of the open file now and then, the pulse too.
fn archived(timeline: &Timeline, pulse: Option<&Pulse>, rest: &[Listed]) -> u64 {
    let last = timeline.files.last().filter(|file| rest.first().is_some_and(|first| first.name == file.name));
    let Some(last) = last else { return 0 };
    let told = pulse.and_then(|pulse| pulse.end.as_ref()).filter(|end| end.file == last.name);
    told.map_or(0, |end| end.offset).max(last.size)
}

/// What no restore can cross on the way from the newest of `backups` to the end of the archive: gaps, and a damage
/// behind which there is none yet. Where none of them leads into what hangs together that is every gap.
pub fn gaps(index: &Index, backups: &[Beginning<'_>]) -> Vec<String> {
    let windows = index.windows();
    let newest = windows.iter().rposition(|window| backups.iter().any(|backup| begins_in(window, backup)));
    let gaps = windows.iter().skip(newest.unwrap_or(0) + 1).filter_map(|window| {
        let first = window.files.first()?;
        let why = first.gap.as_ref().or(window.timeline.because.as_ref())?;
        Some(format!("before {}: {why}", first.name))
    });
    let last = windows.last().and_then(|window| window.files.last());
    let damage = last.and_then(|file| Some(format!("{} is damaged: {}", file.name, file.damage.as_ref()?)));
    gaps.chain(damage).collect()
}

/// File names begin anew after a reset: a backup of before that is of no use.
fn begins_in(window: &Window<'_>, backup: &Beginning<'_>) -> bool {
    // A stream may be some moments behind; what is behind a damage it does not get.
    let may_have = |file: &LogFile| {
        file.name == backup.position.file
            && (backup.position.offset <= file.size || file.state == State::Open && file.damage.is_none())
    };
    window.timeline.server.key == Identity::key_of(backup.server)
        && window.timeline.begun().is_none_or(|begun| begun <= backup.taken)
        && window.files.iter().any(may_have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Manifest;

    fn facts(uuid: &str) -> Facts {
        let facts = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap().server;
        Facts { uuid: Some(uuid.to_owned()), ..facts }
    }

    #[test]
    fn a_gap_counts_until_a_backup_was_taken_behind_it() {
        let index = Index::decode(include_bytes!("../../tests/data/binlog/index-1.json")).unwrap();
        let timeline = index.timelines.last().unwrap();
        let begun = timeline.begun().unwrap();
        let gaps = |uuid: &str, file: &str, offset: u64, taken: Timestamp| {
            let position = BinlogPosition { file: file.to_owned(), offset };
            gaps(&index, &[Beginning { server: &facts(uuid), position: &position, taken }]).len()
        };
        let key = timeline.server.key.as_str();
        // Two gaps: a new timeline, and one within it.
        assert_eq!(super::gaps(&index, &[]).len(), 2);
        assert_eq!(gaps(key, "binlog.000001", 500, begun), 1);
        assert_eq!(gaps(key, "binlog.000005", 500, begun), 0);
        // The open file may be longer than the index tells.
        assert_eq!(gaps(key, "binlog.000005", 5_000_000, begun), 0);
        assert_eq!(gaps("another", "binlog.000005", 500, begun), 2);
        assert_eq!(gaps(key, "binlog.000005", 500, begun - jiff::SignedDuration::from_secs(1)), 2);
        assert_eq!(gaps(key, "binlog.000003", 500, begun), 2);
    }

    #[test]
    fn a_damage_at_the_end_is_told_before_the_gap_behind_it_is_there() {
        let mut index = Index::decode(include_bytes!("../../tests/data/binlog/index-1.json")).unwrap();
        let timeline = index.timelines.last_mut().unwrap();
        let (key, begun) = (timeline.server.key.clone(), timeline.begun().unwrap());
        let file = timeline.files.last_mut().unwrap();
        file.damage = Some("at 900 it is torn".to_owned());
        let beyond = BinlogPosition { file: file.name.clone(), offset: file.size + 1 };
        let found = gaps(&index, &[Beginning { server: &facts(&key), position: &beyond, taken: begun }]);
        assert!(found.len() == 3 && found[2].contains("at 900"), "{found:?}");
    }
}
