//! What servers compress inside of events, unpacked within bounds: a few bytes may claim to be terabytes.

use std::io::Read as _;

use super::bytes::Bytes;

/// More than this is not looked into.
const LARGEST: u64 = 256 << 20;

/// A piece as MariaDB packs it: a byte with the method and the width of a length, the length, then zlib.
pub(super) fn mariadb(mut bytes: Bytes<'_>) -> Option<Vec<u8>> {
    let head = bytes.u8()?;
    let width = usize::from(head & 7);
    // Bits 4 to 6 are the method, of which there is one: 0, zlib.
    if head & 0x70 != 0 || !(1..=4).contains(&width) {
        return None;
    }
    let length = bytes.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    limited(flate2::read::ZlibDecoder::new(bytes.0), length)
}

/// The events of MySQL's compressed transaction, one after the other and without checksums.
pub(super) fn payload(body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Bytes(body);
    let (mut zstd, mut length) = (true, None);
    loop {
        match bytes.packed()? {
            0 => break,
            field => {
                let size = bytes.packed()?;
                let mut value = Bytes(bytes.take_counted(size)?);
                match field {
                    2 => zstd = value.packed()? == 0,
                    3 => length = Some(value.packed()?),
                    _ => {}
                }
            }
        }
    }
    if !zstd {
        return length.is_none_or(|length| length == bytes.0.len() as u64).then(|| bytes.0.to_vec());
    }
    limited(zstd::stream::read::Decoder::new(bytes.0).ok()?, length?)
}

/// Everything that `from` gives, where that is `length` bytes.
fn limited(from: impl std::io::Read, length: u64) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    from.take(length.min(LARGEST) + 1).read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 == length).then_some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_packed_is_unpacked_and_a_wrong_length_is_not_believed() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[7; 300]).unwrap();
        let packed = encoder.finish().unwrap();
        let mariadb = |head: &[u8]| mariadb(Bytes(&[head, &packed].concat()));
        assert_eq!(mariadb(&[0x82, 1, 44]).unwrap(), [7; 300]);
        assert_eq!(mariadb(&[0x82, 1, 45]), None);
        assert_eq!(mariadb(&[0x81, 44]), None);
        assert_eq!(mariadb(&[0x92, 1, 44]), None);
        let packed = zstd::bulk::compress(&[7; 300], 1).unwrap();
        let payload = |fields: &[u8]| payload(&[fields, &packed].concat());
        assert_eq!(payload(&[2, 1, 0, 3, 3, 252, 44, 1, 0]).unwrap(), [7; 300]);
        assert_eq!(payload(&[2, 1, 0, 3, 3, 252, 45, 1, 0]), None);
        assert_eq!(payload(&[2, 3, 252, 255, 0, 0]).unwrap(), packed);
        assert_eq!(payload(&[2, 1, 0, 0]), None);
    }
}
