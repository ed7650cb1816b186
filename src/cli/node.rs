//! `node`: what a database host asks of the node that keeps its backups.

use std::io::BufReader;

use super::Context;
use crate::fault::{Fault, Kind};
use crate::node::{self, Served};
use crate::sys::talk::Starter;

pub(super) fn node(context: &Context<'_>) -> anyhow::Result<()> {
    let starter = Starter::listen(BufReader::new(std::io::stdin()), context.cancel)?;
    let Served { value, left } = node::serve(&starter, context.output, context.cancel)?;
    context.output.result_event(&value)?;
    let Some(left) = left else { return Ok(()) };
    let fault = Fault::new(Kind::CleanupPending, "it was done, but something of it is left");
    Err(fault.hint("`mysnap recover` there removes it").caused_by(left).into())
}
