//! Rows into their tables, side by side.

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use super::execute::Crew;
use super::source::Dump;
use super::{Plan, TargetTable};
use crate::dump::{Column, Part};
use crate::server::{Into, Loader, side_by_side};
use crate::sys::cancel::Cancel;

/// A table with parts to load.
struct Table<'a> {
    staging: &'a str,
    target: &'a TargetTable,
    waiting: Vec<&'a Part>,
    /// How many load into it now. Servers let one in at a time where the table counts its rows up.
    busy: usize,
}

struct Work<'a> {
    dump: &'a Dump<'a>,
    tables: Mutex<Vec<Table<'a>>>,
    done: AtomicU64,
    stop: AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
    cancel: &'a Cancel,
}

/// Loads every part of `plan` into the tables, which are there and empty.
pub(super) fn load(
    plan: &Plan,
    dump: &Dump<'_>,
    crew: &mut Crew,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let tables = plan.databases.iter().flat_map(|target| {
        target.tables.iter().map(|table| {
            let mut waiting: Vec<&Part> = table.table.parts.iter().collect();
            waiting.reverse();
            Table { staging: &target.staging, target: table, waiting, busy: 0 }
        })
    });
    let tables = Mutex::new(tables.collect());
    let work = Work { dump, tables, done: AtomicU64::new(0), stop: AtomicBool::new(false), progress, cancel };
    let Crew { workers, guard, .. } = crew;
    side_by_side(workers, guard, &work.stop, cancel, &|loader| work_off(loader, &work))
}

/// Takes parts until there is none.
fn work_off(loader: &mut Loader, work: &Work<'_>) -> anyhow::Result<()> {
    while !work.stop.load(Ordering::Relaxed) && work.cancel.signal().is_none() {
        let Some((number, staging, table, part)) = work.next() else { return Ok(()) };
        let loaded = load_part(loader, staging, table, part, work);
        work.finished(number);
        loaded.with_context(|| format!("cannot load {}", part.file))?;
    }
    Ok(())
}

impl<'a> Work<'a> {
    /// Of the tables that the fewest load into, the one with the most left.
    fn next(&self) -> Option<(usize, &'a str, &'a TargetTable, &'a Part)> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let open = tables.iter_mut().enumerate().filter(|(_, table)| !table.waiting.is_empty());
        let (number, next) = open.min_by_key(|(_, table)| (table.busy, std::cmp::Reverse(table.waiting.len())))?;
        next.busy += 1;
        Some((number, next.staging, next.target, next.waiting.pop()?))
    }

    fn finished(&self, number: usize) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get_mut(number) {
            table.busy -= 1;
        }
    }
}

fn load_part(
    loader: &mut Loader,
    staging: &str,
    table: &TargetTable,
    part: &Part,
    work: &Work<'_>,
) -> anyhow::Result<()> {
    let packed = work.dump.bytes(&part.file)?;
    let text: Box<dyn Read + Send> = work.dump.index.compression.unpack(Cursor::new(packed))?;
    let columns: Vec<_> = table.table.columns.iter().map(Column::taken).collect();
    let into = Into { schema: staging, table: &table.to, columns: &columns, history: table.table.history };
    loader.load(into, part.rows, text)?;
    (work.progress)(work.done.fetch_add(part.bytes, Ordering::Relaxed) + part.bytes);
    Ok(())
}
