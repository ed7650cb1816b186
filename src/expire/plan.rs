//! What happens to each backup: a function of what is there, the rules, the time and the time zone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::keep::Length;
use super::{ALWAYS, Decided, Keep, Plan, Rules, Standing, Stored, Verdict};
use crate::id::RunId;

/// What did not count is of use for so long to whoever looks for the reason.
const PUZZLE: Duration = Duration::from_secs(7 * 86_400);

/// Decides over `backups`, all of one job, at `now`; days and weeks are those of `zone`.
pub fn plan(backups: &[Stored], rules: &Rules, now: Timestamp, zone: &TimeZone) -> Plan {
    let mut backups: Vec<&Stored> = backups.iter().collect();
    backups.sort_by(|a, b| (b.begin, &b.id).cmp(&(a.begin, &a.id)));
    let held = held(&backups, now);
    let mut staying = Staying::default();
    staying.by_nature(&backups);
    staying.by_the_rules(&backups, rules, now, zone);
    staying.uncounted(&backups, rules, now);
    if let Some(why) = &held {
        for backup in &backups {
            staying.because(backup, format!("nothing goes: {why}"));
        }
    }
    staying.bases(&backups);
    staying.increments(&backups);
    Plan { held, backups: backups.iter().map(|backup| staying.decided(backup, rules)).collect() }
}

/// The proved ones, newest first. An increment is no second backup: what spoils its base spoils it too.
fn counted<'a>(backups: &[&'a Stored]) -> Vec<&'a Stored> {
    backups.iter().copied().filter(|backup| counts(backup)).collect()
}

/// The proved ones and the increments on them: each is a time that can be gone back to.
fn restorable<'a>(backups: &[&'a Stored]) -> Vec<&'a Stored> {
    let is_whole = |backup: &&Stored| {
        let below = std::iter::successors(Some(*backup), |above| base_of(above, backups)).take(backups.len());
        backup.standing == Standing::Proved
            && below.clone().all(|base| fault_of(base).is_none())
            && below.last().is_some_and(|full| full.needs.is_none())
    };
    backups.iter().copied().filter(is_whole).collect()
}

fn counts(backup: &Stored) -> bool {
    backup.standing == Standing::Proved && backup.needs.is_none()
}

/// What `backup` is built on, if that is there.
fn base_of<'a>(backup: &Stored, backups: &[&'a Stored]) -> Option<&'a Stored> {
    backups.iter().copied().find(|base| backup.needs.as_ref() == Some(&base.id))
}

/// Why nothing at all goes.
fn held(backups: &[&Stored], now: Timestamp) -> Option<String> {
    let newest = backups.iter().find(|backup| backup.standing.is_ours())?;
    let Stored { id, begin, .. } = newest;
    if *begin > now {
        return Some(format!("the newest backup, {id}, lies in the future"));
    }
    if let Some(why) = fault_of(newest) {
        return Some(format!("the newest backup, {id}, {why}"));
    }
    let below = std::iter::successors(base_of(newest, backups), |base| base_of(base, backups));
    let spoilt = below.take(backups.len()).find_map(|base| Some((&base.id, fault_of(base)?)));
    spoilt.map(|(base, why)| format!("the newest backup, {id}, needs {base}, which {why}"))
}

/// Why a backup is none, as far as this host has a say in it.
fn fault_of(backup: &Stored) -> Option<String> {
    match &backup.standing {
        Standing::Proved | Standing::Foreign(_) => None,
        Standing::Unproved => Some("is not proved".to_owned()),
        Standing::Bad(why) => Some(format!("is bad: {why}")),
        Standing::Unreadable(why) => Some(format!("is unreadable: {why}")),
    }
}

/// Whether `backup` is older than `limit`. One from the future is not.
fn is_older(backup: &Stored, limit: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(backup.begin)).is_ok_and(|age| age > limit)
}

/// Who stays, and why.
#[derive(Default)]
struct Staying {
    reasons: BTreeMap<RunId, Vec<String>>,
}

impl Staying {
    fn because(&mut self, backup: &Stored, reason: String) {
        self.reasons.entry(backup.id.clone()).or_default().push(reason);
    }

    /// What is not for us to remove.
    fn by_nature(&mut self, backups: &[&Stored]) {
        for backup in backups {
            match &backup.standing {
                Standing::Foreign(host) => self.because(backup, format!("made by host {host}, which decides over it")),
                Standing::Unreadable(why) => self.because(backup, format!("unreadable ({why}): never removed unasked")),
                _ => {}
            }
        }
    }

    /// Numbers of backups are of full ones; an age is that of whatever can be gone back to.
    fn by_the_rules(&mut self, backups: &[&Stored], rules: &Rules, now: Timestamp, zone: &TimeZone) {
        let proved = counted(backups);
        let (limit, rule) = match rules {
            Rules::Keep(keep) => {
                self.kept(&proved, keep, zone);
                (keep.within.filter(|limit| !limit.is_zero()), "within")
            }
            Rules::OlderThan(limit) => (Some(*limit), "not older than"),
        };
        if let Some(limit) = limit {
            for backup in restorable(backups).into_iter().filter(|backup| !is_older(backup, limit, now)) {
                self.because(backup, format!("{rule} {}", Length(limit)));
            }
        }
        for backup in proved.iter().take(ALWAYS) {
            if !self.reasons.contains_key(&backup.id) {
                self.because(backup, format!("the {} newest proved ones always stay", words(ALWAYS)));
            }
        }
    }

    fn kept(&mut self, proved: &[&Stored], keep: &Keep, zone: &TimeZone) {
        for backup in proved.iter().take(count(keep.last)) {
            self.because(backup, format!("last {}", keep.last));
        }
        for (period, wanted) in keep.periods() {
            let mut seen = BTreeSet::new();
            for backup in proved {
                let name = period.of(backup.begin, zone);
                if seen.len() < count(wanted) && seen.insert(name.clone()) {
                    self.because(backup, format!("{}: newest of {name}", period.rule()));
                }
            }
        }
    }

    /// What does not count stays until there are newer ones that do, and for some days after.
    fn uncounted(&mut self, backups: &[&Stored], rules: &Rules, now: Timestamp) {
        let limit = match rules {
            Rules::Keep(_) => PUZZLE,
            Rules::OlderThan(limit) => *limit,
        };
        let mut newer = 0;
        for backup in backups.iter().filter(|backup| base_of(backup, backups).is_none()) {
            if counts(backup) {
                newer += 1;
            } else if newer < ALWAYS {
                self.because(backup, format!("does not count, but {} newer proved ones are not there", words(ALWAYS)));
            } else if !is_older(backup, limit, now) {
                self.because(backup, format!("does not count; not older than {}", Length(limit)));
            }
        }
    }

    /// What stays keeps what it is built on.
    fn bases(&mut self, backups: &[&Stored]) {
        let mut look: Vec<&Stored> =
            backups.iter().copied().filter(|backup| self.reasons.contains_key(&backup.id)).collect();
        while let Some(backup) = look.pop() {
            let Some(base) = base_of(backup, backups) else { continue };
            if !self.reasons.contains_key(&base.id) {
                look.push(base);
            }
            self.because(base, format!("base of {}", backup.id));
        }
    }

    /// They stay for as long as what they are built on.
    fn increments(&mut self, backups: &[&Stored]) {
        let follows = |staying: &Self, backup: &Stored| {
            let base = base_of(backup, backups)?;
            let joins = !staying.reasons.contains_key(&backup.id) && staying.reasons.contains_key(&base.id);
            joins.then(|| base.id.clone())
        };
        while let Some((backup, base)) = backups.iter().find_map(|one| Some((*one, follows(self, one)?))) {
            self.because(backup, format!("stays with its base {base}"));
        }
    }

    fn decided(&self, backup: &Stored, rules: &Rules) -> Decided {
        let (verdict, reasons) = match self.reasons.get(&backup.id) {
            Some(reasons) => (Verdict::Stays, reasons.clone()),
            None => (Verdict::Goes, vec![farewell(backup, rules)]),
        };
        Decided { backup: backup.clone(), verdict, reasons }
    }
}

/// Why a backup goes.
fn farewell(backup: &Stored, rules: &Rules) -> String {
    let newer = words(ALWAYS);
    if let Some(base) = &backup.needs {
        return format!("of no use without its base {base}");
    }
    match (&backup.standing, rules) {
        (Standing::Bad(why), _) => format!("does not count ({why}), and {newer} newer proved ones are there"),
        (Standing::Proved, Rules::Keep(_)) => "no rule keeps it".to_owned(),
        (Standing::Proved, Rules::OlderThan(limit)) => format!("older than {}", Length(*limit)),
        _ => format!("was never proved, does not count, and {newer} newer proved ones are there"),
    }
}

fn count(wanted: u32) -> usize {
    usize::try_from(wanted).unwrap_or(usize::MAX)
}

/// A small number, written out.
fn words(number: usize) -> String {
    if number == 2 { "two".to_owned() } else { number.to_string() }
}
