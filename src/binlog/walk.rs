//! One event after the other, each proved whole before it counts.
//!
//! Lengths come out of the file, so none is believed: memory grows with what was really read, and what an event
//! claims beyond [`KEPT`] is read for its checksum alone.

use std::io::{self, ErrorKind, Read};

use super::event::{CHECKSUM, ENCRYPTED_MAGIC, Format, HEADER, Header, IN_USE, Kind, LONGEST, MAGIC};
use crate::store::{Hasher, Sha256};

/// So much of an event's body is kept.
pub const KEPT: usize = 16 << 20;
const PIECE: usize = 64 << 10;
/// What stands for an event that the server can't read and so does not send: no event has such a length.
pub(super) const WITHHELD: [u8; HEADER] = *b"withheld by server!";

/// An event that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it begins in the file.
    pub offset: u64,
    /// What it begins with.
    pub header: Header,
    /// The rest without its checksum, or the first [`KEPT`] bytes of it.
    pub body: Vec<u8>,
}

impl Event {
    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.header.size)
    }

    /// Whether all of the body was kept.
    pub fn is_whole(&self) -> bool {
        HEADER + self.body.len() + CHECKSUM >= self.header.size as usize
    }
}

/// What comes next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An event.
    Event(Event),
    /// Nothing: the last event was whole.
    End,
    /// The file ends within an event that begins at this offset: it is still being written, or was torn.
    Torn(u64),
    /// What begins at this offset is no event.
    Broken(u64, Broken),
}

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The file is something else.
    #[error("it is no binary log")]
    NotALog,
    /// The server encrypts its logs.
    #[error("it is encrypted")]
    Encrypted,
    /// The first event can't be read.
    #[error("{0}")]
    Format(String),
    /// Nobody but the server could tell what it is.
    #[error("the server can't read its own event")]
    Withheld,
    /// A length that no event has.
    #[error("an event of {0} bytes can't be")]
    Length(u32),
    /// The checksum is another.
    #[error("the checksum of the event ({0}) is wrong")]
    Checksum(Kind),
}

/// Walks over a file.
#[derive(Debug)]
pub struct Walker<R> {
    from: R,
    offset: u64,
    format: Option<(Format, Sha256)>,
}

impl<R: Read> Walker<R> {
    /// From the beginning.
    pub fn new(from: R) -> Self {
        Self { from, offset: 0, format: None }
    }

    /// The format, when the first event was read.
    pub fn format(&self) -> Option<&Format> {
        self.format.as_ref().map(|(format, _)| format)
    }

    /// The digest of the first event without its in-use flag: what tells files of one name apart.
    pub fn fingerprint(&self) -> Option<Sha256> {
        self.format.as_ref().map(|(_, fingerprint)| *fingerprint)
    }

    /// Goes on at `offset`, where an event ended and to which `from` is set, in a file that begins as told.
    pub fn resumed(from: R, offset: u64, format: Format, fingerprint: Sha256) -> Self {
        Self { from, offset, format: Some((format, fingerprint)) }
    }

    /// The next event, or why there is none. After anything but an event nothing more can be asked.
    pub fn step(&mut self) -> io::Result<Step> {
        if self.offset == 0 {
            let mut magic = [0; MAGIC.len()];
            if fill(&mut self.from, &mut magic)? < magic.len() {
                return Ok(Step::Torn(0));
            }
            match magic {
                MAGIC => self.offset = MAGIC.len() as u64,
                ENCRYPTED_MAGIC => return Ok(Step::Broken(0, Broken::Encrypted)),
                _ => return Ok(Step::Broken(0, Broken::NotALog)),
            }
        }
        self.event()
    }

    fn event(&mut self) -> io::Result<Step> {
        let at = self.offset;
        let mut head = [0; HEADER];
        match fill(&mut self.from, &mut head)? {
            0 => return Ok(Step::End),
            HEADER => {}
            _ => return Ok(Step::Torn(at)),
        }
        let broken = |why| Ok(Step::Broken(at, why));
        if head == WITHHELD {
            return broken(Broken::Withheld);
        }
        let Some(header) = Header::parse(&head) else { return Ok(Step::Torn(at)) };
        let Some(checksum) = self.checksum_length(header.kind) else {
            return broken(Broken::Format("its first event is none that says how it is written".to_owned()));
        };
        let body = (header.size as usize).checked_sub(HEADER + checksum);
        let Some(length) = body.filter(|_| header.size <= LONGEST) else { return broken(Broken::Length(header.size)) };
        let Some(read) = self.body(&head, header.kind, length, checksum)? else { return Ok(Step::Torn(at)) };
        if read.wrong {
            return broken(Broken::Checksum(header.kind));
        }
        if header.kind == Kind::FORMAT_DESCRIPTION {
            let with_checksum = [&read.bytes[..], &read.checksum].concat();
            match Format::parse(&with_checksum) {
                Ok(format) => self.learn(format, &head, &with_checksum),
                Err(why) => return broken(Broken::Format(why)),
            }
        }
        if header.begins_encryption() {
            return broken(Broken::Encrypted);
        }
        self.offset += u64::from(header.size);
        Ok(Step::Event(Event { offset: at, header, body: read.bytes }))
    }

    /// None before the first event, unless `kind` is what comes first.
    fn checksum_length(&self, kind: Kind) -> Option<usize> {
        match self.format() {
            Some(format) => Some(format.checksum_length(kind)),
            None => (kind == Kind::FORMAT_DESCRIPTION).then_some(CHECKSUM),
        }
    }

    fn learn(&mut self, format: Format, head: &[u8; HEADER], body: &[u8]) {
        let mut hasher = Hasher::default();
        hasher.update(&without_in_use(*head));
        hasher.update(body);
        self.format = Some((format, hasher.finish()));
    }

    /// The body and whether the checksum is wrong; none where the file ends before.
    fn body(&mut self, head: &[u8; HEADER], kind: Kind, length: usize, checksum: usize) -> io::Result<Option<Body>> {
        let mut crc = flate2::Crc::new();
        // The in-use flag is set when the checksum was made already.
        crc.update(&if kind == Kind::FORMAT_DESCRIPTION { without_in_use(*head) } else { *head });
        let (mut body, mut passed, mut left) = (Vec::new(), Vec::new(), length);
        while left > 0 {
            let wanted = left.min(PIECE);
            let (begin, to) = if body.len() < KEPT { (body.len(), &mut body) } else { (0, &mut passed) };
            to.resize(begin + wanted, 0);
            let part = to.get_mut(begin..).unwrap_or_default();
            if fill(&mut self.from, part)? < wanted {
                return Ok(None);
            }
            crc.update(part);
            left -= wanted;
        }
        let mut stored = [0; CHECKSUM];
        let expected = stored.get_mut(..checksum).unwrap_or_default();
        let wanted = expected.len();
        if fill(&mut self.from, expected)? < wanted {
            return Ok(None);
        }
        let wrong = checksum > 0 && crc.sum() != u32::from_le_bytes(stored);
        Ok(Some(Body { bytes: body, checksum: stored, wrong }))
    }
}

struct Body {
    bytes: Vec<u8>,
    checksum: [u8; CHECKSUM],
    wrong: bool,
}

fn without_in_use(mut head: [u8; HEADER]) -> [u8; HEADER] {
    if let Some(flags) = head.get_mut(17) {
        *flags &= !IN_USE;
    }
    head
}

/// Reads until `buffer` is full or there is no more; how much was read.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
