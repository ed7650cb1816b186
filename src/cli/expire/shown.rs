//! What stays and what goes, as a table.

use std::time::Duration;

use jiff::Timestamp;

use super::archives::ArchiveLook;
use super::jobs::JobLook;
use crate::binlog::expire::Decided as Timeline;
use crate::expire::Decided;
use crate::sys::clock;
use crate::sys::units::{Bytes, human_duration};

pub(super) fn job(look: &JobLook<'_>) -> String {
    let mut lines = vec![format!("job {} at {}", look.name, look.destination)];
    if look.plan.backups.is_empty() {
        lines.push("  there is no backup".to_owned());
        return lines.join("\n");
    }
    let (now, zone) = (clock::now(), clock::zone());
    let head = format!("  {:<22} {:<16} {:>10}  {:<10} {:<6} WHY", "ID", "BEGUN", "AGE", "STATE", "");
    lines.push(head);
    lines.extend(look.plan.backups.iter().map(|one| {
        let Decided { backup, verdict, reasons } = one;
        let begun = zone.to_datetime(backup.begin).strftime("%Y-%m-%d %H:%M").to_string();
        let (age, state) = (age(backup.begin, now), backup.standing.word());
        format!("  {:<22} {begun:<16} {age:>10}  {state:<10} {verdict:<6} {}", backup.id, reasons.join("; "))
    }));
    let going = look.plan.going().len();
    let stay = look.plan.backups.len() - going;
    lines.push(match &look.plan.held {
        Some(why) => format!("  nothing goes: {why}"),
        None => format!("  {going} go, {stay} stay"),
    });
    lines.join("\n")
}

fn age(begin: Timestamp, now: Timestamp) -> String {
    Duration::try_from(now.duration_since(begin)).map_or_else(|_| "in future".to_owned(), human_duration)
}

pub(super) fn archive(look: &ArchiveLook<'_>) -> String {
    let mut lines = vec![format!("archive {} in {}", look.name, look.path.display())];
    lines.extend(look.plan.timelines.iter().map(|one| {
        let Timeline { id, files, bytes, why, .. } = one;
        let going = match files.as_slice() {
            [] => "nothing goes".to_owned(),
            [only] => format!("{only} goes, {}", Bytes(*bytes)),
            [first, .., last] => format!("{first} to {last} go, {} files, {}", files.len(), Bytes(*bytes)),
        };
        format!("  {id}  {going}: {why}")
    }));
    lines.extend(look.plan.held.iter().map(|why| format!("  nothing goes: {why}")));
    lines.join("\n")
}
