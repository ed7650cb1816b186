//! Whether the node could do its part, where the job gives it one.

use anyhow::Context as _;

use super::ground::{Covered, Target};
use super::target::with_margin;
use super::{Findings, Request};
use crate::fault::{Fault, Kind};
use crate::node::{self, Survey};
use crate::server::Facts;
use crate::store::{Method, Totals};
use crate::sys::units::Bytes;

/// What the node would get to do, and where.
pub(super) struct Part<'a> {
    pub(super) request: &'a Request,
    pub(super) facts: &'a Facts,
    pub(super) covered: &'a Covered,
    pub(super) source: Totals,
    pub(super) target: &'a Target,
}

pub(super) fn look_at(part: &Part<'_>, findings: &mut Findings) {
    if part.request.asks_the_node() {
        let asked = ask(part, findings);
        if let Some(text) = findings.attempt("node", asked) {
            findings.good("node", text);
        }
    }
}

fn ask(part: &Part<'_>, findings: &mut Findings) -> anyhow::Result<String> {
    let Part { request, facts, covered, source, target } = *part;
    let node = target.store.node().context("the destination is not on a node")?;
    let survey = Survey {
        facts: facts.clone(),
        places: covered.roots.iter().map(|root| (root.live.clone(), root.live.is_file())).collect(),
        scratch: request.node_scratch.clone(),
        destination: request.to.path().to_owned(),
        on_stored: request.method == Method::Copy,
    };
    let found = node::survey(node, survey)?;
    let (host, scratch) = (node.host(), request.node_scratch.display());
    let Bytes(needed) = with_margin(source.bytes);
    let (needed, besides) = if found.is_shared { (2 * needed, ", the backup included") } else { (needed, "") };
    let (needed, free) = (Bytes(needed), found.room.bytes);
    if free < needed {
        let message = format!("{scratch} on {host} has {free} free, a second server there may need {needed}{besides}");
        return Err(Fault::new(Kind::Refused, message)
            .hint("name a directory with more room with node_scratch")
            .into());
    }
    if found.version != facts.version {
        findings.warn(
            "node",
            format!("{host} has {}, the live server is {} {}", found.server, facts.flavour, facts.version),
            "install the same release on both: another one may not take the files, and would call a good copy bad",
        );
    }
    let server = &found.server;
    Ok(format!("{host} has {server}; {free} free in {scratch}, it needs at most about {needed}{besides}"))
}
