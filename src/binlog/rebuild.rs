//! The index, made again from the files: their names and events say nearly all of it.

use jiff::Timestamp;

use super::event::Format;
use super::home::{Home, OPEN, between, cut_short, examine, names, open_summary};
use super::index::{Identity, Index, LogFile, State, Timeline};
use super::source::number;
use super::summary::Summary;
use crate::dump::Compression;
use crate::server::Flavour;

impl Home {
    /// What the files themselves say, where the index is lost. Their digests are then those of what is there now.
    pub fn rebuild(&self) -> anyhow::Result<Index> {
        let mut index = Index::empty();
        for id in names(self.path())?.into_iter().filter(|id| self.timeline(id).is_dir()) {
            let Some((_, key)) = id.split_once('-') else { continue };
            // What follows a point is the number of a second one in a second.
            let key = key.split('.').next().unwrap_or(key);
            let mut timeline = Timeline {
                id: id.clone(),
                server: Identity { key: key.to_owned(), flavour: Flavour::MySql, server_id: 0 },
                because: None,
                files: Vec::new(),
            };
            self.rebuild_timeline(&mut timeline)?;
            if !timeline.files.is_empty() {
                index.timelines.push(timeline);
            }
        }
        // Names tell when a server began its log, and not when the archive began to follow it: a replica that was promoted
        // has logs of long before.
        index.timelines.sort_by_key(followed);
        for timeline in index.timelines.iter_mut().skip(1) {
            timeline.because = Some("the index was rebuilt from the files".to_owned());
        }
        self.expired().prune(&mut index);
        Ok(index)
    }

    fn rebuild_timeline(&self, timeline: &mut Timeline) -> anyhow::Result<()> {
        let stored = names(&self.timeline(&timeline.id))?;
        let mut found: Vec<(String, Option<Compression>)> =
            stored.iter().filter_map(|name| kind_of_file(name)).collect();
        // Packed before open, where a closing was cut short; then by number.
        found.sort_by_key(|(name, packed)| (number(name).map(|(_, number)| number), packed.is_none()));
        found.dedup_by(|next, first| next.0 == first.0);
        // A gap behind it is in the lost index alone.
        let mut may_lack = false;
        for (name, packed) in found {
            let mut file = LogFile::opened(&name, packed.unwrap_or_default());
            file.state = if packed.is_some() { State::Closed } else { State::Open };
            let summary = self.rebuild_file(&timeline.id, &mut file)?;
            if let Some(format) = &summary.format {
                timeline.server.flavour = if format.is_mariadb() { Flavour::MariaDb } else { Flavour::MySql };
                timeline.server.server_id = summary.server_id;
            }
            if let Some(last) = timeline.files.last() {
                let unsure = || may_lack.then(|| format!("{} has no mark of its end", last.name));
                file.gap = between(last, &file).or_else(unsure);
                file.previous = file.gap.is_none().then(|| last.name.clone());
            }
            may_lack = lacks_all_marks(&summary);
            timeline.files.push(file);
        }
        Ok(())
    }

    /// Describes `file` by what is in it.
    fn rebuild_file(&self, timeline: &str, file: &mut LogFile) -> anyhow::Result<Summary> {
        if file.state == State::Open {
            let summary = open_summary(self, timeline, file)?;
            file.describe(&summary);
            return Ok(summary);
        }
        match self.read(timeline, file).and_then(examine) {
            Ok((summary, digest, in_use)) => {
                file.describe(&summary);
                file.sha256 = Some(digest);
                file.damage = cut_short(&summary, in_use).or_else(|| summary.lost());
                Ok(summary)
            }
            Err(error) => {
                (file.state, file.damage) = (State::Damaged, Some(format!("as it is stored, {error:#}")));
                Ok(Summary::default())
            }
        }
    }
}

/// How late the archive followed a timeline, among others: the last one alone has a file to which the server may write.
fn followed(timeline: &Timeline) -> (bool, Option<Timestamp>) {
    let is_open = timeline.files.iter().any(|file| file.state == State::Open);
    (is_open, timeline.files.iter().filter_map(|file| file.last_event).max())
}

/// The server's name for a stored file, and how it is packed where it is closed.
pub(super) fn kind_of_file(stored: &str) -> Option<(String, Option<Compression>)> {
    let all = [Compression::Zstd, Compression::Gzip, Compression::None];
    let packed = all.into_iter().filter_map(|c| Some((stored.strip_suffix(c.ending())?, Some(c))));
    let open = stored.strip_suffix(OPEN).map(|name| (name, None));
    let (name, packed) = open.into_iter().chain(packed).find(|(name, _)| number(name).is_some())?;
    Some((name.to_owned(), packed))
}

/// Whether neither an end nor GTIDs tell that the next file goes on where this one ends. After a crash MariaDB's
/// in-use flag does ([`cut_short`]).
fn lacks_all_marks(summary: &Summary) -> bool {
    let is_mariadb = summary.format.as_ref().is_some_and(Format::is_mariadb);
    !is_mariadb && !summary.has_ended() && summary.named.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::event::Kind as Event;
    use super::super::summary::tests::{beginning, event};
    use super::*;
    use crate::sys::durable;

    #[test]
    fn a_rebuilt_index_has_a_gap_where_nothing_tells_that_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        std::fs::create_dir(home.timeline("1-a")).unwrap();
        let rebuilt = |ending: &[u8]| {
            for (name, end) in [("b.000001", ending), ("b.000002", b"")] {
                let path = home.closed_path("1-a", name, Compression::None);
                durable::write(&path, &[&beginning()[..], end].concat()).unwrap();
            }
            home.rebuild().unwrap().timelines.remove(0).files.remove(1)
        };
        assert!(rebuilt(b"").gap.unwrap().contains("b.000001 has no mark of its end"));
        assert_eq!(rebuilt(&event(Event::STOP, 1000, b"")).gap, None);
        let lost = rebuilt(&[event(Event::INCIDENT, 1000, &[1, 0, 0]), event(Event::STOP, 1000, b"")].concat());
        assert!(lost.gap.unwrap().contains("lost events"));
    }

    #[test]
    fn rebuilt_timelines_are_in_the_order_in_which_the_archive_followed_them() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let store = |path: &std::path::Path, ends: u32| {
            durable::write(path, &[beginning(), event(Event::STOP, ends, b"")].concat()).unwrap();
        };
        let order = || {
            let timelines = home.rebuild().unwrap().timelines;
            let told = |timeline: &Timeline| (timeline.id.clone(), timeline.because.is_some());
            timelines.iter().map(told).collect::<Vec<_>>()
        };
        // Whoever took the first one's place began its log before that did.
        for (id, ends) in [("1-promoted", 3000), ("2-first", 2000), ("3-second", 2500)] {
            std::fs::create_dir(home.timeline(id)).unwrap();
            store(&home.closed_path(id, "b.000001", Compression::None), ends);
        }
        let of = |ids: [&str; 3]| [(ids[0].to_owned(), false), (ids[1].to_owned(), true), (ids[2].to_owned(), true)];
        assert_eq!(order(), of(["2-first", "3-second", "1-promoted"]));
        // Its clock may go wrong.
        store(&home.open_path("2-first", "b.000002"), 1000);
        assert_eq!(order(), of(["3-second", "1-promoted", "2-first"]));
    }
}
