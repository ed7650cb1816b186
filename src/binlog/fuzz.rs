//! The readers of this part, for [`crate::fuzz`].

use std::path::Path;

pub(crate) use super::elsewhere::fuzz::{order, said};
use super::event::Kind;
use super::expired::Expired;
use super::gtid::{Gtid, GtidSet};
use super::index::{Index, is_plain};
use super::known::Known;
use super::pulse::Pulse;
use super::reading::Reading;
use super::rebuild::kind_of_file;
use super::source;
use super::summary::{Stop, Summary};
use super::tool::Refusal;

/// A file: whatever its events say is taken in and looked into, and a file that was walked over whole is walked over
/// whole again.
pub(crate) fn log(bytes: &[u8]) {
    let mut reading = Reading::default();
    let walked = Summary::walk(bytes, |event| reading.add(event));
    let Ok((summary, stop)) = walked else { return };
    assert!(summary.end <= bytes.len() as u64, "events end behind the file");
    if stop == Stop::End && summary.end > 0 {
        let again = Summary::walk(bytes, |_| {});
        assert!(again.is_ok_and(|again| again == (summary, stop)), "a file reads in two ways");
    }
}

/// The body of an event of the kind that its first byte says: checksums keep damaged ones from the readers otherwise.
pub(crate) fn event_body(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    Reading::default().look_into(Kind(*kind), body);
    if let Some(set) = GtidSet::of(Kind(*kind), body) {
        assert_eq!(set.to_string().parse(), Ok(set));
    }
}

/// An index: one that is taken can be written and read again, and finds its way.
pub(crate) fn index(bytes: &[u8]) {
    let Ok(index) = Index::decode(bytes) else { return };
    let again = index.encode().and_then(|encoded| Index::decode(&encoded));
    assert!(again.is_ok_and(|again| again == index), "an index changes when it is written again");
    for window in index.windows() {
        drop((window.size(), window.times(), window.to_string()));
    }
}

/// What lies beside an index, and what the host remembers of archives.
pub(crate) fn records(bytes: &[u8]) {
    drop(serde_json::from_slice::<Pulse>(bytes));
    drop(serde_json::from_slice::<Known>(bytes));
    let Ok(expired) = Expired::decode(bytes) else { return };
    let again = serde_json::to_vec(&expired).map(|bytes| Expired::decode(&bytes));
    assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == expired)), "it changes when it is written again");
    if let Ok(mut index) = Index::decode(include_bytes!("../../tests/data/binlog/index-1.json")) {
        expired.prune(&mut index);
    }
}

/// What a server says of its binary logs: which there are, and sets of transactions; and what its tool says.
pub(crate) fn told(text: &str) {
    if let Ok(set) = text.parse::<GtidSet>() {
        assert!(set.has_all(&set) && set.reaches(&set) && set.agrees_with(&set), "{set} is not in itself");
        assert_eq!(set.to_string().parse(), Ok(set.clone()));
        let mut joined = set.clone();
        joined.join(&set);
        assert_eq!(joined, set);
    }
    if let Ok(gtid) = text.parse::<Gtid>() {
        assert_eq!(gtid.to_string().parse(), Ok(gtid));
    }
    for listed in source::listed(text.as_bytes(), Path::new("/var/lib/mysql")).unwrap_or_default() {
        assert!(is_plain(&listed.name) && source::number(&listed.name).is_some(), "{listed:?} leads elsewhere");
    }
    kind_of_file(text);
    Refusal::of(text);
}

/// Bodies of events behind the numbers of their kinds; made by hand from the documented format.
pub(crate) const BODIES: &[&[u8]] = &[
    b"\x02\0\0\0\0\0\0\0\0\x04\0\0\x03\0\x01\x02\x03shop\0DROP TABLE `orders` /* why */",
    b"\x04\x04\0\0\0\0\0\0\0binlog.000008",
    b"\x13\x09\0\0\0\0\0\x01\0\x04shop\0\x01t\0\x06\x03\x0f\xf6\x12\xfc\xfe\x09\x2c\x01\x0a\x02\x03\x02\xfe\x28\0",
    b"\x1e\x09\0\0\0\0\0\x01\0\x02\0\x03\x1f\0\x01\0\0\0\x02\0ab",
    b"\x21\0abababababababab\x05\0\0\0\0\0\0\0\x02",
    b"\x23\x01\0\0\0\0\0\0\0abababababababab\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    b"\x23\x01\x01\0\0\0\0\0\x01abababababababab\x06tag\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    b"\x28\x02\x01\xff\x03\x01\x13\0\x01\0\0\0\x02\x01\0\0\0\x13\0\0\0\0\0\0\0\0\0",
    b"\x2a\x02\x60\0\0\x02\x02abababababababab\x04\x14\x06\x06abc\x08\0",
    b"\xa0INSERT INTO t VALUES (1)",
    b"\xa2\x2c\x01\0\0\0\0\0\0\x02\0\0\0\x01",
    b"\xa3\x01\0\0\0\0\0\0\0\x07\0\0\0\x2c\x01\0\0\0\0\0\0",
    b"\xa5\0\0\0\0\0\0\0\0\x04\0\0\0\0shop\0\x81\x03\x78\x01",
    b"\xa6\x09\0\0\0\0\0\x01\0\x01\x01\x81\x05\x78\x01",
];
