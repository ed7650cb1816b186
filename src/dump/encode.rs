//! Rows in the form of LOAD DATA: a line each, fields between tabs, `\N` for NULL.

use std::io::{BufRead, Read, Write as _};

use flate2::write::GzEncoder;
use mysql::Value;

use super::Compression;

/// A part in the making.
pub(super) struct Packer {
    compression: Compression,
    lines: Vec<u8>,
    /// Rows so far.
    pub(super) rows: u64,
}

impl Packer {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, lines: Vec::new(), rows: 0 }
    }

    /// Bytes so far, unpacked.
    pub(super) fn bytes(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Takes a row.
    pub(super) fn row(&mut self, values: &[Value]) -> anyhow::Result<()> {
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                self.lines.push(b'\t');
            }
            match value {
                Value::NULL => self.lines.extend_from_slice(br"\N"),
                Value::Bytes(bytes) => escape(bytes, &mut self.lines),
                other => anyhow::bail!("the server sent {other:?} where text is due"),
            }
        }
        self.lines.push(b'\n');
        self.rows += 1;
        Ok(())
    }

    /// The part as it is stored. Packed at once, which is faster than piece by piece.
    pub(super) fn finish(self) -> anyhow::Result<Vec<u8>> {
        Ok(match self.compression {
            // The lowest level keeps up with the server.
            Compression::Zstd => zstd::bulk::compress(&self.lines, 1)?,
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&self.lines)?;
                encoder.finish()?
            }
            Compression::None => self.lines,
        })
    }
}

/// What means something to LOAD DATA, behind a backslash.
fn escape(bytes: &[u8], to: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\t' | b'\n' | b'\\' | 0)) {
        let (plain, special) = rest.split_at(at);
        to.extend_from_slice(plain);
        to.push(b'\\');
        match special.split_first() {
            Some((b'\t', after)) => (to.push(b't'), rest = after).1,
            Some((b'\n', after)) => (to.push(b'n'), rest = after).1,
            Some((0, after)) => (to.push(b'0'), rest = after).1,
            Some((byte, after)) => (to.push(*byte), rest = after).1,
            None => break,
        }
    }
    to.extend_from_slice(rest);
}

impl Compression {
    /// How names of files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::None => "",
        }
    }

    /// The program that unpacks a file.
    pub(super) fn unpacker(self) -> &'static str {
        match self {
            Self::Zstd => "zstd -dc",
            Self::Gzip => "gzip -dc",
            Self::None => "cat",
        }
    }

    /// Reads what was packed.
    pub fn unpack<R: BufRead + Send + 'static>(self, packed: R) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(packed)),
            Self::None => Box::new(packed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_null_and_what_is_text() {
        let mut packer = Packer::new(Compression::None);
        let text = |text: &[u8]| Value::Bytes(text.to_vec());
        packer.row(&[Value::NULL, text(b"\\N"), text(b""), text(b"a\tb\nc\0\\d\r")]).unwrap();
        packer.row(&[text(b"NULL")]).unwrap();
        assert_eq!((packer.rows, packer.bytes()), (2, 27));
        assert_eq!(packer.finish().unwrap(), b"\\N\t\\\\N\t\ta\\tb\\nc\\0\\\\d\r\nNULL\n");
        assert!(Packer::new(Compression::None).row(&[Value::Int(1)]).is_err());
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
            let mut packer = Packer::new(compression);
            for n in 0..50_000 {
                packer.row(&[Value::Bytes(format!("row {n}").into_bytes())]).unwrap();
            }
            let bytes = packer.bytes();
            let packed = packer.finish().unwrap();
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut compression.unpack(std::io::Cursor::new(packed)).unwrap(), &mut text)
                .unwrap();
            assert_eq!(text.len() as u64, bytes);
            assert!(text.ends_with(b"row 49999\n"));
        }
    }
}
