//! Whether a second server could work on this node; changes nothing.

use serde::{Deserialize, Serialize};

use super::request::Survey;
use crate::fault::{Fault, Kind};
use crate::instance::{self, installed, overlay};
use crate::recover;
use crate::server::Version;
use crate::store::{LocalStore, Room, Store};
use crate::sys::cancel::Cancel;

/// What a second server finds on the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// The server, by its family and release.
    pub server: String,
    /// Its release.
    pub version: Version,
    /// The room where it may write.
    pub room: Room,
    /// Whether that is the room of the destination.
    pub is_shared: bool,
}

pub(super) const SCRATCH: &str = "name another directory with node_scratch";

/// Looks; what is missing is an error with what to install or to make.
pub(super) fn look(survey: &Survey, cancel: &Cancel) -> anyhow::Result<Found> {
    let Survey { facts, scratch, destination, .. } = survey;
    if let Some(tool) = instance::missing_tool() {
        let fault = Fault::new(Kind::Refused, format!("{tool} is not installed"));
        return Err(fault.hint("install util-linux and coreutils").into());
    }
    let (_, server) = installed::fitting(facts, &format!("install {} {}", facts.flavour, facts.version))?;
    recover::refuse_unreachable(scratch, SCRATCH)?;
    survey.places.iter().try_for_each(|(path, is_file)| instance::require_place(path, *is_file))?;
    if survey.on_stored {
        overlay::require()?;
    }
    let [scratch, destination] = [scratch, destination].map(|path| LocalStore::new(path, cancel));
    Ok(Found {
        server: server.to_string(),
        version: server.version,
        room: scratch.room()?,
        is_shared: scratch.device()? == destination.device()?,
    })
}
