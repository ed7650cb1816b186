//! Whether the recovered server stands where the backup says.

use crate::fault::{Fault, Kind};
use crate::server::{Exactness, Inspector, Position};

/// In words how it was compared; an error where the server stands elsewhere. Equal ends prove that the
/// rows are those of the position only because the engine's logs were flushed under the lock and the
/// binary log lies in the same snapshot: `docs/facts.md`, position.
/// `starts` of a server on the files, this one included, have opened a log each.
pub(super) fn compare(recorded: &Position, starts: usize, server: &mut Inspector) -> anyhow::Result<String> {
    if recorded.binlog.is_none() {
        return Ok("not compared: the server kept no binary log".to_owned());
    }
    if let Exactness::NotExact(why) = &recorded.exact {
        return Ok(format!("not compared: the recorded one is not exact ({why})"));
    }
    let logs = server.binary_logs()?;
    let gtid_set = if recorded.gtid_set.is_some() { server.gtid_set()? } else { None };
    judge(recorded, starts, &logs, gtid_set.as_deref()).map_err(|why| {
        let fault =
            Fault::new(Kind::Verify, format!("the recovered server does not stand where the backup says: {why}"));
        fault.hint("don't use it as the base of a replica or of a replay; make another backup").into()
    })
}

fn judge(recorded: &Position, starts: usize, logs: &[(String, u64)], gtid_set: Option<&str>) -> Result<String, String> {
    let Some(end) = &recorded.binlog else { return Err("no position is recorded".to_owned()) };
    let Some((_, size)) = logs.iter().find(|(name, _)| *name == end.file) else {
        return Err(format!("it has no binary log {}", end.file));
    };
    if *size != end.offset {
        return Err(format!("{} ends at {size}, recorded is {}", end.file, end.offset));
    }
    // Each start opens one log; another one would hold what came after the position.
    if logs.iter().rev().nth(starts).map(|(name, _)| name) != Some(&end.file) {
        return Err(format!("{} is not the last binary log of before the recovery", end.file));
    }
    let Some(recorded_set) = &recorded.gtid_set else {
        return Ok(format!("{}:{} is where its binary log ended", end.file, end.offset));
    };
    let plain = |set: &str| set.split_whitespace().collect::<String>();
    let found = gtid_set.unwrap_or_default();
    if plain(recorded_set) != plain(found) {
        return Err(format!("its GTID set is {found:?}, recorded is {recorded_set:?}"));
    }
    Ok(format!("{}:{} is where its binary log ended, and the GTID set is the recorded one", end.file, end.offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Manifest;

    #[test]
    fn end_and_gtid_set_must_both_be_the_recorded_ones() {
        let mut recorded = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap().position;
        let end = recorded.binlog.clone().unwrap();
        recorded.gtid_set = Some("a:1-5,\nb:1-7".to_owned());
        let logs = |size: u64| vec![("older".to_owned(), 9), (end.file.clone(), size), ("own".to_owned(), 4)];
        let same = Some("a:1-5,b:1-7");
        assert!(judge(&recorded, 1, &logs(end.offset), same).unwrap().contains("GTID set is the recorded one"));
        assert!(judge(&recorded, 1, &logs(end.offset + 1), same).unwrap_err().contains("recorded is"));
        assert!(judge(&recorded, 1, &logs(end.offset), Some("a:1-5")).unwrap_err().contains("GTID set"));
        assert!(judge(&recorded, 1, &logs(end.offset), None).is_err());
        assert!(judge(&recorded, 1, &logs(end.offset)[..1], same).unwrap_err().contains("has no binary log"));
        let mut more = logs(end.offset);
        more.push(("own2".to_owned(), 4));
        assert!(judge(&recorded, 1, &more, same).unwrap_err().contains("not the last"));
        assert!(judge(&recorded, 2, &more, same).is_ok(), "a second start opens another one");
    }
}
