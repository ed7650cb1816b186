//! An archived file while it is read, and what is said where it is not what was archived.
//!
//! Events have checksums where the server writes them, packed files those of their packing; that all of it is what was
//! archived says the digest in the index alone. It is taken of what passes, so that nothing is read twice for it.

use std::io::{self, BufReader, Read};

use crate::binlog::{Home, LogFile, Step, Walker};
use crate::fault::{Fault, Kind, kind_of};
use crate::server::BinlogPosition;
use crate::store::{Hasher, Sha256};

/// At most so much is read at once.
const PIECE: usize = 256 << 10;

/// An archived file, read from its beginning.
pub(super) struct Stored {
    from: BufReader<Digesting>,
}

struct Digesting {
    from: Box<dyn Read + Send>,
    hasher: Hasher,
}

impl Stored {
    /// Opens it.
    pub(super) fn open(home: &Home, timeline: &str, file: &LogFile) -> anyhow::Result<Self> {
        let digesting = Digesting { from: home.read(timeline, file)?, hasher: Hasher::default() };
        Ok(Self { from: BufReader::with_capacity(PIECE, digesting) })
    }

    /// Reads what is left of it; the digest of the whole.
    pub(super) fn digest(mut self) -> io::Result<Sha256> {
        io::copy(&mut self.from, &mut io::sink())?;
        Ok(self.from.into_inner().hasher.finish())
    }
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.read(buffer)
    }
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Goes on to the end of the file; where something on the way is no whole event, and why.
pub(super) fn broken_behind<R: Read>(walker: &mut Walker<R>) -> Option<String> {
    loop {
        return match walker.step() {
            Ok(Step::Event(_)) => continue,
            Ok(Step::End) => None,
            Ok(Step::Torn(at)) => Some(format!("it ends within the event at {at}")),
            Ok(Step::Broken(at, why)) => Some(format!("at {at} {why}")),
            Err(why) => Some(format!("it can't be read: {why}")),
        };
    }
}

/// What is said of a stored `file` that can't be used. `nearest` is where the last transaction ends that is proved
/// whole, `base` the backup that everything is replayed onto.
pub(super) fn damaged(
    file: &str,
    why: impl Into<anyhow::Error>,
    nearest: Option<&BinlogPosition>,
    base: &str,
) -> anyhow::Error {
    let why = why.into();
    let hint = match nearest {
        Some(BinlogPosition { file, offset }) => {
            format!(
                "the nearest earlier point: --until {file}:{offset}; `mysnap binlog verify` names all that is damaged"
            )
        }
        None => format!("nothing behind backup {base} can be had; itself it can: `mysnap restore {base}`"),
    };
    // That a node is away is no damage.
    let kind = kind_of(&why).unwrap_or(Kind::Verify);
    Fault::new(kind, format!("the archived {file} is not what was archived")).caused_by(why).hint(hint).into()
}
