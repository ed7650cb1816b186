//! `backup`: a snapshot under a short lock, copied, read back, and only then called a backup.
//!
//! The order is the guarantee. The snapshot is judged *after* the last byte was read from it, the
//! manifest is written after that, and its rename is the commit. A snapshot that can't be removed
//! then makes the run's cleanup incomplete, not the backup bad.

use std::time::Instant;

use anyhow::Context as _;

mod freeze;
mod manifest;
mod plan;
mod release;
mod request;
mod ship;

pub use plan::Plan;
pub use request::Request;

use crate::check::{self, Ground};
use crate::fault::{Failure, Fault, Kind};
use crate::recover;
use crate::run::Run;
use crate::run::events::Observer;
use crate::store::Manifest;
use crate::sys::cancel::Cancel;

/// What a backup came to.
#[derive(Debug)]
pub struct Outcome {
    /// The backup, as published.
    pub manifest: Manifest,
    /// Why something of ours is left, where it is; the backup is good all the same.
    pub cleanup: Vec<anyhow::Error>,
}
