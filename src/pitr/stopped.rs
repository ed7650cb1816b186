//! Where a replay stopped, and why.
//!
//! A server that executes what it reads tells both. MySQL 9 reads by one thread and executes by another: it says where
//! the one stood a moment ago, and of the other that it failed. Its log has the reason, its set of GTIDs the place.

use super::Plan;
use crate::binlog::gtid::GtidSet;
use crate::binlog::{Home, Step, Transactions, Walker};
use crate::fault::{Fault, Kind};
use crate::instance::Instance;
use crate::server::{BinlogPosition, Replayer};

/// What to say of a replay that stopped, as the server tells at `told` and because of `error`.
pub(super) fn stopped(
    (plan, archive): (&Plan<'_>, &Home),
    told: &BinlogPosition,
    error: Option<String>,
    (replayer, instance): (&mut Replayer, &Instance),
) -> anyhow::Error {
    if !replayer.tells_by_its_log() {
        return named(told, error.as_deref(), true);
    }
    let error = instance.errors().or(error);
    match executed(replayer).and_then(|executed| first_left(plan, archive, told, &executed)) {
        Ok(Some(exact)) => named(&exact, error.as_deref(), true),
        Ok(None) => named(told, error.as_deref(), false),
        Err(why) => {
            tracing::warn!("where it stopped is not known exactly: {why:#}");
            named(told, error.as_deref(), false)
        }
    }
}

fn named(at: &BinlogPosition, error: Option<&str>, exact: bool) -> anyhow::Error {
    let BinlogPosition { file, offset } = at;
    let why = error.unwrap_or("it does not say why");
    let begins = if exact { "begins there" } else { "begins there or a little behind that" };
    let hint = format!("what it could not do {begins}; everything before it can be had with --until {file}:{offset}");
    Fault::new(Kind::Verify, format!("the replay stopped at {file}:{offset}: {why}")).hint(hint).into()
}

fn executed(replayer: &mut Replayer) -> anyhow::Result<GtidSet> {
    replayer.executed()?.unwrap_or_default().parse().map_err(anyhow::Error::msg)
}

/// Where the first transaction from `told` on begins that was not executed; none where they have no names.
fn first_left(
    plan: &Plan<'_>,
    archive: &Home,
    told: &BinlogPosition,
    executed: &GtidSet,
) -> anyhow::Result<Option<BinlogPosition>> {
    for part in plan.way.parts.iter().skip_while(|part| part.file != told.file) {
        let Some(file) = plan.route.timeline.file(&part.file) else { return Ok(None) };
        let from = if part.file == told.file { part.from.max(told.offset) } else { part.from };
        let mut walker = Walker::new(archive.read(&plan.route.timeline.id, file)?);
        let mut transactions = Transactions::default();
        while let Step::Event(event) = walker.step()? {
            if event.end() > part.to {
                break;
            }
            let Some(next) = transactions.add(&event).filter(|next| next.begin >= from) else { continue };
            let Some(gtid) = next.gtid else { return Ok(None) };
            let mut own = GtidSet::default();
            own.add(&gtid);
            if !executed.has_all(&own) {
                return Ok(Some(BinlogPosition { file: part.file.clone(), offset: next.begin }));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::hints_of;

    #[test]
    fn what_stops_it_is_named_by_the_servers_own_file() {
        let at = BinlogPosition { file: "b.000002".into(), offset: 200 };
        let why = "Could not execute Delete_rows event on table shop.t";
        let text = named(&at, Some(why), true).to_string();
        assert!(text.contains("stopped at b.000002:200: Could not execute"), "{text}");
        let error = named(&at, None, false);
        assert!(hints_of(&error)[0].contains("there or a little behind that"), "{error:#}");
    }
}
