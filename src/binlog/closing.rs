//! A file to which nobody writes any more: compared with the server's, packed, read back.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::event::{IN_USE, IN_USE_AT};
use super::home::{cannot, unpacked};
use super::logs::{Log, is_in_use};
use crate::dump::Compression;
use crate::fault::{Fault, Kind};
use crate::store::{Hasher, Sha256};
use crate::sys::durable;
use crate::sys::failpoint::pass;

/// Packs the stored file at `open` into `closed`, and proves that it is what the server has: its digest.
///
/// # Errors
/// Where the stored file differs from the server's, `from`, or is not what was packed when it is read back.
pub(super) fn close(
    open: &Path,
    closed: &Path,
    compression: Compression,
    from: Option<&dyn Log>,
) -> anyhow::Result<Sha256> {
    let stored = File::open(open).with_context(|| format!("cannot open {}", open.display()))?;
    let length = stored.metadata()?.len();
    let in_use = is_in_use(&stored)?;
    let digest = pack(&stored, closed, compression)?;
    if let Some(from) = from
        && from.digest(length, in_use)? != digest
    {
        return Err(differs(open, "differs from the server's file"));
    }
    let again =
        digest_of(unpacked(closed, compression)?).with_context(|| format!("cannot read back {}", closed.display()))?;
    if again != digest {
        return Err(differs(closed, "is not what was written"));
    }
    Ok(digest)
}

fn differs(path: &Path, how: &str) -> anyhow::Error {
    let fault = Fault::new(Kind::Verify, format!("{} {how}", path.display()));
    fault.hint("look at the destination's disk; remove the file, and the next run copies it again").into()
}

/// Writes the packed file, durably and all at once.
fn pack(stored: &File, closed: &Path, compression: Compression) -> anyhow::Result<Sha256> {
    let directory = closed.parent().context("a stored file has a directory")?;
    let mut temporary = tempfile::Builder::new()
        .prefix(&durable::unfinished_name(closed))
        .tempfile_in(directory)
        .map_err(|error| cannot("create a file in", directory, error))?;
    let mut from =
        Hashing { from: Flagged { from: stored, at: 0, in_use: is_in_use(stored)? }, hasher: Hasher::default() };
    compress(&mut from, temporary.as_file_mut(), compression)
        .and_then(|()| pass(|| "sync packed".to_owned()))
        .and_then(|()| temporary.as_file().sync_all())
        .map_err(|error| cannot("write", closed, error))?;
    temporary
        .persist(closed)
        .map_err(|error| error.error)
        .with_context(|| format!("cannot rename onto {}", closed.display()))?;
    durable::sync_directory(directory)?;
    Ok(from.hasher.finish())
}

fn compress(from: &mut impl Read, to: &mut File, compression: Compression) -> io::Result<()> {
    match compression {
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(to, 3)?;
            encoder.include_checksum(true)?;
            io::copy(from, &mut encoder)?;
            encoder.finish()?;
        }
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::default());
            io::copy(from, &mut encoder)?;
            encoder.finish()?.flush()?;
        }
        Compression::None => drop(io::copy(from, to)?),
    }
    Ok(())
}

/// The digest of all of `from`.
pub(super) fn digest_of(from: impl Read) -> io::Result<Sha256> {
    let mut from = Hashing { from, hasher: Hasher::default() };
    io::copy(&mut BufReader::with_capacity(256 << 10, &mut from), &mut io::sink())?;
    Ok(from.hasher.finish())
}

struct Hashing<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// A file from its beginning, with the in-use flag as told: a server may take it away in this moment.
pub(super) struct Flagged<'a> {
    pub(super) from: &'a File,
    pub(super) at: u64,
    pub(super) in_use: bool,
}

impl Read for Flagged<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read_at(buffer, self.at)?;
        let flags =
            IN_USE_AT.checked_sub(self.at).and_then(|at| buffer.get_mut(..count)?.get_mut(usize::try_from(at).ok()?));
        if let Some(flags) = flags {
            *flags = if self.in_use { *flags | IN_USE } else { *flags & !IN_USE };
        }
        self.at += count as u64;
        Ok(count)
    }
}
