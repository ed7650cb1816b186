//! An archive that ends at a closed file: everything that the server had logged at a moment, and no more to come in it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;

use super::index::{Identity, Index, LogFile, State, Timeline};
use super::origin::{Listing, Origin};
use super::stream::{Request, ship};
use crate::fault::{Fault, Kind, kind_of};
use crate::run::events::Observer;
use crate::server::BinlogPosition;
use crate::sys::cancel::Cancel;
use crate::sys::clock;

/// So long a stream at work, or another pass, may take to close a file that the server has closed.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// What an archive holds up to a moment.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The index as it was then.
    pub index: Index,
    /// The moment: everything that was logged before it is archived.
    pub at: Timestamp,
    /// The server whose log it is.
    pub server: Identity,
}

impl Closed {
    /// The newest history, which is that of the server.
    pub fn timeline(&self) -> anyhow::Result<&Timeline> {
        self.index.timelines.last().context("the archive has no timeline")
    }

    /// The end of the newest file that the server has closed.
    pub fn end(&self) -> anyhow::Result<&LogFile> {
        let files = self.timeline()?.files.iter().rev();
        files.into_iter().find(|file| file.state == State::Closed).context("the archive has no closed file")
    }
}

impl LogFile {
    /// The place behind its last event.
    pub fn end(&self) -> BinlogPosition {
        BinlogPosition { file: self.name.clone(), offset: self.size }
    }
}

/// Lets the server begin a new file, and sees that the archive has all of the one before it: by a pass of its own, or
/// where a stream is at work by that. Gaps that were not known before are told, and are in the index.
///
/// # Errors
/// `Gap` where that file did not come into the archive whole; `Busy` where a stream has not got to it within a minute.
pub fn close_off(request: &Request, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Closed> {
    let mut session = request.server.connect(cancel)?;
    let origin = Origin::of(&session, request, cancel)?;
    let last = origin.listing(&mut session, cancel)?.files.pop().context("the server lists no binary log")?;
    let at = clock::now();
    session.rotate_binary_log()?;
    let listing = origin.listing(&mut session, cancel)?;
    drop(session);
    let began = Instant::now();
    loop {
        let passed = match ship(request, false, observer, cancel) {
            Err(error) if kind_of(&error) == Some(Kind::Busy) => false,
            Err(error) if kind_of(&error) == Some(Kind::Gap) => {
                observer.warn(format!("{error:#}"));
                true
            }
            shipped => shipped.map(|_| true)?,
        };
        if let Some(index) = request.home.read_index()?
            && has_all_of(&index, &last.name, (&origin, &listing))?
        {
            return Ok(Closed { index, at, server: origin.identity });
        }
        if passed {
            let message = format!("the archive does not have all of {}, which the server has closed", last.name);
            return Err(Fault::new(Kind::Gap, message).hint("`mysnap binlog list` tells why").into());
        }
        if began.elapsed() > PATIENCE {
            let message =
                format!("whoever writes the archive {} does not get to {}", request.home.path().display(), last.name);
            let hint = "look at the log of `binlog stream`: is its destination full or away?";
            return Err(Fault::new(Kind::Busy, message).hint(hint).into());
        }
        cancel.sleep(PAUSE)?;
    }
}

/// Whether the newest timeline has all of the server's closed file `name`: the one of that name may be one from before a
/// reset that a stream has not noticed yet.
fn has_all_of(index: &Index, name: &str, (origin, listing): (&Origin, &Listing)) -> anyhow::Result<bool> {
    let file = index.timelines.last().and_then(|timeline| timeline.file(name));
    let Some(file) = file.filter(|file| file.state == State::Closed) else { return Ok(false) };
    origin.is_all_of(listing, file)
}
