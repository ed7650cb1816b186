//! What is asked of the node.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dump::Options;
use crate::fault::{Fault, Kind};
use crate::id::{JobName, RunId};
use crate::instance::Part;
use crate::proof::Subject;
use crate::server::{Facts, Position};
use crate::store::{ProofLevel, Root, Slot, State};

/// Both sides must have the same; it changes with what is said.
const PROTOCOL: u32 = 2;

/// The release that we are.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The first line of a talk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    protocol: u32,
    mysnap: String,
    wanted: Wanted,
}

/// What every release sends.
#[derive(Debug, Deserialize)]
struct Greeting {
    protocol: u32,
    mysnap: String,
}

/// What the node is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    /// To look whether it could.
    Survey(Survey),
    /// To prove what is stored.
    Prove(Task),
    /// To dump what is brought to it, to where the backup is made.
    Dump(Task, Options),
}

/// What a second server on the node would need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Survey {
    /// The live server.
    pub facts: Facts,
    /// Where its parts are, and whether each is a single file.
    pub places: Vec<(PathBuf, bool)>,
    /// Where the second server may write.
    pub scratch: PathBuf,
    /// The directory of the destination.
    pub destination: PathBuf,
    /// Whether it works on stored files, which it may not change.
    pub on_stored: bool,
}

/// A backup that is being made, and what a server on its files is held against.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The job.
    pub job: JobName,
    /// The run of the database host, which made the unfinished directory and publishes it.
    pub id: RunId,
    /// The directory of the destination.
    pub destination: PathBuf,
    /// Where the second server may write.
    pub scratch: PathBuf,
    /// The parts of the data.
    pub roots: Vec<Root>,
    /// The live server.
    pub facts: Facts,
    /// Where it stood.
    pub position: Position,
    /// The moment that the data is of.
    pub taken: Timestamp,
    /// Whether a server was started on the files before.
    pub prepared: bool,
    /// How closely to look.
    pub level: ProofLevel,
    /// What must be answered with "true".
    pub queries: Vec<String>,
    /// How long the server may take to recover and to answer.
    pub patience: Duration,
}

impl Request {
    /// The line that asks for `wanted`.
    pub(super) fn line(wanted: Wanted) -> anyhow::Result<String> {
        let request = Self { protocol: PROTOCOL, mysnap: RELEASE.to_owned(), wanted };
        serde_json::to_string(&request).context("cannot write a request as JSON")
    }

    /// What `line` asks for; refuses what another release might mean otherwise.
    pub(super) fn wanted(line: &str) -> anyhow::Result<Wanted> {
        refuse_another(line, PROTOCOL)?;
        let request: Self = serde_json::from_str(line).context("the request lacks something")?;
        Ok(request.wanted)
    }
}

/// An error where `line` begins a talk in another protocol than `own`.
pub(crate) fn refuse_another(line: &str, own: u32) -> anyhow::Result<()> {
    let Greeting { protocol, mysnap } = serde_json::from_str(line).context("this is no request of mysnap")?;
    if protocol == own {
        return Ok(());
    }
    let message = format!("this is mysnap {RELEASE}, which does not understand mysnap {mysnap}");
    Err(Fault::new(Kind::Refused, message).hint("install the same release of mysnap on both").into())
}

impl Task {
    /// Where the backup is being made.
    pub(super) fn slot(&self) -> Slot {
        Slot::finished(&self.job, &self.id).with(State::Unfinished)
    }

    /// The same with the files at hand.
    pub(super) fn subject<'a>(&'a self, parts: &'a [Part]) -> Subject<'a> {
        Subject {
            facts: &self.facts,
            position: &self.position,
            taken: self.taken,
            parts,
            prepared: self.prepared,
            level: self.level,
            queries: &self.queries,
            patience: self.patience,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;
    use crate::store::Manifest;

    #[test]
    fn a_request_is_understood_by_the_same_protocol_alone() {
        let facts = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap().server;
        let survey = Survey {
            facts: facts.clone(),
            places: vec![("/var/lib/mysql".into(), false)],
            scratch: "/var/tmp".into(),
            destination: "/srv/backup".into(),
            on_stored: true,
        };
        let line = Request::line(Wanted::Survey(survey)).unwrap();
        assert!(!line.contains('\n'));
        let Wanted::Survey(read) = Request::wanted(&line).unwrap() else { panic!("{line}") };
        assert_eq!((read.facts, read.on_stored), (facts, true));

        let other = r#"{"protocol": 99, "mysnap": "7.0", "wanted": {"fly": {}}}"#;
        let error = Request::wanted(other).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Refused));
        assert!(error.to_string().contains("mysnap 7.0"), "{error:#}");
        for nothing in ["", "[]", "{}", r#"{"protocol": 1, "mysnap": "0.1.0"}"#] {
            assert!(Request::wanted(nothing).is_err(), "{nothing}");
        }
    }
}
