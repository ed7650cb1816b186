//! An archive of binary logs: how far it is behind the server, and what no restore can cross.

use std::time::Duration;

use jiff::Timestamp;

use super::suspended::Stuck;
use super::{Archive, Level, Line};
use crate::binlog::Pulse;
use crate::binlog::standing::{self, Beginning, Behind, Standing};
use crate::server::Exactness;
use crate::store::{Manifest, ProofLevel};
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::units::{Bytes, human_duration};

pub(super) fn look(archive: &Archive, backups: &[&Manifest], stuck: &Stuck, cancel: &Cancel) -> Vec<Line> {
    let name = archive.name.as_str();
    match stuck.refuse_servers().and_then(|()| standing::look(&archive.request, cancel)) {
        Ok(Some(standing)) => {
            let mut lines = vec![judge(archive, &standing, clock::now())];
            lines.extend(standing::gaps(&standing.index, &beginnings(backups)).iter().map(|gap| gap_line(name, gap)));
            lines
        }
        Ok(None) => {
            let text = format!("there is no archive in {}", archive.request.home);
            vec![Line::new(Level::Critical, "archive", name, text).hint(format!("mysnap binlog stream {name}"))]
        }
        Err(error) => vec![Line::unknown("archive", name, &error)],
    }
}

/// Where replays may begin.
fn beginnings<'a>(backups: &[&'a Manifest]) -> Vec<Beginning<'a>> {
    let of = |manifest: &&'a Manifest| {
        // What has no exact place, or was never proved, is no beginning.
        if manifest.position.exact != Exactness::Exact || manifest.proof.level == ProofLevel::None {
            return None;
        }
        let taken = manifest.hold.at.unwrap_or(manifest.begin);
        Some(Beginning { server: &manifest.server, position: manifest.position.binlog.as_ref()?, taken })
    };
    backups.iter().filter_map(of).collect()
}

fn gap_line(name: &str, gap: &str) -> Line {
    let text = format!("no restore can cross this: {gap}");
    Line::new(Level::Critical, "archive", name, text).hint("take a full backup now: with a good one this is over")
}

fn judge(archive: &Archive, standing: &Standing, now: Timestamp) -> Line {
    let name = archive.name.as_str();
    let pass = Pass::of(archive, standing.pulse.as_ref(), now);
    let known = format!("{}, {}", end(standing), pass.text);
    let of = |level, text: &str| Line::new(level, "archive", name, format!("{known}{text}"));
    let line = match &standing.behind {
        Ok(Behind::Lost(why)) => of(Level::Critical, &format!("; it can't go on there: {why}")).hint(pass.hint),
        Ok(Behind::Bytes(bytes)) => {
            let text = format!(", {} behind", Bytes(*bytes));
            match (pass.level, bytes) {
                (Level::Ok, _) => of(Level::Ok, &text),
                (_, 0) => of(Level::Warning, &text).hint(pass.hint),
                (level, _) => of(level, &text).hint(pass.hint),
            }
        }
        Err(error) => Line::unknown("archive", name, error).after(&format!("{known}; how far behind: ")),
    };
    let behind_bytes = match standing.behind {
        Ok(Behind::Bytes(bytes)) => Some(bytes),
        Ok(Behind::Lost(_)) | Err(_) => None,
    };
    Line { age_seconds: pass.age.map(|age| age.as_secs()), behind_bytes, ..line }
}

/// What the last pass comes to where the server has written since.
struct Pass {
    level: Level,
    text: String,
    hint: String,
    age: Option<Duration>,
}

impl Pass {
    fn of(archive: &Archive, pulse: Option<&Pulse>, now: Timestamp) -> Self {
        let (name, limit) = (&archive.name, human_duration(archive.max_lag));
        let begin = format!("`mysnap binlog stream {name}`, or `ship` more often; max_lag is {limit}");
        let Some(pulse) = pulse else {
            let text = "and nobody knows since when".to_owned();
            return Self { level: Level::Warning, text, hint: begin, age: None };
        };
        let age = now.duration_since(pulse.at);
        // The clock of another node may be a little ahead.
        if age.unsigned_abs() > archive.max_lag && age.is_negative() {
            let (text, hint) = ("by a pass from the future".to_owned(), "look at the clocks of the hosts".to_owned());
            return Self { level: Level::Warning, text, hint, age: None };
        }
        let age = Duration::try_from(age).unwrap_or_default();
        let level = if age > archive.max_lag { Level::Critical } else { Level::Ok };
        let dead = format!("the stream is dead or can't go on: what does `mysnap binlog ship {name}` say?");
        let text = format!("last pass {} ago", human_duration(age));
        Self { level, text, hint: if pulse.streams { dead } else { begin }, age: Some(age) }
    }
}

/// Where it ends, as far as was told.
fn end(standing: &Standing) -> String {
    let Some(last) = standing.index.timelines.last().and_then(|timeline| timeline.files.last()) else {
        return "it holds nothing yet".to_owned();
    };
    let told = standing.pulse.as_ref().and_then(|pulse| pulse.end.as_ref()).filter(|end| end.file == last.name);
    let offset = told.map_or(last.size, |end| end.offset.max(last.size));
    let event = last.last_event.map(|time| format!(" (event of {time})")).unwrap_or_default();
    format!("archived up to {}:{offset}{event}", last.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{Home, Index, Request};
    use crate::dump::Compression;
    use crate::server::{Access, LogEngine};

    fn line(behind: anyhow::Result<Behind>, streams: Option<bool>, seconds: i64) -> Line {
        let archive = Archive {
            name: "shop".parse().unwrap(),
            request: Request {
                server: Access::default(),
                engine: LogEngine::Auto,
                spool: None,
                home: Home::new("/srv/binlog/shop"),
                compression: Compression::Zstd,
                sync_interval: Duration::from_secs(1),
            },
            max_lag: Duration::from_secs(300),
        };
        let index = Index::decode(include_bytes!("../../tests/data/binlog/index-1.json")).unwrap();
        let at: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let pulse = streams.map(|streams| Pulse { at, streams, end: None });
        let standing = Standing { index, pulse, behind };
        judge(&archive, &standing, at + jiff::SignedDuration::from_secs(seconds))
    }

    #[test]
    fn what_the_server_wrote_meanwhile_makes_a_late_archive_critical() {
        let level = |bytes, seconds| line(Ok(Behind::Bytes(bytes)), Some(true), seconds).level;
        assert_eq!((level(0, 300), level(5000, 300)), (Level::Ok, Level::Ok));
        assert_eq!(
            (level(0, 301), level(5000, 301), level(5000, -301)),
            (Level::Warning, Level::Critical, Level::Warning)
        );
        // The other node's clock is a little ahead.
        assert_eq!(level(5000, -2), Level::Ok);
        let late = line(Ok(Behind::Bytes(5000)), Some(true), 301);
        assert_eq!((late.age_seconds, late.behind_bytes), (Some(301), Some(5000)));
        assert!(
            late.text.contains("binlog.000005:900 (event of 2026-11-26T11:00:00Z), last pass 5 min 01 s ago"),
            "{late:?}"
        );
        assert!(late.hint.unwrap().contains("the stream is dead"));
        assert!(line(Ok(Behind::Bytes(5000)), Some(false), 301).hint.unwrap().contains("more often"));
    }

    #[test]
    fn what_is_lost_is_critical_at_once_and_a_silent_server_unknown() {
        assert_eq!(line(Ok(Behind::Lost("it was purged".into())), Some(true), 1).level, Level::Critical);
        assert_eq!(line(Ok(Behind::Lost("it was purged".into())), None, 1).level, Level::Critical);
        assert_eq!(line(Ok(Behind::Bytes(0)), None, 1).level, Level::Warning);
        let silent = line(Err(anyhow::anyhow!("no answer")), Some(true), 1);
        assert_eq!((silent.level, silent.age_seconds), (Level::Unknown, Some(1)));
        assert!(silent.text.ends_with("how far behind: no answer"), "{silent:?}");
    }
}
