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
        let ranges = ranges(reader, table, largest)?;
        let bytes = table.bytes / ranges.len() as u64;
        units.extend(ranges.into_iter().map(|range| Unit { number, table, directory, range, bytes }));
    }
    units.sort_by_key(|unit| unit.bytes);
    Ok(units)
}

fn ranges(reader: &mut Reader, table: &TableContents, largest: u64) -> anyhow::Result<Vec<Option<Range>>> {
    let (Some(key), true) = (&table.key, table.bytes > largest) else { return Ok(vec![None]) };
    let Some((low, high)) = reader.bounds(&table.table, key)? else { return Ok(vec![None]) };
    let wanted = table.bytes.div_ceil(largest.max(1)).min(MOST_RANGES);
    Ok(ranges_of(key, (low, high), wanted).into_iter().map(Some).collect())
}

/// At most `wanted` ranges, of which each key is in one; those beyond what was seen are in the first and the last.
fn ranges_of(key: &str, (low, high): (i128, i128), wanted: u64) -> Vec<Range> {
    let cuts = cuts(low, high, wanted);
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
            let ranges = ranges_of("id", (one.min(other), one.max(other)), wanted);
            prop_assert!(!ranges.is_empty() && ranges.len() as u64 <= wanted);
            let holds = |range: &&Range| range.low.is_none_or(|low| low <= key) && range.high.is_none_or(|high| key < high);
            prop_assert_eq!(ranges.iter().filter(holds).count(), 1);
        }
    }
}
