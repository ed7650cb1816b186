//! The newest good backup of a job, and how old it is.

use std::time::Duration;

use jiff::Timestamp;

use super::suspended::Stuck;
use super::{Job, Level, Line};
use crate::drill::{Drills, Hindered, Report};
use crate::fault::{Kind, kind_of};
use crate::store::{self, Catalog, Item, Manifest};
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::units::{Bytes, human_duration};

/// The backups of `job`.
pub(super) fn catalog(job: &Job, stuck: &Stuck, cancel: &Cancel) -> anyhow::Result<Catalog> {
    stuck.refuse_destination(job)?;
    Catalog::read(&*store::open(&job.to, &job.ssh, cancel)?, Some(&job.name))
}

pub(super) fn lines(job: &Job, catalog: &anyhow::Result<Catalog>) -> Vec<Line> {
    let name = job.name.as_str();
    match catalog {
        Ok(catalog) => {
            let newest = catalog.usable().next().map(|backup| &backup.manifest);
            let others = catalog.items.iter().filter_map(|item| no_backup(name, item));
            std::iter::once(newest.map_or_else(|| none_yet(job), |m| judge(job, m, clock::now())))
                .chain(others)
                .chain(drilled(job, catalog))
                .collect()
        }
        Err(error) if kind_of(error) == Some(Kind::NotFound) => vec![none_yet(job)],
        Err(error) => vec![Line::unknown("job", name, error)],
    }
}

fn none_yet(job: &Job) -> Line {
    Line::new(Level::Critical, "job", job.name.as_str(), format!("no good backup in {}", job.to))
        .hint(format!("mysnap backup {}", job.name))
}

/// What counts as none.
fn no_backup(job: &str, item: &Item) -> Option<Line> {
    let id = &item.slot().id;
    let (text, hint) = match item {
        Item::Good(_) => return None,
        Item::Bad(_, why) => (format!("backup {id} is bad: {why}"), SPOILT),
        Item::Unreadable(_, why) => {
            (format!("backup {id} is unreadable: {why}"), "look at the disk of the destination; it counts as no backup")
        }
    };
    Some(Line::new(Level::Warning, "job", job, text).hint(hint))
}

/// What the last drill found, and which other backups did not come back; nothing where there was none.
fn drilled(job: &Job, catalog: &Catalog) -> Vec<Line> {
    let name = job.name.as_str();
    let drills = match Drills::of(&job.name, &job.to) {
        Ok(drills) => drills,
        Err(error) => return vec![Line::unknown("drill", name, &error)],
    };
    let hindered = match Hindered::of(&job.name, &job.to) {
        Ok(hindered) => hindered.map(|hindered| hindered_line(name, &hindered, clock::now())),
        Err(error) => Some(Line::unknown("drill", name, &error)),
    };
    let is_there = |report: &&Report| catalog.items.iter().any(|item| item.slot().id == report.backup);
    let newest = catalog.good().next().map(|backup| &backup.manifest.id);
    let last = drills.last();
    let others = drills.failed().map(|(report, _)| report).filter(|report| Some(*report) != last).filter(is_there);
    let line = |report: &Report| {
        let is_newest = newest == Some(&report.backup);
        let line = drill_line(name, report, clock::now());
        // Newer ones are there for whoever needs one.
        if is_newest { line } else { Line { level: Level::Warning, ..line }.hint(SPOILT) }
    };
    last.map(|report| drill_line(name, report, clock::now()))
        .into_iter()
        .chain(hindered)
        .chain(others.map(line))
        .collect()
}

const SPOILT: &str = "it counts as no backup; remove it when it is understood";

fn hindered_line(name: &str, hindered: &Hindered, now: Timestamp) -> Line {
    let Hindered { backup, why, .. } = hindered;
    let text = format!(
        "the last drill, of backup {backup}, could not be carried out {}, which says nothing about the backup: {why}",
        ago(hindered.at, now)
    );
    Line::new(Level::Warning, "drill", name, text).hint(format!("mysnap drill {name}"))
}

/// How long ago, in words.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let ago = Duration::try_from(now.duration_since(at)).map_or_else(|_| "in future".to_owned(), human_duration);
    format!("{ago} ago")
}

fn drill_line(name: &str, report: &Report, now: Timestamp) -> Line {
    let ago = ago(report.at, now);
    let took = human_duration(Duration::from_millis(report.total_ms));
    if let Some(why) = &report.failure {
        let text = format!("backup {} did not come back, {ago}: {why}", report.backup);
        return Line::new(Level::Critical, "drill", name, text).hint(format!("mysnap drill {name}"));
    }
    Line::new(Level::Ok, "drill", name, format!("backup {} came back in {took}, {ago}", report.backup))
}

fn judge(job: &Job, newest: &Manifest, now: Timestamp) -> Line {
    let of = |level, age: &str| {
        let size = Bytes(newest.bytes());
        let of = newest.needs().map(|base| format!(" (an increment of {base})")).unwrap_or_default();
        let text = format!("newest good backup {}{of} is {age}, {size} in {}", newest.id, job.to);
        Line::new(level, "job", job.name.as_str(), text)
    };
    let Ok(age) = Duration::try_from(now.duration_since(newest.end)) else {
        return of(Level::Warning, "from the future").hint("look at the clocks of the hosts");
    };
    let old = format!("{} old", human_duration(age));
    let line = if age <= job.max_age {
        of(Level::Ok, &old)
    } else {
        let limit = human_duration(job.max_age);
        of(Level::Critical, &old).hint(format!("max_age is {limit}: why did no later run end well?"))
    };
    Line { age_seconds: Some(age.as_secs()), ..line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SshOptions;

    fn job() -> Job {
        Job {
            name: "nightly".parse().unwrap(),
            to: "/srv/backup".parse().unwrap(),
            ssh: SshOptions::default(),
            max_age: Duration::from_secs(26 * 3600),
        }
    }

    fn manifest() -> Manifest {
        Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap()
    }

    #[test]
    fn the_age_of_the_newest_backup_decides() {
        let manifest = manifest();
        let after = |hours: i64| judge(&job(), &manifest, manifest.end + jiff::SignedDuration::from_hours(hours));
        assert_eq!((after(1).level, after(1).age_seconds), (Level::Ok, Some(3600)));
        assert_eq!(after(27).level, Level::Critical);
        assert!(after(27).hint.unwrap().contains("max_age is 1 d 2 h"));
        assert_eq!((after(-1).level, after(-1).age_seconds), (Level::Warning, None));
    }

    #[test]
    fn a_drill_that_failed_is_critical() {
        let mut report: Report = serde_json::from_str(include_str!("../../tests/data/drill-1.json")).unwrap();
        let line = |report: &Report| drill_line("nightly", report, report.at + jiff::SignedDuration::from_hours(3));
        assert_eq!(line(&report).level, Level::Ok);
        assert!(line(&report).text.contains("came back in 3 min 02 s, 3 h"), "{}", line(&report).text);
        report.failure = Some("it said: no".to_owned());
        let failed = line(&report);
        assert_eq!((failed.level, failed.hint.as_deref()), (Level::Critical, Some("mysnap drill nightly")));
    }

    #[test]
    fn a_destination_that_is_not_there_yet_has_no_backup() {
        let nowhere = tempfile::tempdir().unwrap().path().join("none");
        let job = Job { to: nowhere.to_str().unwrap().parse().unwrap(), ..job() };
        let lines = lines(&job, &catalog(&job, &Stuck::default(), &Cancel::new()));
        assert_eq!((lines.len(), lines[0].level), (1, Level::Critical));
        assert_eq!(lines[0].hint.as_deref(), Some("mysnap backup nightly"));
    }
}
