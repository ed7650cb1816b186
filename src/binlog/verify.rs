//! Every archived file, read and compared with the index.

use serde::Serialize;

use super::home::{self, Home};
use super::index::{Index, LogFile, State, Timeline};
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
            match one(home, timeline, file) {
                Ok(bytes) => {
                    report.files += 1;
                    report.bytes += bytes;
                }
                // Removed since the index was read, because no backup needs it any more.
                Err(_) if home.expired().has(&timeline.id, &file.name) => {}
                Err(error) => report.damaged.push(format!("{}/{}: {error:#}", timeline.id, file.name)),
            }
            progress(report.bytes);
        }
    }
    Ok(report)
}

/// Makes `index` say of the open files how far they really are: a stream tells now and then.
pub fn look_at_open(home: &Home, index: &mut Index) -> anyhow::Result<()> {
    for timeline in &mut index.timelines {
        let id = timeline.id.clone();
        for file in timeline.files.iter_mut().filter(|file| file.state == State::Open) {
            let summary = home::open_summary(home, &id, file)?;
            file.describe(&summary);
        }
    }
    Ok(())
}

/// The bytes of a file that is what the index says. An open one may be longer, and end within an event: a stream is
/// writing it.
fn one(home: &Home, timeline: &Timeline, file: &LogFile) -> anyhow::Result<u64> {
    if file.state == State::Open {
        let summary = home::open_summary(home, &timeline.id, file)?;
        anyhow::ensure!(summary.end >= file.size, "it ends at {}, not {}", summary.end, file.size);
        return Ok(summary.end);
    }
    let (summary, digest, _) = home::examine(home.read(&timeline.id, file)?)?;
    anyhow::ensure!(summary.end == file.size, "it has {} bytes, not {}", summary.end, file.size);
    anyhow::ensure!(file.sha256 == Some(digest), "its digest is {digest}");
    Ok(summary.end)
}
