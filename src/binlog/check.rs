//! What an archive needs, asked and found; changes nothing.

use super::elsewhere;
use super::index::Index;
use super::known;
use super::origin::Origin;
use super::stream::{Request, refuse_the_servers_own};
use crate::check::Findings;
use crate::store::{LocalStore, Store as _};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

/// Looks whether the archive could be brought up to the server now.
pub fn survey(request: &Request, cancel: &Cancel) -> Findings {
    let mut findings = Findings::default();
    let session = findings.attempt("server", request.server.connect(cancel));
    let origin = session.and_then(|mut session| {
        let facts = session.facts();
        findings.good("server", format!("{} {} in {}", facts.flavour, facts.version, facts.datadir.display()));
        let origin = findings.attempt("binary log", Origin::of(&session, request, cancel))?;
        if let Some(listing) = findings.attempt("binary log", origin.listing(&mut session, cancel)) {
            findings.good("binary log", format!("{} files in {}", listing.files.len(), origin.place().display()));
        }
        Some(origin)
    });
    if let Some((origin, told)) = origin.as_ref().and_then(|origin| Some((origin, origin.told()?)))
        && findings.attempt("binary log", origin.try_tool(request, cancel)).is_some()
    {
        findings.good("binary log", told);
        if let Some(told) = findings.attempt("spool", origin.through(request, cancel)).flatten() {
            findings.good("spool", told);
        }
    }
    destination(request, origin.as_ref(), &mut findings, cancel);
    let missed = known::missed(&request.home).and_then(|missed| missed.map_or(Ok(()), |fault| Err(fault.into())));
    if findings.attempt("archive", missed).is_none() {
        return findings;
    }
    if let Some(index) = findings.attempt("archive", request.home.read_index()) {
        archive(index.as_ref(), origin.as_ref(), &mut findings);
    }
    findings
}

fn destination(request: &Request, origin: Option<&Origin>, findings: &mut Findings, cancel: &Cancel) {
    let path = request.home.path();
    let room = match request.home.node() {
        Some(node) => node.connection().and_then(|store| store.room()),
        None => LocalStore::new(path, cancel).room(),
    };
    let Some(room) = findings.attempt("destination", room) else { return };
    findings.good("destination", format!("{}, {} free", request.home, room.bytes));
    if let Some(node) = request.home.node() {
        if let Some(looked) = findings.attempt("node", elsewhere::look(node)) {
            findings.good("node", format!("mysnap {} is there to write it", looked.mysnap));
        }
        return;
    }
    let Some(origin) = origin else { return };
    if findings.attempt("destination", refuse_the_servers_own(origin, &request.home)).is_none() {
        return;
    }
    let device = |path| LocalStore::new(path, cancel).device().ok().flatten();
    let logs = origin.directory().and_then(device);
    if device(path).is_some_and(|own| logs == Some(own)) {
        let text =
            format!("{} is on the file system of the server's logs: both would be lost together", path.display());
        findings.warn("destination", text, "give the archive a directory on another disk");
    }
}

fn archive(index: Option<&Index>, origin: Option<&Origin>, findings: &mut Findings) {
    let Some((index, timeline)) = index.and_then(|index| Some((index, index.timelines.last()?))) else {
        findings.good("archive", "it holds nothing yet; the first file is the oldest that the server has");
        return;
    };
    let size = index.windows().iter().map(super::Window::size).sum();
    let end = index.windows().last().map(ToString::to_string).unwrap_or_default();
    findings.good("archive", format!("{end}, {} in all, unpacked", Bytes(size)));
    if let Some(origin) = origin.filter(|origin| origin.identity.key != timeline.server.key) {
        let text = format!("it is of the server {}, and this one is {}", timeline.server.key, origin.identity.key);
        findings.warn("archive", text, "the next pass begins a new timeline; what is there stays");
    }
}
