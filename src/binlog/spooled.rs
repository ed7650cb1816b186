//! Files of a spool: how they grow and how they end.

use std::cell::Cell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::event::{Format, IN_USE, IN_USE_AT};
use super::logs::Log;
use super::source::Listed;
use super::summary::Summary;
use super::tool::Tool;
use super::walk::WITHHELD;
use crate::fault::{Fault, Kind};
use crate::store::Sha256;

/// For so long a tool that has something to give may give nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked how far the tool is ahead of a file that is read.
const LOOKS: Duration = Duration::from_secs(1);

/// How a file grows that the tool writes.
pub(super) struct Progress<'a> {
    path: &'a Path,
    length: u64,
    since: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn of(path: &'a Path) -> Self {
        Self { path, length: 0, since: Instant::now() }
    }

    pub(super) fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len())
    }

    /// An error where it has not grown for too long.
    pub(super) fn look(&mut self, tool: &Tool, name: &str) -> anyhow::Result<()> {
        let length = self.length();
        if length != self.length {
            (self.length, self.since) = (length, Instant::now());
        } else if self.since.elapsed() > PATIENCE {
            let message = format!("{} gives no more of {name} behind {length}", tool.name);
            return Err(Fault::new(Kind::Refused, message).hint("is the network cut, or does the server hang?").into());
        }
        Ok(())
    }
}

/// The server's file goes on, with what is no event.
pub(super) fn tear(path: &Path) -> anyhow::Result<()> {
    let mut file =
        OpenOptions::new().append(true).open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(file.write_all(&[0])?)
}

/// The server's file goes on with what the server does not send. It may have sent nothing.
pub(super) fn withhold(path: &Path) -> anyhow::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
    Ok(file.write_all(&WITHHELD)?)
}

/// The server takes the in-use flag away when it sends a file. After a crash MariaDB's own file has it for ever: so has
/// every file that it has closed and that does not say how it ends.
pub(super) fn give_back_in_use(path: &Path) -> anyhow::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file: File = file.with_context(|| format!("cannot open {}", path.display()))?;
    let (summary, _) = Summary::walk(BufReader::with_capacity(256 << 10, &file), |_| {})?;
    if summary.has_ended() || !summary.format.as_ref().is_some_and(Format::is_mariadb) {
        return Ok(());
    }
    let mut flags = [0];
    file.read_exact_at(&mut flags, IN_USE_AT)?;
    Ok(file.write_all_at(&flags.map(|flags| flags | IN_USE), IN_USE_AT)?)
}

/// What may get too far ahead of the archive.
pub(super) trait Ahead: fmt::Debug {
    /// Ends it where it is.
    fn hold_back(&self) -> anyhow::Result<()>;
}

/// A file that is here. The tool goes on while it is read, which may take long: it is seen to that it does not get too
/// far ahead meanwhile.
#[derive(Debug)]
pub(super) struct Spooled {
    file: File,
    ahead: Weak<dyn Ahead>,
    looked: Cell<Instant>,
}

impl Spooled {
    pub(super) fn new(file: File, ahead: &Rc<dyn Ahead>) -> Self {
        Self { file, ahead: Rc::downgrade(ahead), looked: Cell::new(Instant::now()) }
    }
}

impl Log for Spooled {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if self.looked.get().elapsed() >= LOOKS {
            self.looked.set(Instant::now());
            if let Some(ahead) = self.ahead.upgrade() {
                ahead.hold_back().map_err(io::Error::other)?;
            }
        }
        Log::read(&self.file, buffer, at)
    }

    fn still(&self, listed: &Listed) -> anyhow::Result<Option<u64>> {
        self.file.still(listed)
    }

    fn length(&self) -> anyhow::Result<u64> {
        self.file.length()
    }

    fn digest(&self, length: u64, in_use: bool) -> anyhow::Result<Sha256> {
        self.file.digest(length, in_use)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Kind;
    use super::super::summary::tests::{beginning, event};
    use super::*;

    #[derive(Debug, Default)]
    struct Counted(Cell<u32>);

    impl Ahead for Counted {
        fn hold_back(&self) -> anyhow::Result<()> {
            self.0.set(self.0.get() + 1);
            anyhow::ensure!(self.0.get() < 2, "the server is gone");
            Ok(())
        }
    }

    #[test]
    fn while_a_file_is_read_the_tool_gets_no_further_than_it_may() {
        let (file, counted) = (tempfile::NamedTempFile::new().unwrap(), Rc::new(Counted::default()));
        file.as_file().write_all(b"abc").unwrap();
        let ahead: Rc<dyn Ahead> = Rc::clone(&counted) as _;
        let spooled = Spooled::new(file.reopen().unwrap(), &ahead);
        let long_ago = || spooled.looked.set(Instant::now().checked_sub(2 * LOOKS).unwrap());
        let mut buffer = [0; 3];
        long_ago();
        for _ in 0..2 {
            assert_eq!((spooled.read(&mut buffer, 0).unwrap(), &buffer), (3, b"abc"));
        }
        assert_eq!(counted.0.get(), 1);
        long_ago();
        assert!(spooled.read(&mut buffer, 0).unwrap_err().to_string().contains("the server is gone"));
    }

    #[test]
    fn a_file_of_mysql_that_a_crash_ended_stays_as_it_was_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sent = [beginning(), event(Kind::QUERY, 1000, &[0; 20])].concat();
        file.as_file().write_all(&sent).unwrap();
        give_back_in_use(file.path()).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), sent);
        tear(file.path()).unwrap();
        let (summary, stop) = Summary::walk(File::open(file.path()).unwrap(), |_| {}).unwrap();
        assert_eq!((summary.end, stop), (sent.len() as u64, super::super::summary::Stop::Torn(sent.len() as u64)));
    }
}
