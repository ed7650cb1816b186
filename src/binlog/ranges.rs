//! Whole numbers as ranges, for sets of transactions: a log that was written to do harm has millions of them, in the
//! worst order.

use std::collections::BTreeMap;

/// Ranges with both ends, in order and apart: none touches another. Each is found in time that grows with the logarithm
/// of how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds the numbers from `first` to `last`.
    pub(super) fn add(&mut self, mut first: u64, mut last: u64) {
        // The usual case: the number after the last one.
        if let Some(mut end) = self.0.last_entry()
            && *end.key() <= first
            && end.get().checked_add(1) == Some(first)
        {
            end.insert(last);
            return;
        }
        if let Some((begin, end)) = self.0.range(..first).next_back()
            && end.saturating_add(1) >= first
        {
            (first, last) = (*begin, last.max(*end));
        }
        while let Some((begin, end)) = self.0.range(first..=last.saturating_add(1)).next() {
            let (begin, end) = (*begin, *end);
            self.0.remove(&begin);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }

    /// Whether all numbers from `first` to `last` are in it.
    pub(super) fn has(&self, first: u64, last: u64) -> bool {
        self.0.range(..=first).next_back().is_some_and(|(_, end)| last <= *end)
    }

    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_was_added_and_none_touches_another(added in prop::collection::vec((0_u64..60, 0_u64..6), 0..30)) {
            let (mut ranges, mut naive) = (Ranges::default(), BTreeSet::new());
            for (first, more) in added {
                ranges.add(first, first + more);
                naive.extend(first..=first + more);
            }
            let all: BTreeSet<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&all, &naive);
            let ends: Vec<_> = ranges.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ends);
            for first in 0..66 {
                for last in first..first + 8 {
                    prop_assert_eq!(ranges.has(first, last), (first..=last).all(|number| naive.contains(&number)));
                }
            }
        }
    }

    #[test]
    fn ranges_in_the_worst_order_are_found_in_moments() {
        const COUNT: u64 = 300_000;
        let mut ranges = Ranges::default();
        (0..COUNT).rev().for_each(|number| ranges.add(2 * number, 2 * number));
        assert!((0..COUNT).all(|number| ranges.has(2 * number, 2 * number) && !ranges.has(2 * number, 2 * number + 1)));
        (0..COUNT).rev().for_each(|number| ranges.add(2 * number + 1, 2 * number + 1));
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 2 * COUNT - 1)]);
    }

    #[test]
    fn the_last_number_there_is_ends_a_range() {
        let mut ranges = Ranges::default();
        ranges.add(u64::MAX, u64::MAX);
        ranges.add(0, u64::MAX - 1);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
        ranges.add(5, u64::MAX);
        assert!(ranges.has(0, u64::MAX));
    }
}
