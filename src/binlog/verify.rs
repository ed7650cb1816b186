//! Every archived file, read and compared with the index.

use jiff::Timestamp;
use serde::Serialize;

use super::home::{self, Home};
use super::index::{Index, LogFile, Piece, State};
use super::summary::Stop;
use super::walk::Event;
use crate::sys::cancel::Cancel;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// How many files were read.
    pub files: u64,
    /// Their bytes, unpacked.
    pub bytes: u64,
    /// What is missing, unreadable or not what was archived.
    pub damaged: Vec<String>,
    /// Where what hangs together ends.
    pub gaps: Vec<String>,
}

/// Reads everything that `index` tells of; `progress` gets the bytes so far.
pub fn verify(home: &Home, index: &Index, progress: &dyn Fn(u64), cancel: &Cancel) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for timeline in &index.timelines {
        report.gaps.extend(timeline.because.clone());
        for file in &timeline.files {
            cancel.check()?;
            let gap = file.gap.iter().map(|gap| format!("before {}: {gap}", file.name));
            report.gaps.extend(gap);
            let read = one(home, &timeline.id, file, |_| {});
            // Removed since the index was read, because no backup needs it any more.
            if read.is_ok() || !home.expired().has(&timeline.id, &file.name) {
                report.add(&timeline.id, file, read);
            }
            progress(report.bytes);
        }
    }
    Ok(report)
}

impl Report {
    /// Takes over what was found elsewhere.
    pub fn join(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.damaged.extend(other.damaged);
        self.gaps.extend(other.gaps);
    }

    fn add(&mut self, timeline: &str, file: &LogFile, read: anyhow::Result<u64>) {
        match read {
            Ok(bytes) => {
                self.files += 1;
                self.bytes += bytes;
            }
            Err(error) => self.damaged.push(format!("{timeline}/{}: {error:#}", file.name)),
        }
    }
}

/// What lies between two places of an archive, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// How many events there are.
    pub events: u64,
    /// Their bytes, unpacked.
    pub bytes: u64,
    /// The times of the earliest and the latest of them.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Of the files that they are in, which were read whole.
    pub report: Report,
}

/// Reads every file of which `pieces` are a part, and looks what is in these.
pub fn look_at(
    home: &Home,
    timeline: &str,
    pieces: &[Piece<'_>],
    progress: &dyn Fn(u64),
    cancel: &Cancel,
) -> anyhow::Result<Looked> {
    let mut looked = Looked::default();
    for Piece { file, from, to } in pieces {
        cancel.check()?;
        let read = one(home, timeline, file, |event| {
            if event.offset >= *from && event.end() <= *to {
                looked.add(event);
            }
        });
        looked.report.add(timeline, file, read);
        progress(looked.report.bytes);
    }
    Ok(looked)
}

impl Looked {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.bytes += event.end() - event.offset;
        let time = Timestamp::from_second(event.header.timestamp.into()).ok().filter(|_| event.header.timestamp > 0);
        if let Some(time) = time {
            self.times = Some(self.times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
        }
    }
}

/// Makes `index` say of the open files how far they really are: a stream tells now and then.
pub fn look_at_open(home: &Home, index: &mut Index) -> anyhow::Result<()> {
    for timeline in &mut index.timelines {
        let id = timeline.id.clone();
        for file in timeline.files.iter_mut().filter(|file| file.state == State::Open) {
            let (summary, stop) = home::open_walk(home, &id, file)?;
            file.describe(&summary);
            // A power cut can leave a tail of zeros: what is before it can be used all the same.
            if let Stop::Broken(at, why) = stop {
                file.damage = Some(format!("as it is stored, at {at} {why}"));
            }
        }
    }
    Ok(())
}

/// The bytes of a file that is what the index says. An open one may be longer, and end within an event: a stream is
/// writing it.
fn one(home: &Home, timeline: &str, file: &LogFile, each: impl FnMut(&Event)) -> anyhow::Result<u64> {
    if file.state == State::Open {
        let summary = home::open_summary(home, timeline, file)?;
        anyhow::ensure!(summary.end >= file.size, "it ends at {}, not {}", summary.end, file.size);
        return Ok(summary.end);
    }
    let (summary, digest, _) = home::examine_each(home.read(timeline, file)?, each)?;
    anyhow::ensure!(summary.end == file.size, "it has {} bytes, not {}", summary.end, file.size);
    anyhow::ensure!(file.sha256 == Some(digest), "its digest is {digest}");
    Ok(summary.end)
}

#[cfg(test)]
mod tests {
    use super::super::event::Kind;
    use super::super::index::{Identity, Timeline};
    use super::super::summary::tests::{beginning, event};
    use super::*;
    use crate::dump::Compression;
    use crate::server::Flavour;
    use crate::sys::durable;

    #[test]
    fn what_is_before_a_tail_of_zeros_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        std::fs::create_dir(home.timeline("1-a")).unwrap();
        let whole = [beginning(), event(Kind::XID, 1000, &[0; 8])].concat();
        durable::write(&home.open_path("1-a", "b.000001"), &[&whole[..], &[0; 4096]].concat()).unwrap();
        let server = Identity { key: "a".to_owned(), flavour: Flavour::MySql, server_id: 1 };
        let files = vec![LogFile::opened("b.000001", Compression::Zstd)];
        let timeline = Timeline { id: "1-a".to_owned(), server, because: None, files };
        let mut index = Index { timelines: vec![timeline], ..Index::empty() };
        look_at_open(&home, &mut index).unwrap();
        let file = &index.timelines[0].files[0];
        assert_eq!(file.size, whole.len() as u64);
        assert!(file.damage.as_ref().unwrap().contains(&format!("at {}", whole.len())), "{:?}", file.damage);
        assert!(!verify(&home, &index, &|_| {}, &Cancel::new()).unwrap().damaged.is_empty());
    }
}
