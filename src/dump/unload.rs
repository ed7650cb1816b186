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

/// A file of rows ends at about this length, unpacked: what a load takes as one transaction, and
/// what is in memory of a part.
const PART: u64 = 32 << 20;
/// What is larger is read in ranges of its key.
const RANGE: u64 = 48 << 20;
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
    let units = units(first, contents, cancel)?;
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
fn units<'a>(reader: &mut Reader, contents: &'a Contents, cancel: &Cancel) -> anyhow::Result<Vec<Unit<'a>>> {
    let mut units = Vec::new();
    let tables = contents.databases.iter().flat_map(|d| d.tables.iter().map(|table| (d.directory.as_str(), table)));
    for (number, (directory, table)) in tables.enumerate() {
        cancel.check()?;
        if !table.has_rows {
            continue;
        }
        let ranges = ranges(reader, table)?;
        let bytes = table.bytes / ranges.len() as u64;
        units.extend(ranges.into_iter().map(|range| Unit { number, table, directory, range, bytes }));
    }
    units.sort_by_key(|unit| unit.bytes);
    Ok(units)
}

fn ranges(reader: &mut Reader, table: &TableContents) -> anyhow::Result<Vec<Option<Range>>> {
    let (Some(key), true) = (&table.key, table.bytes > RANGE) else { return Ok(vec![None]) };
    let Some((low, high)) = reader.bounds(&table.table, key)? else { return Ok(vec![None]) };
    let wanted = table.bytes.div_ceil(RANGE).min(MOST_RANGES);
    let cuts = cuts(low, high, wanted);
    let begins = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let ends = cuts.iter().copied().map(Some).chain([None]);
    Ok(begins.zip(ends).map(|(low, high)| Some(Range { key: key.clone(), low, high })).collect())
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
        if packer.bytes() < PART {
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
}
