//! Events by what they did, each with the place just before its transaction: where a replay has to stop.

use jiff::Timestamp;
use serde::Serialize;

use super::gtid::{Gtid, GtidSet};
use super::home::Home;
use super::index::{Index, LogFile, State};
use super::reading::{Found, Matched, NOT_LOOKED_INTO, Reading};
use super::summary::{Stop, Summary};
use crate::fault::{Fault, Kind};
use crate::sys::cancel::Cancel;

/// What is looked for: all that is given must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// A table, and its database where that matters.
    pub table: Option<(Option<String>, String)>,
    /// First words of statements, one of which must fit; rows are `insert`, `update` and `delete`.
    pub kinds: Vec<String>,
    /// A part of the statement, whatever its case.
    pub text: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Not after this one.
    pub until: Option<Timestamp>,
    /// In this transaction.
    pub gtid: Option<Gtid>,
}

/// What was found, and in which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// The timeline.
    pub timeline: String,
    /// The file.
    pub file: String,
    /// What.
    #[serde(flatten)]
    pub found: Found,
}

/// Hands everything in the archive that fits `query` to `each`, oldest first, until that has enough.
///
/// # Errors
/// Where a file can't be read to its end.
pub fn find(
    home: &Home,
    index: &Index,
    query: &Query,
    each: &mut dyn FnMut(Hit) -> bool,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    for timeline in &index.timelines {
        for file in timeline.files.iter().filter(|file| query.may_be_in(file)) {
            cancel.check()?;
            let mut reading = Reading::default();
            let from = match home.read(&timeline.id, file) {
                // Nothing was copied of it yet.
                Err(_) if file.size == 0 => None,
                from => Some(from?),
            };
            if let Some(from) = from {
                let (_, stop) = Summary::walk(from, |event| reading.add(event))?;
                // Of an open file the last event may be half there.
                let whole = stop == Stop::End || file.state == State::Open && matches!(stop, Stop::Torn(_));
                if !whole {
                    return Err(unreadable(&timeline.id, file, &stop));
                }
            }
            for found in reading.finish().into_iter().filter(|found| query.fits(found)) {
                let hit = Hit { timeline: timeline.id.clone(), file: file.name.clone(), found: found.0 };
                if !each(hit) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn unreadable(timeline: &str, file: &LogFile, stop: &Stop) -> anyhow::Error {
    let what = match stop {
        Stop::Broken(at, why) => format!("at {at} {why}"),
        Stop::Torn(at) => format!("it ends within the event at {at}"),
        Stop::End => String::new(),
    };
    let fault = Fault::new(Kind::Verify, format!("the archived {timeline}/{} can't be read: {what}", file.name));
    fault.hint("`mysnap binlog verify` tells of all that is damaged").into()
}

impl Query {
    /// Whether `file` needs to be read; what the index says of an open one may be old.
    fn may_be_in(&self, file: &LogFile) -> bool {
        let early = self.since.zip(file.last_event).is_some_and(|(since, last)| last < since);
        let late = self.until.zip(file.first_event).is_some_and(|(until, first)| first > until);
        let named = |text: &Option<String>, gtid: &Gtid| {
            let set = text.as_deref().and_then(|text| text.parse::<GtidSet>().ok())?;
            Some(set.has_all(&GtidSet::from(gtid)))
        };
        let elsewhere = self.gtid.as_ref().is_some_and(|gtid| {
            named(&file.gtids_before, gtid) == Some(true) || named(&file.gtids_after, gtid) == Some(false)
        });
        file.state == State::Open || !(early || late || elsewhere)
    }

    fn fits(&self, found: &Matched) -> bool {
        let Matched(found, statement) = found;
        let has = |text: &Option<String>, part: &str| {
            text.as_ref().is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
        };
        let unread = found.kind == NOT_LOOKED_INTO;
        let is_table = |(database, table): &(Option<String>, String)| match (&found.table, statement) {
            (Some(own), _) => {
                own.eq_ignore_ascii_case(table)
                    && database.as_ref().is_none_or(|d| d.eq_ignore_ascii_case(&found.database))
            }
            (None, Some(statement)) => {
                statement.names(database.as_deref(), table)
                    || database.as_ref().is_some_and(|d| statement.drops_database(d))
            }
            (None, None) => false,
        };
        let is_kind = || self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&found.kind));
        let is_what = || {
            self.table.as_ref().is_none_or(is_table)
                && is_kind()
                && self.text.as_ref().is_none_or(|part| has(&found.statement, part))
        };
        // What is looked for may be in there.
        (unread || is_what())
            && self.since.is_none_or(|since| found.time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| found.time.is_some_and(|time| time <= until))
            && self.gtid.as_ref().is_none_or(|gtid| found.gtid.as_ref() == Some(&gtid.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::{deleted, gtid, map, query, read};
    use super::*;

    #[test]
    fn a_query_wants_all_that_it_says() {
        let (found, _) =
            read(&[gtid(1), query(b"BEGIN"), map(), deleted(3), query(b"COMMIT"), query(b"DROP DATABASE shop")]);
        let fits = |query: &Query| found.iter().filter(|found| query.fits(found)).count();
        let table = |database: Option<&str>, table: &str| Query {
            table: Some((database.map(str::to_owned), table.to_owned())),
            ..Query::default()
        };
        assert_eq!(fits(&Query::default()), 2);
        assert_eq!(
            (fits(&table(None, "T")), fits(&table(Some("shop"), "t")), fits(&table(Some("crm"), "t"))),
            (1, 2, 0)
        );
        assert_eq!(fits(&Query { kinds: vec!["drop".into()], ..table(Some("shop"), "t") }), 1);
        assert_eq!(fits(&Query { text: Some("database SHOP".into()), ..Query::default() }), 1);
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert_eq!(fits(&Query { since: at(2000), until: at(2000), ..Query::default() }), 2);
        assert_eq!(fits(&Query { since: at(2001), ..Query::default() }), 0);
    }
}
