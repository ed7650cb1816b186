//! The node's side: writes the archive, on its own disk, of what the database host answers.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ask::{Asked, Line};
use super::{Ask, BEAT, Begin, Done, Looked, Order, SILENCE, Wanted, Write};
use crate::binlog::archiver::Archiver;
use crate::binlog::home::Home;
use crate::binlog::index::is_plain;
use crate::binlog::passed::Passed;
use crate::fault::{Kind, kind_of};
use crate::node;
use crate::sys::cancel::Cancel;
use crate::sys::talk::Starter;

/// How long an earlier one, whose database host is gone, may need to notice that and to end.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);

/// Does what the database host asks for, until it has gone, which is success; what is to be answered then, if anything.
pub fn receive(input: impl std::io::BufRead + Send + 'static, cancel: &Cancel) -> anyhow::Result<Option<Value>> {
    let starter = Starter::listen_for(input, SILENCE, cancel)?;
    let begin = Begin::read(&starter.hear()?)?;
    match begin.wanted {
        Wanted::Look => {
            let archive = Home::new(begin.home).is_there();
            Ok(Some(serde_json::to_value(Looked { mysnap: node::RELEASE.to_owned(), archive })?))
        }
        Wanted::Expire(plan) => Ok(Some(serde_json::to_value(super::expire::carry_out(begin.home, &plan)?)?)),
        Wanted::Write(wanted) => {
            starter.beat(BEAT)?;
            anyhow::ensure!(is_plain(&wanted.identity.key), "{:?} is no name of a server", wanted.identity.key);
            write(&Home::new(begin.home), &wanted, &Rc::new(Line { starter }), cancel)?;
            Ok(None)
        }
    }
}

/// What was copied is durable whatever ends it.
fn write(home: &Home, wanted: &Write, line: &Rc<Line>, cancel: &Cancel) -> anyhow::Result<()> {
    if wanted.known
        && let Some(missing) = home.missing()?
    {
        return Err(missing.into());
    }
    let (mut archiver, passed) = claim(home, wanted, line, cancel)?;
    done(&archiver, passed, line)?;
    loop {
        let passed = line.hear().and_then(|order| match order {
            Order::Pass => archiver.pass(),
            Order::Tell => archiver.tell(true).map(|()| Passed::default()),
        });
        match passed {
            Ok(passed) => done(&archiver, passed, line)?,
            Err(_) if cancel.signal().is_some() => return archiver.tell(false),
            Err(error) => return Err(error),
        }
    }
}

fn claim<'a>(
    home: &Home,
    wanted: &Write,
    line: &Rc<Line>,
    cancel: &'a Cancel,
) -> anyhow::Result<(Archiver<'a>, Passed)> {
    let end = Instant::now() + patience(wanted);
    loop {
        let logs = (wanted.identity.clone(), Box::new(Asked(Rc::clone(line))) as Box<_>);
        match Archiver::open(home, logs, wanted.compression, cancel) {
            Err(error) if kind_of(&error) == Some(Kind::Busy) && Instant::now() < end => cancel.sleep(PAUSE)?,
            claimed => return claimed,
        }
    }
}

/// How long another one that holds the archive is waited for. One of the same stream may have to notice by the silence
/// that its database host is gone; one of another stream goes on, and is named at once.
fn patience(wanted: &Write) -> Duration {
    if wanted.again { SILENCE + PATIENCE } else { PATIENCE }
}

fn done(archiver: &Archiver<'_>, passed: Passed, line: &Line) -> anyhow::Result<()> {
    let (end, has_ended, is_damaged) = (archiver.end(), archiver.has_ended(), archiver.is_damaged());
    line.say(&Ask::Done(Done { passed, end, has_ended, is_damaged }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::index::Identity;
    use crate::dump::Compression;
    use crate::server::Flavour;

    #[test]
    fn only_a_stream_that_begins_again_waits_for_a_silent_writer() {
        let identity = Identity { key: "db1".into(), flavour: Flavour::MariaDb, server_id: 1 };
        let write = |again, known| Write { identity: identity.clone(), compression: Compression::None, again, known };
        assert!(patience(&write(true, true)) > SILENCE);
        assert!(patience(&write(false, true)) < SILENCE, "that an archive is known is no reason to wait");
    }
}
