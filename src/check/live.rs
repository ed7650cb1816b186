//! What a dump of the live server needs: no snapshot, but tables that keep a view.

use super::finding::{Findings, Level};
use super::ground::{Covered, Target};
use super::{Request, server, target, tools};
use crate::dump::Selection;
use crate::server::{Facts, LockMode, Reader, Session};
use crate::store::Totals;
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

/// So many names are told; a server may have thousands of tables.
const TOLD: usize = 5;

/// What a dump of the live server stands on.
#[derive(Debug)]
pub struct LiveGround {
    /// What the server says about itself.
    pub facts: Facts,
    /// The lock under which all connections get the same view.
    pub lock: LockMode,
    /// Where the backup goes.
    pub target: Target,
    /// How much there is to read, about.
    pub size: Bytes,
}

/// Looks at everything that a dump of `session`'s server needs. The ground is there unless something
/// refuses.
pub fn survey_live(request: &Request, session: &mut Session, cancel: &Cancel) -> (Option<LiveGround>, Findings) {
    let mut findings = Findings::default();
    tools(request, &mut findings);
    let lock = server(request, session, &mut findings);
    let reader = findings.attempt("server", session.reader());
    let size = reader.and_then(|mut reader| tables(&mut reader, &request.dump.selection, &mut findings));
    let source = Totals { bytes: size.unwrap_or_default().0, ..Totals::default() };
    let facts = session.facts();
    let target = target::look_at(request, facts, &Covered::default(), source, cancel, &mut findings);
    let ground = match (lock, target, size) {
        (Some(lock), Some(target), Some(size)) if findings.worst() < Level::Refusal => {
            Some(LiveGround { facts: facts.clone(), lock, target, size })
        }
        _ => None,
    };
    (ground, findings)
}

/// How much the tables hold. One without transactions changes while it is read.
fn tables(reader: &mut Reader, selection: &Selection, findings: &mut Findings) -> Option<Bytes> {
    for privilege in findings.attempt("privileges", reader.missing_privileges()).unwrap_or_default() {
        let text = format!("the account lacks {privilege} on *.*: what it can't see would be missing from a dump");
        findings.misconfigured(
            "privileges",
            text,
            format!("GRANT {privilege} ON *.* to it, by itself and not by a role"),
        );
    }
    let all = findings.attempt("tables", reader.sizes())?;
    let (chosen, changing): (Vec<_>, Vec<_>) = {
        let chosen = all.into_iter().filter(|each| selection.has(&each.table.schema, &each.table.name));
        chosen.partition(|each| each.keeps_a_view)
    };
    if !changing.is_empty() {
        let mut names: Vec<String> =
            changing.iter().take(TOLD).map(|each| format!("{} ({})", each.table, each.engine)).collect();
        if changing.len() > TOLD {
            names.push(format!("{} more", changing.len() - TOLD));
        }
        findings.refuse(
            "tables",
            format!("these tables change while they are read: {}", names.join(", ")),
            "leave them out with exclude, ALTER TABLE … ENGINE=InnoDB, or dump from a snapshot",
        );
    }
    findings.attempt("tables", is_there(reader, selection))?;
    let size = Bytes(chosen.iter().map(|each| each.bytes).sum());
    findings.good("tables", format!("{} tables, about {size}", chosen.len()));
    Some(size)
}

/// An error where the selection means what the server does not have.
fn is_there(reader: &mut Reader, selection: &Selection) -> anyhow::Result<()> {
    let (databases, names) = (reader.databases()?, reader.names()?);
    let databases: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
    let names: Vec<(&str, &str)> = names.iter().map(|name| (name.schema.as_str(), name.name.as_str())).collect();
    Ok(selection.require_some(&databases, &names)?)
}
