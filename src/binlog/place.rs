//! Where an archive goes on in what the server lists, or why it can't.

use super::copying::begins_like;
use super::home::{self, Home};
use super::index::{LogFile, State, Timeline};
use super::logs::{Log, Logs};
use super::source::{Listed, follows, number};

/// Where the archive goes on in the server's list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With the file of this number, without a gap.
    Go(usize),
    /// With this one, after a gap.
    Gap(usize, String),
    /// With the first one, in a new timeline.
    Restarted(String),
}

/// Where the archive of `timeline` goes on in what the server lists.
pub(super) fn next(home: &Home, logs: &dyn Logs, timeline: &Timeline, listed: &[Listed]) -> anyhow::Result<Next> {
    let (Some(last), Some(first)) = (timeline.files.last(), listed.first()) else { return Ok(Next::Go(0)) };
    if let Some((at, same)) = listed.iter().enumerate().find(|(_, file)| file.name == last.name) {
        // Of an open file more is compared when it is taken up.
        return Ok(match last.state {
            State::Open => Next::Go(at),
            _ if is_same(home, timeline, last, logs.open(same)?.as_deref())? => Next::Go(at + 1),
            _ => Next::Restarted(format!("the server has another {} than the archived one", last.name)),
        });
    }
    let counts_on = match (number(&last.name), number(&first.name)) {
        (Some((stem, last)), Some((other, first))) => stem == other && first > last,
        _ => false,
    };
    if !counts_on {
        return Ok(Next::Restarted(format!(
            "the server counts its logs anew, from {} on after {}",
            first.name, last.name
        )));
    }
    let joins = follows(&last.name, &first.name);
    Ok(match last.state {
        State::Closed if joins => Next::Go(0),
        State::Open if joins && is_whole(home, timeline, last)? => Next::Go(0),
        State::Open => Next::Gap(
            0,
            format!("the rest of {} and all before {} was purged before it was archived", last.name, first.name),
        ),
        _ => Next::Gap(
            0,
            format!("what came between {} and {} was purged before it was archived", last.name, first.name),
        ),
    })
}

/// Whether the server's file is the closed one of the archive: by its first event, which is the same in all files that
/// were begun within a second, and by what follows.
fn is_same(home: &Home, timeline: &Timeline, file: &LogFile, there: Option<&dyn Log>) -> anyhow::Result<bool> {
    let (Some(archived), Some(there)) = (file.fingerprint, there) else { return Ok(true) };
    if home::beginning(there)?.is_some_and(|(_, fingerprint)| fingerprint != archived) {
        return Ok(false);
    }
    // What can't be read is for `verify` to tell.
    let Ok(stored) = home.read(&timeline.id, file) else { return Ok(true) };
    Ok(there.length()? >= file.size && begins_like(there, stored, file.size)?)
}

/// Whether the archived part of an open file is all of it.
fn is_whole(home: &Home, timeline: &Timeline, file: &LogFile) -> anyhow::Result<bool> {
    match home.read(&timeline.id, file) {
        // It was purged before its turn came.
        Err(error) if home::is_missing(&error) => Ok(false),
        from => Ok(home::examine(from?).is_ok_and(|(summary, ..)| summary.has_ended())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Kind;
    use super::super::index::Identity;
    use super::super::source::Source;
    use super::super::summary::tests::{beginning, event};
    use super::*;
    use crate::dump::Compression;
    use crate::server::Flavour;

    #[test]
    fn what_was_purged_is_a_gap_unless_all_of_it_is_here() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let timeline = Timeline {
            id: "1-a".into(),
            server: Identity { key: "a".into(), flavour: Flavour::MySql, server_id: 7 },
            because: None,
            files: vec![LogFile::opened("b.000001", Compression::None)],
        };
        let listed = [Listed { name: "b.000002".into(), path: "/nowhere/b.000002".into() }];
        std::fs::create_dir(home.timeline(&timeline.id)).unwrap();
        let source = Source::at(directory.path(), timeline.server.clone());
        let next = || next(&home, &source, &timeline, &listed).unwrap();
        let store = |bytes: &[u8]| crate::sys::durable::write(&home.open_path("1-a", "b.000001"), bytes).unwrap();
        assert!(matches!(next(), Next::Gap(0, _)));
        store(&beginning());
        assert!(matches!(next(), Next::Gap(0, _)));
        for (kind, body) in [(Kind::STOP, &b""[..]), (Kind::ROTATE, b"\x04\0\0\0\0\0\0\0b.000002")] {
            store(&[beginning(), event(kind, 1000, body)].concat());
            assert_eq!(next(), Next::Go(0));
        }
    }
}
