//! The readers of this part, for [`crate::fuzz`].

use std::collections::HashSet;
use std::io::{Cursor, Read as _};

use jiff::Timestamp;

use super::definitions::Sheet;
use super::names::Names;
use super::{Compression, Index};

/// An index: one that is taken can be written and read again, and its places are looked up in a file that is too short
/// for most of them.
pub(crate) fn index(bytes: &[u8]) {
    let Ok(index) = Index::decode(bytes) else { return };
    let again = index.encode().and_then(|encoded| Index::decode(&encoded));
    assert!(again.is_ok_and(|again| again == index), "an index changes when it is written again");
    let tables = index.databases.iter().flat_map(|database| &database.tables);
    let objects = index.databases.iter().flat_map(|database| &database.objects);
    let texts = tables.clone().map(|table| &table.definition).chain(objects.map(|object| &object.text));
    for text in texts.chain(index.accounts.iter().flat_map(|account| &account.statements)) {
        let found = text.of(bytes);
        assert!(found.is_none_or(|found| found.len() as u64 == text.length), "a statement of another length");
    }
    for column in tables.flat_map(|table| &table.columns) {
        column.taken();
    }
}

/// What a server says is in it: names, each of which gets a file of its own, and definitions, each of which is found
/// again. A NUL is between two.
pub(crate) fn contents(bytes: &[u8]) {
    let texts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let (mut names, mut given) = (Names::default(), HashSet::new());
    for text in &texts {
        let name = names.of(&String::from_utf8_lossy(text));
        let is_safe = !name.is_empty() && name.len() <= 120 && !name.contains(['/', '.', '\0']);
        assert!(is_safe || text.is_empty(), "{name:?} is no name of a file");
        assert!(given.insert(name.to_lowercase()), "{name:?} is given twice");
    }
    let mut sheet = Sheet::new("x.sql".to_owned(), "fuzzing", Timestamp::UNIX_EPOCH, &texts);
    let places: Vec<_> = texts.iter().map(|text| sheet.add(text)).collect();
    for (text, place) in texts.iter().zip(places) {
        assert_eq!(place.of(&sheet.bytes), Some(*text));
    }
}

/// Rows as they are stored, of which no more is unpacked than somebody takes.
pub(crate) fn packed(bytes: &[u8]) {
    const TAKEN: u64 = 1 << 20;
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        if let Ok(unpacked) = compression.unpack(Cursor::new(bytes.to_vec())) {
            drop(std::io::copy(&mut unpacked.take(TAKEN), &mut std::io::sink()));
        }
    }
}
