//! Reading rows side by side: each worker takes the next table, or the next range of a large one.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use super::encode::Packer;
use super::shelf::Shelf;
use super::survey::{Contents, TableContents};
use super::{Options, Part, Readers};
use crate::server::{Range, Reader, side_by_side};
use crate::sys::cancel::Cancel;

/// No table is cut into more.
const MOST_RANGES: u64 = 10_000;
/// So often at most a range is cut in half: each asks the server twice.
const MOST_CUTS: u64 = 20_000;
/// A signal is looked for after so many rows.
const LOOK: u64 = 1000;

/// A table, or a range of one.
struct Unit<'a> {
    number: usize,
    table: &'a TableContents,
    directory: &'a str,
    range: Option<Range>,
    bytes: u64,
}

/// What the workers share.
struct Work<'a> {
    queue: Mutex<Vec<Unit<'a>>>,
    parts: Vec<Mutex<Vec<Part>>>,
    numbers: Vec<AtomicU32>,
    done: AtomicU64,
    stop: AtomicBool,
    options: &'a Options,
    shelf: &'a Shelf<'a>,
    progress: &'a (dyn Fn(u64) + Sync),
    cancel: &'a Cancel,
}

/// The parts of each table of `contents`, in their order.
pub(super) fn unload(
    mut readers: Readers,
    contents: &Contents,
    options: &Options,
    shelf: &Shelf<'_>,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Vec<Vec<Part>>> {
    let Some(first) = readers.all.first_mut() else { anyhow::bail!("a dump needs a connection") };
    let units = units(first, contents, options.sizes.range, cancel)?;
    let tables = contents.databases.iter().map(|database| database.tables.len()).sum();
    let work = Work {
        queue: Mutex::new(units),
        parts: std::iter::repeat_with(Mutex::default).take(tables).collect(),
        numbers: std::iter::repeat_with(AtomicU32::default).take(tables).collect(),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        options,
        shelf,
        progress,
        cancel,
    };
    let Readers { all, guard, .. } = &mut readers;
    side_by_side(all, guard, &work.stop, cancel, &|reader| work_off(reader, &work))?;
    let parts = work.parts.into_iter().map(|parts| {
        let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        parts.sort_by(|a: &Part, b: &Part| a.file.cmp(&b.file));
        parts
    });
    Ok(parts.collect())
}

/// The smallest first: the largest is taken from the end, so that none is left over for one worker alone.
fn units<'a>(
    reader: &mut Reader,
    contents: &'a Contents,
    largest: u64,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Unit<'a>>> {
    let mut units = Vec::new();
    let tables = contents.databases.iter().flat_map(|d| d.tables.iter().map(|table| (d.directory.as_str(), table)));
    for (number, (directory, table)) in tables.enumerate() {
        cancel.check()?;
        if !table.has_rows {
            continue;
        }
        let ranges = ranges(reader, table, largest, cancel)?;
        let bytes = table.bytes / ranges.len() as u64;
        units.extend(ranges.into_iter().map(|range| Unit { number, table, directory, range, bytes }));
    }
    units.sort_by_key(|unit| unit.bytes);
    Ok(units)
}

fn ranges(
    reader: &mut Reader,
    table: &TableContents,
    largest: u64,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Option<Range>>> {
    let (Some(key), true) = (&table.key, table.bytes > largest) else { return Ok(vec![None]) };
    let Some((low, high)) = reader.bounds(&table.table, key)? else { return Ok(vec![None]) };
    let wanted = table.bytes.div_ceil(largest.max(1)).min(MOST_RANGES);
    let mut estimate = |low, high| {
        cancel.check()?;
        let range = Range { key: key.clone(), low: Some(low), high: Some(high) };
        reader.estimate(&table.table, &range)
    };
    let cuts = balanced(&cuts(low, high, wanted), (low, high), wanted, &mut estimate)?;
    Ok(ranges_of(key, &cuts).into_iter().map(Some).collect())
}

/// The ranges between `cuts`, which are in order: each key is in one; those beyond what was seen are in the first and
/// the last.
fn ranges_of(key: &str, cuts: &[i128]) -> Vec<Range> {
    let begins = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let ends = cuts.iter().copied().map(Some).chain([None]);
    begins.zip(ends).map(|(low, high)| Range { key: key.to_owned(), low, high }).collect()
}

/// Where `low..=high` is cut into at most `wanted` ranges: each cut is above `low`, once, in order.
fn cuts(low: i128, high: i128, wanted: u64) -> Vec<i128> {
    let width = high - low + 1;
    let mut cuts: Vec<i128> = (1..i128::from(wanted)).map(|n| low + width * n / i128::from(wanted)).collect();
    cuts.dedup();
    cuts.retain(|cut| *cut > low);
    cuts
}

/// `cuts` of `low..=high` for keys that lie anyhow: what has more than twice its share of the rows that are estimated
/// between two keys is cut in half, again and again, and neighbours with little are one.
fn balanced(
    cuts: &[i128],
    (low, high): (i128, i128),
    wanted: u64,
    estimate: &mut dyn FnMut(i128, i128) -> anyhow::Result<u64>,
) -> anyhow::Result<Vec<i128>> {
    let begins = std::iter::once(low).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([high + 1]);
    let open = begins.zip(ends).map(|(low, high)| Ok((low, high, estimate(low, high)?)));
    let mut open = open.collect::<anyhow::Result<Vec<_>>>()?;
    let all: u64 = open.iter().map(|(.., rows)| rows).sum();
    if all == 0 {
        // The server knows nothing.
        return Ok(cuts.to_vec());
    }
    let share = all.div_ceil(wanted.max(1));
    open.reverse();
    let (mut cuts, mut rows_before, mut left) = (Vec::new(), 0, MOST_CUTS);
    while let Some((low, high, rows)) = open.pop() {
        let middle = low + (high - low) / 2;
        if rows > 2 * share && middle > low && left > 0 {
            left -= 1;
            open.push((middle, high, estimate(middle, high)?));
            open.push((low, middle, estimate(low, middle)?));
            continue;
        }
        // The first begins where nothing is.
        if rows_before > 0 && rows_before + rows > share {
            cuts.push(low);
            rows_before = 0;
        }
        rows_before += rows;
    }
    Ok(cuts)
}

/// Takes units until there is none.
fn work_off(reader: &mut Reader, work: &Work<'_>) -> anyhow::Result<()> {
    while !work.stop.load(Ordering::Relaxed) {
        let next = work.queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(unit) = next else { return Ok(()) };
        read(reader, &unit, work).with_context(|| format!("cannot dump {}", unit.table.table))?;
    }
    Ok(())
}

fn read(reader: &mut Reader, unit: &Unit<'_>, work: &Work<'_>) -> anyhow::Result<()> {
    let compression = work.options.compression;
    let mut packer = Packer::new(compression);
    let mut rows: u64 = 0;
    let TableContents { table, columns, history, .. } = unit.table;
    let mut take = |values: &[mysql::Value]| {
        packer.row(values)?;
        rows += 1;
        if rows % LOOK == 0 {
            work.cancel.check()?;
        }
        if packer.bytes() < work.options.sizes.part {
            return Ok(());
        }
        store(std::mem::replace(&mut packer, Packer::new(compression)), unit, work)
    };
    reader.each_row(table, columns, *history, unit.range.as_ref(), &mut |values| {
        // The rest of the table would be read before the failure is told: whoever watches ends that.
        take(values).inspect_err(|_| work.stop.store(true, Ordering::Relaxed))
    })?;
    if packer.rows > 0 { store(packer, unit, work) } else { Ok(()) }
}

fn store(packer: Packer, unit: &Unit<'_>, work: &Work<'_>) -> anyhow::Result<()> {
    let (Some(numbers), Some(parts)) = (work.numbers.get(unit.number), work.parts.get(unit.number)) else {
        anyhow::bail!("a table without a number");
    };
    let number = 1 + numbers.fetch_add(1, Ordering::Relaxed);
    let ending = work.options.compression.ending();
    let file = format!("{}/{}.{number:06}.tsv{ending}", unit.directory, unit.table.file);
    let (rows, bytes) = (packer.rows, packer.bytes());
    work.shelf.put(file.clone(), packer.finish()?)?;
    parts.lock().unwrap_or_else(PoisonError::into_inner).push(Part { file, rows, bytes });
    (work.progress)(work.done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_meet_and_leave_nothing_out() {
        assert_eq!(cuts(1, 100, 4), [26, 51, 76]);
        assert_eq!(cuts(-5, 4, 2), [0]);
        assert_eq!(cuts(7, 7, 5), Vec::<i128>::new());
        assert_eq!(cuts(1, 3, 100), [2, 3]);
        let all = i128::from(u64::MAX);
        assert_eq!(cuts(0, all, 2), [i128::from(u64::MAX / 2 + 1)]);
        // Where nobody knows better they stay.
        assert_eq!(balanced(&[26, 51, 76], (1, 100), 4, &mut |_, _| Ok(0)).unwrap(), [26, 51, 76]);
    }

    proptest! {
        #[test]
        fn any_key_is_in_exactly_one_range(
            (one, other, key) in prop_oneof![
                [any::<i64>(), any::<i64>(), any::<i64>()].prop_map(|[a, b, c]| (a.into(), b.into(), c.into())),
                [any::<u64>(), any::<u64>(), any::<u64>()].prop_map(|[a, b, c]| (a.into(), b.into(), c.into())),
                [-9_i128..9, -9_i128..9, -20_i128..20].prop_map(|[a, b, c]| (a, b, c)),
            ],
            wanted in 1..=MOST_RANGES,
        ) {
            let ranges = ranges_of("id", &cuts(one.min(other), one.max(other), wanted));
            prop_assert!(!ranges.is_empty() && ranges.len() as u64 <= wanted);
            let holds = |range: &&Range| range.low.is_none_or(|low| low <= key) && range.high.is_none_or(|high| key < high);
            prop_assert_eq!(ranges.iter().filter(holds).count(), 1);
        }

        #[test]
        fn wherever_the_keys_lie_no_range_has_much_more_than_its_share(
            dense in 1_usize..3000,
            begin in any::<i64>(),
            step in 1_i128..1000,
            far in proptest::collection::vec(any::<i64>(), 0..5),
            wanted in 2_u64..40,
        ) {
            let mut keys: Vec<i128> = (0..dense).map(|n| i128::from(begin) + step * n as i128).collect();
            keys.extend(far.into_iter().map(i128::from));
            keys.sort_unstable();
            keys.dedup();
            let count = |low: i128, high: i128| (keys.partition_point(|key| *key < high) - keys.partition_point(|key| *key < low)) as u64;
            let ends = (keys[0], keys[keys.len() - 1]);
            let cuts = balanced(&cuts(ends.0, ends.1, wanted), ends, wanted, &mut |low, high| Ok(count(low, high))).unwrap();
            prop_assert!(cuts.is_sorted_by(|a, b| a < b) && cuts.iter().all(|cut| *cut > ends.0 && *cut <= ends.1));
            let begins = std::iter::once(ends.0).chain(cuts.iter().copied());
            let largest = begins.zip(cuts.iter().copied().chain([ends.1 + 1])).map(|(low, high)| count(low, high)).max().unwrap();
            prop_assert!(largest <= 2 * (keys.len() as u64).div_ceil(wanted).max(1), "{largest} of {}", keys.len());
            prop_assert!((cuts.len() as u64) < 2 * wanted + 1, "{} cuts for {wanted}", cuts.len());
        }
    }
}
