//! Rows in a binary log: of which table, and how many. No event says how many; they are counted by the widths of
//! their columns, which the event before them describes.

use super::bytes::Bytes;
use super::event::Kind;
use super::statement::lossy;
use super::unpack;

/// What happened to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// They were added.
    Insert,
    /// They were changed.
    Update,
    /// They were removed.
    Delete,
}

impl Change {
    /// What an event of `kind` does to rows.
    pub fn of(kind: Kind) -> Option<Self> {
        Some(match kind.0 {
            20 | 23 | 30 | 166 | 169 => Self::Insert,
            21 | 24 | 31 | 39 | 167 | 170 => Self::Update,
            22 | 25 | 32 | 168 | 171 => Self::Delete,
            _ => return None,
        })
    }

    /// In the words of statements.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A table as the event before its rows describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The number by which events of rows mean it.
    pub id: u64,
    /// The database.
    pub database: String,
    /// Its name.
    pub name: String,
    columns: Vec<Width>,
}

/// How a column's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// In so many bytes.
    Fixed(usize),
    /// Behind a length of so many bytes.
    Counted(usize),
    /// Nobody knows.
    Unknown,
}

impl Table {
    /// Reads the body of a TABLE_MAP event.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(body);
        let id = bytes.little(6)?;
        bytes.u16()?;
        let mut name = || {
            let length = bytes.u8()?;
            let name = lossy(bytes.take(length.into())?);
            bytes.u8()?;
            Some(name)
        };
        let (database, name) = (name()?, name()?);
        let count = bytes.packed()?;
        let types = bytes.take_counted(count)?;
        let length = bytes.packed()?;
        let mut metadata = Bytes(bytes.take_counted(length)?);
        let columns = types.iter().map(|kind| width(*kind, &mut metadata)).collect::<Option<_>>()?;
        Some(Self { id, database, name, columns })
    }
}

/// The width of a column of type `kind`; takes what `metadata` has about it.
fn width(kind: u8, metadata: &mut Bytes<'_>) -> Option<Width> {
    use Width::{Counted, Fixed, Unknown};
    Some(match kind {
        6 => Fixed(0),
        1 | 13 => Fixed(1),
        2 => Fixed(2),
        9..=11 | 14 => Fixed(3),
        3 | 7 => Fixed(4),
        8 | 12 => Fixed(8),
        4 | 5 => Fixed(metadata.u8()?.into()),
        15 | 141 | 253 => Counted(if metadata.u16()? > 255 { 2 } else { 1 }),
        16 => {
            let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
            Fixed(usize::from(bytes) + usize::from(bits > 0))
        }
        17 => Fixed(4 + fraction(metadata)?),
        18 => Fixed(5 + fraction(metadata)?),
        19 => Fixed(3 + fraction(metadata)?),
        246 => decimal(metadata.u8()?, metadata.u8()?),
        140 | 242 | 245 | 249..=252 | 255 => Counted(metadata.u8()?.into()),
        247 | 248 | 254 => string(metadata.u8()?, metadata.u8()?),
        _ => Unknown,
    })
}

/// The bytes of fractions of a second.
fn fraction(metadata: &mut Bytes<'_>) -> Option<usize> {
    Some(usize::from(metadata.u8()?).div_ceil(2))
}

/// Nine digits take four bytes, fewer take fewer.
fn decimal(precision: u8, scale: u8) -> Width {
    const LEFT: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    let bytes = |digits: u8| usize::from(digits / 9) * 4 + LEFT.get(usize::from(digits % 9)).copied().unwrap_or(0);
    precision.checked_sub(scale).map_or(Width::Unknown, |whole| Width::Fixed(bytes(whole) + bytes(scale)))
}

/// CHAR, ENUM and SET share a type; the two highest bits of a CHAR's length are hidden, inverted, in its real one.
fn string(kind: u8, length: u8) -> Width {
    let hidden = usize::from((kind & 0x30) ^ 0x30) << 4;
    match kind | 0x30 {
        247 | 248 if hidden == 0 => Width::Fixed(length.into()),
        _ => Width::Counted(if hidden | usize::from(length) > 255 { 2 } else { 1 }),
    }
}

/// The rows of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The number of their table.
    pub table: u64,
    /// What happened to them.
    pub change: Change,
    /// Whether the statement ends with them.
    pub ends_statement: bool,
}

impl Rows {
    /// Reads the beginning of the body of an event of rows.
    pub fn of(kind: Kind, body: &[u8]) -> Option<Self> {
        let change = Change::of(kind)?;
        let mut bytes = Bytes(body);
        // What was written before MySQL 5.1.18 had numbers of four bytes.
        let table = bytes.little(if (20..=22).contains(&kind.0) { 4 } else { 6 })?;
        Some(Self { table, change, ends_statement: bytes.u16()? & 1 == 1 })
    }
}

/// How many rows the event of `kind` with this whole `body` has, all of `table`; none where that can't be told.
pub fn count(kind: Kind, body: &[u8], table: &Table) -> Option<u64> {
    let mut bytes = Bytes(body);
    bytes.take(8)?;
    let second = matches!(kind.0, 30..=32 | 169..=171);
    if second {
        // With its own two bytes.
        let extra = usize::from(bytes.u16()?).checked_sub(2)?;
        bytes.take(extra)?;
    } else if !matches!(kind.0, 23..=25 | 166..=168) {
        return None;
    }
    let columns = usize::try_from(bytes.packed()?).ok().filter(|columns| *columns == table.columns.len())?;
    let images = if Change::of(kind)? == Change::Update { 2 } else { 1 };
    let present: Vec<&[u8]> = (0..images).map(|_| bytes.take(columns.div_ceil(8))).collect::<Option<_>>()?;
    let unpacked;
    if (166..=171).contains(&kind.0) {
        unpacked = unpack::mariadb(bytes)?;
        bytes = Bytes(&unpacked);
    }
    let mut rows = 0;
    while !bytes.0.is_empty() {
        let before = bytes.0.len();
        present.iter().try_for_each(|present| image(&mut bytes, present, &table.columns))?;
        // A table without columns, or a lie about one.
        (bytes.0.len() < before).then_some(())?;
        rows += 1;
    }
    Some(rows)
}

/// Passes over one image of a row: which values are NULL, then the others.
fn image(bytes: &mut Bytes<'_>, present: &[u8], columns: &[Width]) -> Option<()> {
    let is_set = |bits: &[u8], at: usize| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let stored: Vec<Width> = columns.iter().enumerate().filter(|(n, _)| is_set(present, *n)).map(|(_, w)| *w).collect();
    let null = bytes.take(stored.len().div_ceil(8))?;
    for (_, width) in stored.iter().enumerate().filter(|(n, _)| !is_set(null, *n)) {
        let length = match width {
            Width::Fixed(length) => *length as u64,
            Width::Counted(prefix) => bytes.little(*prefix)?,
            Width::Unknown => return None,
        };
        bytes.take_counted(length)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(types: &[u8], metadata: &[u8]) -> Table {
        let counts = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let body = [&[9, 0, 0, 0, 0, 0, 1, 0][..], b"\x04shop\0", b"\x01t\0", &counts(types), &counts(metadata), &[0]]
            .concat();
        Table::parse(&body).unwrap()
    }

    fn rows(extra: &[u8], columns: u8, bitmaps: &[u8], images: &[u8]) -> Vec<u8> {
        [&[9, 0, 0, 0, 0, 0, 1, 0][..], extra, &[columns], bitmaps, images].concat()
    }

    #[test]
    fn rows_are_counted_by_the_widths_of_their_columns() {
        // INT, VARCHAR(300), DECIMAL(10,2), DATETIME(3), TEXT
        let table = table(&[3, 15, 246, 18, 252], &[0x2c, 1, 10, 2, 3, 2]);
        assert_eq!((table.database.as_str(), table.name.as_str()), ("shop", "t"));
        let one = [&[0][..], &[1; 4], &[2, 0, b'a', b'b'], &[0; 5], &[0; 7], &[3, 0, 1, 1, 1]].concat();
        let nulls = [&[0b11110][..], &[1; 4]].concat();
        let both = [&one[..], &nulls].concat();
        assert_eq!(count(Kind(23), &rows(&[], 5, &[0x1f], &both), &table), Some(2));
        assert_eq!(count(Kind(30), &rows(&[2, 0], 5, &[0x1f], &both), &table), Some(2));
        assert_eq!(count(Kind(31), &rows(&[2, 0], 5, &[0x1f, 0x1f], &both), &table), Some(1));
        // Only the first column is there.
        assert_eq!(count(Kind(25), &rows(&[], 5, &[1], &[0, 1, 1, 1, 1, 1, 0]), &table), None);
        assert_eq!(count(Kind(25), &rows(&[], 5, &[1], &[0, 1, 1, 1, 1, 1]), &table), Some(2));
        assert_eq!(count(Kind(23), &rows(&[], 4, &[0x1f], &both), &table), None);
        let read = Rows::of(Kind(23), &rows(&[], 5, &[0x1f], &both)).unwrap();
        assert_eq!(read, Rows { table: 9, change: Change::Insert, ends_statement: true });
    }

    #[test]
    fn each_type_has_its_width() {
        use Width::{Counted, Fixed, Unknown};
        for (kind, metadata, expected) in [
            (254, &[254, 40][..], Counted(1)),
            (254, &[238, 0], Counted(2)),
            (254, &[247, 2], Fixed(2)),
            (254, &[248, 8], Fixed(8)),
            (16, &[1, 2], Fixed(3)),
            (16, &[0, 1], Fixed(1)),
            (17, &[0], Fixed(4)),
            (19, &[6], Fixed(6)),
            (246, &[65, 30], Fixed(30)),
            (246, &[2, 3], Unknown),
            (245, &[4], Counted(4)),
            (5, &[8], Fixed(8)),
            (200, &[], Unknown),
        ] {
            assert_eq!(width(kind, &mut Bytes(metadata)), Some(expected), "{kind} {metadata:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(kind in 0_u8.., map in proptest::collection::vec(0_u8.., 0..60), body in proptest::collection::vec(0_u8.., 0..60)) {
            let table = Table::parse(&map).unwrap_or_else(|| table(&[3, 252, 254], &[2, 254, 10]));
            let _ = (count(Kind(kind), &body, &table), Rows::of(Kind(kind), &body));
        }
    }
}
