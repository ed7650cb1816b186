//! Whether a tool that follows the server still gets what there is: asked of the server now and then.

use std::cmp::Ordering;

use super::source::number;
use crate::fault::{Fault, Kind};
use crate::server::{BinlogPosition, ServerLog};

/// What was seen when the server was last asked.
#[derive(Debug)]
pub(super) struct Glimpse {
    /// How far the tool was.
    sent: ServerLog,
    /// Where the server was.
    end: Option<BinlogPosition>,
}

impl Glimpse {
    /// Nothing yet, of a tool that begins with the file `name`.
    pub(super) fn of(name: &str) -> Self {
        Self { sent: ServerLog { name: name.to_owned(), size: 0 }, end: None }
    }

    /// The file to which the tool wrote.
    pub(super) fn name(&self) -> &str {
        &self.sent.name
    }

    /// Compares what `tool` had got, `sent`, with where the server is, which was asked after that.
    ///
    /// # Errors
    /// `Gap` where the server's log is another one by now: one that was reset says nothing of that to its replicas.
    /// `Refused` where nothing came since the last glimpse of what the server had already then. What it has written
    /// since may be on its way.
    pub(super) fn compare(&mut self, tool: &str, sent: &ServerLog, end: &BinlogPosition) -> anyhow::Result<()> {
        let before = self.end.replace(end.clone());
        let stood = std::mem::replace(&mut self.sent, sent.clone()) == *sent;
        let place = format!("{}:{}", end.file, end.offset);
        if order(end, sent).is_lt() {
            let message = format!("the server's log ends at {place}, before what it sent: it is asked who it is");
            return Err(Fault::new(Kind::Gap, message).into());
        }
        if stood && before.is_some_and(|before| order(&before, sent).is_gt()) {
            let message = format!("{tool} stands at {}:{}, and the server is at {place}", sent.name, sent.size);
            return Err(Fault::new(Kind::Refused, message).hint("is the network cut?").into());
        }
        Ok(())
    }
}

/// Where the server is, seen from what it has sent; before that where its log is another one.
fn order(server: &BinlogPosition, sent: &ServerLog) -> Ordering {
    match (number(&server.file), number(&sent.name)) {
        (Some((stem, there)), Some((own, here))) if stem == own => (there, server.offset).cmp(&(here, sent.size)),
        _ => Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    #[test]
    fn only_what_the_server_had_at_the_last_glimpse_is_missed() {
        let mut glimpse = Glimpse::of("b.000001");
        let mut compare = |sent: u64, end: u64| {
            let end = BinlogPosition { file: "b.000001".to_owned(), offset: end };
            glimpse.compare("tool", &ServerLog { name: "b.000001".to_owned(), size: sent }, &end)
        };
        compare(500, 500).unwrap();
        // Written between one question and the other, after a long silence.
        compare(500, 600).unwrap();
        compare(600, 700).unwrap();
        // Slow, and not silent.
        compare(650, 700).unwrap();
        let error = compare(650, 800).unwrap_err();
        assert!(kind_of(&error) == Some(Kind::Refused) && error.to_string().contains("650"), "{error:#}");
        let error = compare(650, 400).unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Gap), "{error:#}");
        let anew = BinlogPosition { file: "c.000001".to_owned(), offset: 800 };
        let sent = ServerLog { name: "b.000001".to_owned(), size: 650 };
        assert_eq!(kind_of(&glimpse.compare("tool", &sent, &anew).unwrap_err()), Some(Kind::Gap));
    }
}
