//! Removing from an archive on another node: decided here, done there, as where it is on this host.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fetch::Node;
use super::host::VERB;
use super::{Begin, Wanted};
use crate::binlog::expire::{self, Plan};
use crate::binlog::home::Home;
use crate::binlog::index::is_plain;
use crate::node::Conversation;
use crate::run::events::Silent;

/// So long the removal of any number of files may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How many files went.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Removed {
    files: usize,
}

/// Has the node remove what goes.
///
/// # Errors
/// Where the node can't be asked, or did not remove all of it: the next removal finishes what was begun.
pub(in crate::binlog) fn expire(node: &Node, plan: &Plan) -> anyhow::Result<()> {
    let store = node.connection()?;
    let line = Begin::line(node.destination.path().to_owned(), Wanted::Expire(plan.clone()))?;
    let answer = Conversation::begin(&store, &VERB, &line, &Silent, PATIENCE)?.answer::<Removed>()?;
    answer.left.map_or(Ok(()), Err)
}

/// The node's side of it.
pub(super) fn carry_out(home: PathBuf, plan: &Plan) -> anyhow::Result<Removed> {
    refuse_strange(plan)?;
    expire::execute(&Home::new(home), plan)?;
    Ok(Removed { files: plan.count() })
}

/// Names become paths.
pub(super) fn refuse_strange(plan: &Plan) -> anyhow::Result<()> {
    let names = plan.timelines.iter().flat_map(|one| one.files.iter().chain([&one.id]).chain(&one.first));
    for name in names {
        anyhow::ensure!(is_plain(name), "{name:?} is no name of what is in an archive");
    }
    Ok(())
}
