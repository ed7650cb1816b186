//! A dump from a server on the files, which proves them first.

use std::path::Path;

use super::{Subject, examine_and};
use crate::dump::{self, Dumped, Options, Readers};
use crate::instance::{self, Instance};
use crate::run::events::Observer;
use crate::store::{Shown, Staging};
use crate::sys::cancel::Cancel;

/// What is dumped, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Dumping<'a> {
    /// What, and how.
    pub options: &'a Options,
    /// Where to.
    pub staging: &'a Staging<'a>,
}

/// Does what [`super::examine`] does, and dumps from that server before it is stopped.
pub fn dump(
    subject: Subject<'_>,
    own: &Path,
    to: &Dumping<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(Shown, Dumped)> {
    examine_and(subject, own, observer, cancel, |instance: &mut Instance| {
        let open = || instance.reader(subject.facts);
        let readers = Readers::gather(to.options.workers, Some(instance::ACCOUNT), open)?;
        let work = || dump::dump(readers, to.options, subject.taken, to.staging, observer, cancel);
        observer.phase("dump", work, Dumped::summary)
    })
}
