//! This host: runs, leftovers, snapshots and pools.

use super::{Level, Line};
use crate::lvm::{self, Volume};
use crate::run::{Record, record};
use crate::{recover, snapshot};

/// From which use on a store or a pool is worth a look, and from which on something is about to be
/// lost: where a run warns, and where it gives up.
const FULL: (f64, f64) = (80.0, 95.0);

/// The runs that are at work.
pub(super) fn runs() -> Vec<Line> {
    let look = || -> anyhow::Result<Vec<Line>> {
        let (records, unreadable) = record::all()?;
        let mut lines: Vec<Line> =
            unreadable.iter().map(|error| Line::new(Level::Warning, "run", "-", format!("{error:#}"))).collect();
        for record in records {
            if record.try_adopt()?.is_none() {
                lines.push(at_work(&record));
            }
        }
        Ok(lines)
    };
    look().unwrap_or_else(|error| vec![Line::unknown("run", "-", &error)])
}

fn at_work(record: &Record) -> Line {
    let (Some(clone), Some(name)) = (record.clone_record(), &record.job) else {
        return Line::new(Level::Ok, "run", record.id.as_str(), format!("{} is at work", record.holder()));
    };
    let at = clone.listen.map_or_else(|| clone.socket.display().to_string(), |at| at.to_string());
    let since = record.begun.strftime("%Y-%m-%dT%H:%M:%SZ");
    Line::new(Level::Ok, "clone", name, format!("of {} at {at}, since {since}", clone.of))
}

/// What dead runs left.
pub(super) fn leftovers() -> Vec<Line> {
    let plan = match recover::plan() {
        Ok(plan) => plan,
        Err(error) => return vec![Line::unknown("leftover", "-", &error)],
    };
    let to_do = plan.steps.iter().map(|step| {
        let level = if matches!(step, recover::Step::Refresh { .. }) { Level::Critical } else { Level::Warning };
        Line::new(level, "leftover", "-", format!("of a dead run: {}", step.describe())).hint("mysnap recover")
    });
    let unrecorded = plan.unrecorded.iter().map(|volume| {
        let text = "carries our tag, and no run of this host knows it";
        Line::new(Level::Warning, "leftover", volume, text).hint("mysnap snapshots; mysnap release")
    });
    let elsewhere = plan
        .elsewhere
        .iter()
        .map(|found| Line::new(Level::Critical, "leftover", &found.volume, found.to_string()).hint(found.remedy()));
    let interrupted = plan.interrupted.iter().map(|text| Line::new(Level::Critical, "leftover", "-", text));
    elsewhere.chain(to_do).chain(unrecorded).chain(interrupted).collect()
}

/// The snapshots that are ours, and every thin pool.
pub(super) fn volumes() -> Vec<Line> {
    let volumes = match lvm::volumes() {
        Ok(volumes) => volumes,
        Err(error) => return vec![Line::unknown("snapshot", "-", &error)],
    };
    let snapshots = volumes
        .iter()
        .filter(|v| v.has_tag(lvm::TAG))
        .map(|v| cannot_overflow(v, &volumes).map_or_else(|error| of_no_group(v, &error), |whole| line_of(v, whole)));
    let pools = volumes.iter().filter(|v| v.segtype == "thin-pool").map(pool);
    snapshots.chain(pools).collect()
}

/// Whether `volume` is a thick snapshot whose store holds every block of its origin: a run goes on with a full one too.
fn cannot_overflow(volume: &Volume, all: &[Volume]) -> anyhow::Result<bool> {
    let origin = all.iter().find(|other| Some(&other.uuid) == volume.origin_uuid.as_ref());
    let Some(origin) = origin.filter(|_| volume.pool.is_none()) else { return Ok(false) };
    Ok(snapshot::cannot_overflow(volume, origin, &lvm::group(&volume.name.vg)?))
}

fn of_no_group(volume: &Volume, error: &anyhow::Error) -> Line {
    Line::unknown("snapshot", volume.name.to_string(), error)
}

fn line_of(volume: &Volume, cannot_overflow: bool) -> Line {
    let why = match volume {
        volume if volume.has_tag(lvm::ELSEWHERE_TAG) => "mounted by others, now or before",
        volume if volume.has_tag(lvm::KEEP_TAG) => "kept on purpose",
        _ => "of a run",
    };
    let of = |level, text: String| Line::new(level, "snapshot", volume.name.to_string(), text);
    if volume.invalid {
        return of(Level::Critical, format!("{why}, and it overflowed: it holds nothing any more"))
            .hint(release(volume));
    }
    let used = volume.data_percent.unwrap_or(0.0);
    // A thin one has no store of its own: its pool has a line.
    let (level, text) = if volume.pool.is_some() {
        (Level::Ok, why.to_owned())
    } else if cannot_overflow {
        (Level::Ok, format!("{why}, {used:.1}% of its store used, which cannot overflow"))
    } else {
        (level_of(used), format!("{why}, {used:.1}% of its store used"))
    };
    let line = Line { used_percent: Some(used), ..of(level, text) };
    if level == Level::Ok { line } else { line.hint(format!("lvextend {}, or {}", volume.name, release(volume))) }
}

/// The command that removes it, as it can be typed.
fn release(volume: &Volume) -> String {
    volume.run().map_or_else(|| "mysnap snapshots; mysnap release".to_owned(), |run| format!("mysnap release {run}"))
}

fn pool(volume: &Volume) -> Line {
    let data = volume.data_percent.unwrap_or(0.0);
    let metadata = volume.metadata_percent.unwrap_or(0.0);
    let used = data.max(metadata);
    let sick = !volume.health.is_empty();
    let level = if sick { Level::Critical } else { level_of(used) };
    let health = if sick { format!(", {}", volume.health) } else { String::new() };
    let text = format!("data {data:.1}%, metadata {metadata:.1}%{health}");
    let line = Line { used_percent: Some(used), ..Line::new(level, "pool", volume.name.to_string(), text) };
    if level == Level::Ok {
        line
    } else {
        line.hint("a full pool stops every volume in it: lvextend, or remove snapshots")
    }
}

fn level_of(used: f64) -> Level {
    match used {
        used if used >= FULL.1 => Level::Critical,
        used if used >= FULL.0 => Level::Warning,
        _ => Level::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume {
        lvm::parse_volumes(include_str!("../../tests/data/lvm/trixie/thick.lvs.json")).unwrap().remove(0)
    }

    fn of(used: f64) -> Volume {
        let tags = vec![lvm::TAG.to_owned(), "mysnap.run=20261121T092233Z-4f2a".to_owned()];
        Volume { pool: None, invalid: false, data_percent: Some(used), tags, ..volume() }
    }

    #[test]
    fn a_store_that_fills_up_is_told_before_it_is_lost() {
        let level = |used| {
            let line = line_of(&of(used), false);
            (line.level, line.hint)
        };
        let hint = Some(format!("lvextend {}, or mysnap release 20261121T092233Z-4f2a", volume().name));
        assert_eq!(level(12.0), (Level::Ok, None));
        assert_eq!(level(80.0), (Level::Warning, hint.clone()));
        assert_eq!(level(95.5), (Level::Critical, hint));
        let lost = line_of(&Volume { invalid: true, ..of(100.0) }, true);
        assert_eq!((lost.level, lost.hint.as_deref()), (Level::Critical, Some("mysnap release 20261121T092233Z-4f2a")));
    }

    #[test]
    fn a_store_that_cannot_overflow_may_be_full() {
        let line = line_of(&of(99.6), true);
        assert_eq!((line.level, line.hint, line.used_percent), (Level::Ok, None, Some(99.6)));
        assert!(line.text.ends_with("99.6% of its store used, which cannot overflow"), "{}", line.text);
    }

    #[test]
    fn what_others_had_mounted_is_not_called_the_runs() {
        let line = line_of(&Volume { tags: vec![lvm::ELSEWHERE_TAG.to_owned()], invalid: false, ..volume() }, false);
        assert!(line.text.starts_with("mounted by others"), "{}", line.text);
    }

    #[test]
    fn the_fuller_part_of_a_pool_counts_and_its_health_most() {
        let of = |data, metadata, health: &str| {
            let (data_percent, metadata_percent) = (Some(data), Some(metadata));
            pool(&Volume { data_percent, metadata_percent, health: health.to_owned(), ..volume() })
        };
        assert_eq!((of(10.0, 85.0, "").level, of(10.0, 85.0, "").used_percent), (Level::Warning, Some(85.0)));
        assert_eq!(of(10.0, 5.0, "metadata_read_only").level, Level::Critical);
    }
}
