//! Bytes that nobody has to trust: every read says whether there was enough.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The same for a count that came out of the bytes themselves.
    pub(super) fn take_counted(&mut self, count: u64) -> Option<&'a [u8]> {
        self.take(usize::try_from(count).ok()?)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of `width` bytes, 8 at most, the lowest first.
    pub(super) fn little(&mut self, width: usize) -> Option<u64> {
        let taken = self.take(width).filter(|taken| taken.len() <= 8)?;
        Some(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A length as the client protocol packs it: one byte, or 252, 253, 254 and two, three, eight.
    pub(super) fn packed(&mut self) -> Option<u64> {
        match self.u8()? {
            252 => self.little(2),
            253 => self.little(3),
            254 => self.little(8),
            255 | 251 => None,
            small => Some(small.into()),
        }
    }

    /// A number of MySQL's serialization library: as many ones at the low end of the first byte as bytes follow.
    pub(super) fn variable(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let more = first.trailing_ones();
        let high = self.little(more.try_into().ok()?)?;
        let low_bits = 7_u32.saturating_sub(more);
        let low = u64::from(first.checked_shr(more + 1).unwrap_or(0));
        // With seven or eight bytes to follow the first one has no bits of the number left.
        Some(if low_bits == 0 { high } else { high << low_bits | low })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_variable_numbers_are_read() {
        let packed = |bytes: &[u8]| Bytes(bytes).packed();
        assert_eq!(packed(&[250]), Some(250));
        assert_eq!(packed(&[252, 1, 2]), Some(0x201));
        assert_eq!(packed(&[253, 1, 2, 3]), Some(0x3_0201));
        assert_eq!(packed(&[254, 1, 0, 0, 0, 0, 0, 0, 0]), Some(1));
        assert_eq!((packed(&[252, 1]), packed(&[251]), packed(&[])), (None, None, None));
        let variable = |bytes: &[u8]| Bytes(bytes).variable();
        // 65535 needs sixteen bits, so three bytes; from the library's description.
        assert_eq!(variable(&[0b1111_1011, 0xff, 0x07]), Some(65_535));
        assert_eq!(variable(&[0x02]), Some(1));
        assert_eq!(variable(&[0xff, 1, 2, 0, 0, 0, 0, 0, 0]), Some(0x201));
        assert_eq!(variable(&[0x7f, 1, 2, 0, 0, 0, 0, 0]), Some(0x201));
        assert_eq!(variable(&[0x01]), None);
    }
}
