//! From which backup, through which files: the first backup from which the archive leads to the target.

use super::target::{Point, Target};
use crate::binlog::gtid::GtidSet;
use crate::binlog::{Identity, Index, LogFile, Piece, Start, Timeline, Window};
use crate::fault::{Fault, Kind};
use crate::server::{BinlogPosition, Exactness};
use crate::store::Backup;

/// A way through an archive.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    /// The base.
    pub backup: &'a Backup,
    /// Where it stands.
    pub start: BinlogPosition,
    /// Whose log it is.
    pub timeline: &'a Timeline,
    /// From there to the target's file, or to the end of what hangs together.
    pub pieces: Vec<Piece<'a>>,
}

impl Route<'_> {
    /// Where it begins, in words.
    pub fn told(&self) -> String {
        format!("{}:{}", self.start.file, self.start.offset)
    }
}

/// Finds the way from the first of `backups` from which there is one. Onto what is not whole nothing
/// can be replayed: the rest of the server's changes have no tables there.
///
/// # Errors
/// Says of the first ones why there is none.
pub fn choose<'a>(
    backups: &[&'a Backup],
    index: &'a Index,
    target: &Target,
    is_whole: &dyn Fn(&Backup) -> anyhow::Result<bool>,
) -> anyhow::Result<Route<'a>> {
    const TOLD: usize = 3;
    let mut reasons = Vec::new();
    for backup in backups {
        match from(backup, index, target) {
            // Asked last: the dump has to be looked into.
            Ok(route) if is_whole(backup)? => return Ok(route),
            Ok(_) => reasons.push(format!("backup {}: it is a dump of a part of the server", backup.manifest.id)),
            Err(why) => reasons.push(format!("backup {}: {why}", backup.manifest.id)),
        }
    }
    let Some(earliest) = backups.iter().map(|backup| backup.manifest.taken()).min() else {
        return Err(Fault::new(Kind::NotFound, "there is no good backup to begin with").into());
    };
    let more = reasons.len().saturating_sub(TOLD);
    reasons.truncate(TOLD);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    let message = format!("no backup leads to {target}: {}", reasons.join("; "));
    let hint = format!(
        "the oldest backup is of {earliest}; `mysnap list` shows the backups, `mysnap binlog list` what is archived"
    );
    Err(Fault::new(Kind::Gap, message).hint(hint).into())
}

/// Refuses a place or a GTID that several timelines have: names of files, and MariaDB's numbers, begin anew after a reset,
/// and the newest may not be meant. Whoever names the base has said which one is.
///
/// # Errors
/// Names the timelines, and the first of `backups` that leads there in each.
pub fn refuse_ambiguous(backups: &[&Backup], index: &Index, target: &Target) -> anyhow::Result<()> {
    let found: Vec<&Timeline> = index.timelines.iter().filter(|timeline| has(timeline, &target.point)).collect();
    if found.len() < 2 {
        return Ok(());
    }
    let leads = |timeline: &Timeline, backup: &Backup| {
        from(backup, index, target).is_ok_and(|route| route.timeline.id == timeline.id)
    };
    let ways = found.iter().map(|timeline| {
        let way = match backups.iter().find(|backup| leads(timeline, backup)) {
            Some(backup) => format!("from backup {}", backup.manifest.id),
            None => "no backup leads there".to_owned(),
        };
        (format!("{} ({way})", timeline.id), timeline.windows().last().and_then(Window::times))
    });
    let told: Vec<String> = ways
        .map(|(text, times)| match times {
            Some((_, last)) => format!("{text}, which ends at {last}"),
            None => text,
        })
        .collect();
    let message = format!("{target} is in several timelines of the archive: {}", told.join("; "));
    let hint = "name the backup that is to be brought to it: `mysnap restore ID …`; or say the time: --until TIME";
    Err(Fault::new(Kind::Refused, message).hint(hint).into())
}

/// Whether what names a point names one in `timeline`. Times and the end are never ambiguous.
fn has(timeline: &Timeline, point: &Point) -> bool {
    match point {
        Point::Latest | Point::Time(_) => false,
        Point::Place(place) => timeline.file(&place.file).is_some_and(|file| file.has(place)),
        Point::Gtid(gtid) => {
            let wanted = GtidSet::from(gtid);
            let in_file = |file: &LogFile| {
                let comes_before = file.before().is_some_and(|before| before.has_all(&wanted));
                !comes_before && file.after().is_some_and(|after| after.has_all(&wanted))
            };
            timeline.files.iter().any(in_file)
        }
    }
}

fn from<'a>(backup: &'a Backup, index: &'a Index, target: &Target) -> Result<Route<'a>, String> {
    let start = fitting(backup, target)?;
    let timeline = timeline(backup, index, &start)?;
    let place = match &target.point {
        Point::Place(place) => Some(place),
        _ => None,
    };
    let pieces = index.path(Some(&timeline.id), &Start::Position(&start), place);
    let mut pieces = pieces.map_err(|error| format!("{error:#}"))?;
    // Where a transaction ends that the target lies in is told by what is behind it.
    for piece in &mut pieces {
        piece.to = piece.file.size;
    }
    if target.point == Point::Latest {
        refuse_gap(index, timeline, &pieces)?;
    }
    Ok(Route { backup, start, timeline, pieces })
}

/// Where the backup stands, if what is wanted can come after that.
fn fitting(backup: &Backup, target: &Target) -> Result<BinlogPosition, String> {
    let position = &backup.manifest.position;
    if let Exactness::NotExact(why) = &position.exact {
        return Err(format!("its position is not exact ({why})"));
    }
    let start = position.binlog.clone().ok_or("the server kept no binary log")?;
    let taken = backup.manifest.taken();
    match &target.point {
        Point::Time(time) if taken > *time || (target.before && taken == *time) => {
            Err(format!("it is of {taken}, which is later"))
        }
        Point::Gtid(gtid) => {
            let set = position.gtid_set.as_deref().and_then(|set| set.parse::<GtidSet>().ok());
            let has = set.is_some_and(|set| set.reaches(&GtidSet::from(gtid)));
            if has { Err(format!("it has {gtid} already")) } else { Ok(start) }
        }
        _ => Ok(start),
    }
}

/// The end of what hangs together is not the latest where more was archived behind a gap.
fn refuse_gap(index: &Index, timeline: &Timeline, pieces: &[Piece<'_>]) -> Result<(), String> {
    let Some(last) = pieces.last() else { return Ok(()) };
    let end = format!("{}:{}", last.file.name, last.to);
    if let Some(gap) = gap_after(timeline, &last.file.name) {
        return Err(format!("from there the archive leads to {end} and no further ({gap}): --until {end}"));
    }
    match index.timelines.iter().skip_while(|other| other.id != timeline.id).nth(1) {
        Some(next) => Err(format!("the timeline ends at {end}, and {} follows: --until {end}", next.id)),
        None => Ok(()),
    }
}

/// Why nothing hangs together with what is behind `file`.
pub(super) fn gap_after<'a>(timeline: &'a Timeline, file: &str) -> Option<&'a str> {
    let at = timeline.files.iter().position(|other| other.name == file)?;
    timeline.files.get(at + 1)?.gap.as_deref()
}

/// The timeline that the backup is of: of several that have its place and had begun before it the newest that can have
/// executed there what it had; times are whole seconds, and in the one of a reset they say nothing.
fn timeline<'a>(backup: &Backup, index: &'a Index, start: &BinlogPosition) -> Result<&'a Timeline, String> {
    let server = Identity::of(&backup.manifest.server);
    let taken = backup.manifest.taken();
    let is_its = |timeline: &&Timeline| {
        let same =
            timeline.server.flavour.is_mariadb() == server.flavour.is_mariadb() && timeline.server.key == server.key;
        let begun = |file: &LogFile| file.first_event.is_none_or(|first| first <= taken);
        same && timeline.file(&start.file).is_some_and(|file| file.has(start) && begun(file))
    };
    let known = backup.manifest.position.gtid_set.as_deref().and_then(|set| set.parse::<GtidSet>().ok());
    let found: Vec<&Timeline> = index.timelines.iter().rev().filter(is_its).collect();
    let agrees = |timeline: &&&Timeline| {
        timeline.file(&start.file).is_some_and(|file| known.as_ref().is_none_or(|known| may_have_stood(file, known)))
    };
    found
        .iter()
        .find(agrees)
        .or(found.first())
        .copied()
        .ok_or_else(|| format!("the archive does not have {}:{}, where it stands", start.file, start.offset))
}

/// Whether a server can have executed just `known` within `file`, as its beginning and its end say.
fn may_have_stood(file: &LogFile, known: &GtidSet) -> bool {
    file.before().is_none_or(|before| known.reaches(&before)) && file.after().is_none_or(|after| after.reaches(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;
    use crate::store::{Manifest, Slot};

    const SAMPLE: &[u8] = include_bytes!("../../tests/data/binlog/index-1.json");

    fn backup(file: &str, offset: u64, taken: &str) -> Backup {
        let mut manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
        let index = Index::decode(SAMPLE).unwrap();
        let server = &index.timelines[1].server;
        manifest.server.flavour = server.flavour;
        manifest.server.uuid = Some(server.key.clone());
        manifest.position.binlog = Some(BinlogPosition { file: file.to_owned(), offset });
        manifest.position.gtid_set = None;
        manifest.position.exact = Exactness::Exact;
        manifest.hold.at = Some(taken.parse().unwrap());
        let slot = Slot::finished(&manifest.job, &manifest.id);
        Backup { slot, manifest, twin_damaged: None }
    }

    #[test]
    fn the_newest_backup_is_taken_from_which_there_is_a_way() {
        let index = Index::decode(SAMPLE).unwrap();
        let late = "2026-12-30T00:00:00Z";
        let backups = [
            backup("binlog.000005", 200, late),
            backup("binlog.000002", 600, late),
            backup("binlog.000001", 500, late),
        ];
        let chosen = |text: &str| {
            let (target, all) = (Target::until(text, None).unwrap(), backups.iter().collect::<Vec<_>>());
            choose(&all, &index, &target, &|_| Ok(true)).map(|route| route.told())
        };
        assert_eq!(chosen("latest").unwrap(), "binlog.000005:200");
        assert_eq!(chosen("binlog.000002:700").unwrap(), "binlog.000002:600");
        assert_eq!(chosen("binlog.000002:500").unwrap(), "binlog.000001:500");
        let gap = chosen("binlog.000003:4").unwrap_err();
        assert_eq!(kind_of(&gap), Some(Kind::Gap), "{gap:#}");
        assert!(gap.to_string().contains("without a gap it ends at binlog.000002:5000"), "{gap:#}");
        let only = |n: usize| {
            choose(&[&backups[n]], &index, &Target::until("latest", None).unwrap(), &|_| Ok(true)).map(|_| ())
        };
        assert!(only(1).unwrap_err().to_string().contains("--until binlog.000002:5000"), "a gap is not the latest");
        assert!(chosen("2026-12-29T00:00:00Z").unwrap_err().to_string().contains("which is later"));
    }

    #[test]
    fn what_several_timelines_have_is_refused_with_the_backups_that_tell_them_apart() {
        let mut index = Index::decode(SAMPLE).unwrap();
        let mut reset = index.timelines[1].clone();
        reset.id = "20261127T000000Z-db2".to_owned();
        index.timelines.push(reset);
        let one = backup("binlog.000001", 500, "2026-12-30T00:00:00Z");
        let said = |text: &str| {
            let target = Target::until(text, None).unwrap();
            refuse_ambiguous(&[&one], &index, &target).map_or_else(|error| format!("{error:#}"), |()| String::new())
        };
        let named = index.timelines[1].files.iter().find_map(|file| file.last_gtid.clone()).unwrap();
        for text in ["binlog.000002:700", named.as_str()] {
            let said = said(text);
            assert!(said.contains(&index.timelines[1].id) && said.contains("20261127T000000Z-db2"), "{text}: {said}");
            assert!(said.contains("from backup 20261121T092233Z-4f2a"), "{text}: {said}");
            assert!(said.contains("no backup leads there"), "{text}: {said}");
        }
        for text in ["b.000001:500", "latest", "2026-12-29T00:00:00Z", "binlog.000002:999999999"] {
            assert_eq!(said(text), "", "{text}");
        }
    }

    #[test]
    fn a_base_of_the_second_of_a_reset_is_put_where_its_transactions_are() {
        let mut index = Index::decode(SAMPLE).unwrap();
        let mut reset = index.timelines[1].clone();
        reset.id = "20261127T000000Z-db2".to_owned();
        // Longer, with fewer transactions.
        reset.files[0].gtids_after = reset.files[0].gtids_after.take().map(|set| set.replace("1-99", "1-20"));
        index.timelines.push(reset);
        let of = |numbers: Option<&str>| {
            let mut one = backup("binlog.000001", 500, "2026-11-26T09:55:01Z");
            let server = one.manifest.server.uuid.clone().unwrap();
            one.manifest.position.gtid_set = numbers.map(|numbers| format!("{server}:{numbers}"));
            let start = one.manifest.position.binlog.clone().unwrap();
            timeline(&one, &index, &start).unwrap().id.clone()
        };
        let [_, old, new] = &index.timelines[..] else { panic!("{index:?}") };
        assert_eq!(of(Some("1-60")), old.id);
        assert_eq!(of(Some("1-10")), new.id, "either may be meant");
        assert_eq!(of(None), new.id, "nothing tells them apart");
        assert_eq!(of(Some("1-500")), new.id, "a server may know of more than its log has");
    }

    #[test]
    fn a_backup_without_an_exact_position_is_no_base() {
        let index = Index::decode(SAMPLE).unwrap();
        let mut one = backup("binlog.000001", 500, "2026-12-30T00:00:00Z");
        one.manifest.position.exact = Exactness::NotExact("it lies elsewhere".into());
        let latest = Target::until("latest", None).unwrap();
        let said = |backups: &[&Backup], whole| choose(backups, &index, &latest, &|_| Ok(whole)).unwrap_err();
        assert!(said(&[&one], true).to_string().contains("not exact (it lies elsewhere)"));
        assert_eq!(kind_of(&said(&[], true)), Some(Kind::NotFound));
        one = backup("binlog.000005", 200, "2026-12-30T00:00:00Z");
        assert!(said(&[&one], false).to_string().contains("a dump of a part"));
    }
}
