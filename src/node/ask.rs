//! The database host's side: starts mysnap on the node, passes its events on, takes its answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::request::{RELEASE, Request, Survey, Task, Wanted};
use super::survey::Found;
use crate::dump::{Dumped, Options};
use crate::exit;
use crate::fault::{Fault, Kind};
use crate::run::events::{Event, Observer, Silent};
use crate::store::{Shown, SshStore};
use crate::sys::cmd::{self, Finished};
use crate::sys::talk::Talk;

/// What [`START`] answers where mysnap is not installed.
const NOT_THERE: i32 = 44;
/// Starts mysnap on the node.
///
/// Its words are where programs are looked for, then a verb.
pub(crate) const START: &str =
    r#"PATH=$1; shift; command -v mysnap >/dev/null || exit 44; exec mysnap --events json "$@""#;
const VERB: &[&str] = &["node"];
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(120);
/// How long anything else may: it notices by itself that nobody is there.
const WORK: Duration = Duration::from_secs(60 * 86_400);

/// What the node brought.
#[derive(Debug)]
pub struct Answer<T> {
    /// The result, which is good.
    pub value: T,
    /// Why something is left on the node.
    pub left: Option<anyhow::Error>,
}

/// Asks whether a second server can work on the node.
pub fn survey(node: &SshStore, survey: Survey) -> anyhow::Result<Found> {
    Ok(Conversation::begin(node, VERB, &Request::line(Wanted::Survey(survey))?, &Silent, LOOK)?.answer()?.value)
}

/// Has a server on the node look at what is stored there and not published yet. An error of
/// [`Kind::Verify`] says that the files are not good; any other that they could not be looked at.
pub fn prove(node: &SshStore, task: Task, observer: &dyn Observer) -> anyhow::Result<Answer<Shown>> {
    Conversation::begin(node, VERB, &Request::line(Wanted::Prove(task))?, observer, WORK)?.answer()
}

/// A place on the node that is being filled with the server's files. Dropped, it goes.
#[must_use]
pub struct Bringing<'a> {
    conversation: Conversation<'a>,
    place: PathBuf,
}

impl<'a> Bringing<'a> {
    /// Has the node make the place.
    pub fn begin(node: &'a SshStore, task: Task, options: Options, observer: &'a dyn Observer) -> anyhow::Result<Self> {
        let mut conversation =
            Conversation::begin(node, VERB, &Request::line(Wanted::Dump(task, options))?, observer, WORK)?;
        match conversation.listen()? {
            Some(place) => Ok(Self { conversation, place }),
            None => Err(conversation.answer::<Value>().err().unwrap_or_else(|| silence(node.host()))),
        }
    }

    /// Where it is. The files belong into the unfinished directory of the task, as at a destination.
    pub fn place(&self) -> &PathBuf {
        &self.place
    }

    /// Now that the files are there, has the node start a server on them and dump from it. Errors are as
    /// with [`prove`].
    pub fn dump(self) -> anyhow::Result<Answer<(Shown, Dumped)>> {
        self.conversation.talk.say("go on");
        self.conversation.answer()
    }
}

/// A talk of which events come, and in the end an answer.
pub(crate) struct Conversation<'a> {
    talk: Talk<'a>,
    node: &'a SshStore,
    observer: &'a dyn Observer,
    result: Option<Value>,
    said: Option<Said>,
}

/// Why the node failed.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    error: String,
    #[serde(default)]
    hints: Vec<String>,
    /// Whether it happened here, and was only repeated there.
    #[serde(skip)]
    is_ours: bool,
}

/// A line of the node.
#[derive(Debug)]
pub(crate) enum Heard {
    Event(Event),
    Result(Value),
    Error(Said),
}

impl Heard {
    /// None where it is not one of ours: a start-up file of the shell may print something.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(line).ok()?;
        match value.get("event")?.as_str()? {
            "result" => value.get_mut("result").map(Value::take).map(Self::Result),
            "error" => serde_json::from_value(value).ok().map(Self::Error),
            _ => serde_json::from_value(value).ok().map(Self::Event),
        }
    }
}

impl<'a> Conversation<'a> {
    /// Starts mysnap with `verb` on the node, and says `first` to it.
    pub(crate) fn begin(
        node: &'a SshStore,
        verb: &[&str],
        first: &str,
        observer: &'a dyn Observer,
        deadline: Duration,
    ) -> anyhow::Result<Self> {
        let talk = node.talk(START, &[&[cmd::PATH], verb].concat(), first, deadline)?;
        Ok(Self { talk, node, observer, result: None, said: None })
    }

    /// Passes events on until the node is ready for something, or has ended.
    fn listen(&mut self) -> anyhow::Result<Option<PathBuf>> {
        while let Some(line) = self.talk.hear().map_err(|error| self.node.silent(error))? {
            match Heard::of(&line) {
                Some(Heard::Event(Event::Ready { path })) => return Ok(Some(path)),
                Some(Heard::Event(event)) => self.observer.event(named(event, self.node.host())),
                Some(Heard::Result(result)) => self.result = Some(result),
                Some(Heard::Error(said)) => self.said = Some(said),
                None => tracing::debug!(line = %String::from_utf8_lossy(&line), "not understood"),
            }
        }
        Ok(None)
    }

    /// What it answers in the end.
    pub(crate) fn answer<T: DeserializeOwned>(mut self) -> anyhow::Result<Answer<T>> {
        while self.listen()?.is_some() {}
        let Self { talk, node, result, said, .. } = self;
        let ended = node.answered(talk.finish())?;
        let left = judge(node.host(), &ended, result.is_some(), said)?;
        let value = serde_json::from_value(result.ok_or_else(|| silence(node.host()))?)
            .with_context(|| format!("the answer of {} is not understood", node.host()))?;
        Ok(Answer { value, left })
    }
}

/// Who says it.
pub(crate) fn named(event: Event, host: &str) -> Event {
    let on = |text| format!("on {host}: {text}");
    match event {
        Event::Warning { text } => Event::Warning { text: on(text) },
        Event::Note { text } => Event::Note { text: on(text) },
        other => other,
    }
}

/// The error for a node that said nothing of use.
pub(crate) fn silence(host: &str) -> anyhow::Error {
    Fault::new(Kind::Copy, format!("mysnap on {host} ended without an answer")).into()
}

/// What is left where the node succeeded all the same; else the error.
pub(crate) fn judge(
    host: &str,
    ended: &Finished,
    has_result: bool,
    said: Option<Said>,
) -> anyhow::Result<Option<anyhow::Error>> {
    let code = ended.status.code();
    if code == Some(0) {
        return Ok(None);
    }
    let kind = code.and_then(|code| u8::try_from(code).ok()).and_then(kind_of_status);
    match said {
        Some(said) if has_result && kind == Some(Kind::CleanupPending) => Ok(Some(said.on(host, kind))),
        Some(said) => Err(said.on(host, kind)),
        None if code == Some(NOT_THERE) => {
            let fault = Fault::new(Kind::Refused, format!("mysnap is not installed on {host}"));
            Err(fault.hint(format!("install mysnap {RELEASE} there, as /usr/local/sbin/mysnap")).into())
        }
        None => {
            let stderr = String::from_utf8_lossy(&ended.stderr);
            let first = stderr.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
            let message = format!("mysnap on {host} did not do what it was asked ({}): {first}", ended.status);
            let fault = Fault::new(kind.unwrap_or(Kind::Copy), message);
            Err(fault.hint(format!("is it mysnap {RELEASE}? `mysnap --version` there says so")).into())
        }
    }
}

/// The class of the node's error. That somebody ended its part there is not that we are to end.
fn kind_of_status(status: u8) -> Option<Kind> {
    if status >= 128 { Some(Kind::Copy) } else { exit::kind_of_status(status) }
}

impl Said {
    /// The same, where it happened here.
    pub(crate) fn of_ours(self) -> Self {
        Self { is_ours: true, ..self }
    }

    fn on(self, host: &str, kind: Option<Kind>) -> anyhow::Error {
        let message = if self.is_ours { self.error } else { format!("on {host}: {}", self.error) };
        let hints = self.hints.join("; ");
        match kind {
            Some(kind) if hints.is_empty() => Fault::new(kind, message).into(),
            Some(kind) => Fault::new(kind, message).hint(hints).into(),
            None => anyhow::anyhow!(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{hints_of, kind_of};
    use crate::sys::cmd::Call;

    fn judged(how: &str, has_result: bool, said: Option<&str>) -> anyhow::Result<Option<anyhow::Error>> {
        let ended = Call::new("sh").args(["-c", how]).finish().unwrap();
        let said = said.map(|error| Said { error: error.to_owned(), hints: vec!["look".to_owned()], is_ours: false });
        judge("node2", &ended, has_result, said)
    }

    #[test]
    fn what_the_node_says_keeps_its_class() {
        assert!(judged("exit 0", true, None).unwrap().is_none());
        let left = judged("exit 9", true, Some("a directory")).unwrap().unwrap();
        assert_eq!(kind_of(&left), Some(Kind::CleanupPending));
        let class = |how: &str, said| kind_of(&judged(how, false, said).unwrap_err());
        assert_eq!(class("exit 9", Some("a directory")), Some(Kind::CleanupPending));
        assert_eq!(class("exit 8", Some("page 5")), Some(Kind::Verify));
        assert_eq!(class("exit 1", Some("what")), None);
        assert_eq!(class("exit 143", Some("ended by signal 15")), Some(Kind::Copy));
        assert_eq!(class("exit 44", None), Some(Kind::Refused));
        let old = judged("echo unrecognized subcommand >&2; exit 2", false, None).unwrap_err();
        assert!(old.to_string().contains("unrecognized subcommand"), "{old:#}");
        let bad = judged("exit 8", false, Some("page 5")).unwrap_err();
        assert_eq!((bad.to_string().as_str(), hints_of(&bad)), ("on node2: page 5", vec!["look"]));
    }

    #[test]
    fn lines_of_the_node_are_told_apart() {
        let heard = |line: &str| Heard::of(line.as_bytes());
        assert!(matches!(heard(r#"{"event":"phase","name":"start"}"#), Some(Heard::Event(Event::Phase { .. }))));
        let done = r#"{"event":"phase_done","name":"start","ms":1500,"detail":"it answers"}"#;
        let Some(Heard::Event(Event::PhaseDone { elapsed, .. })) = heard(done) else { panic!("{done}") };
        assert_eq!(elapsed, Duration::from_millis(1500));
        assert!(matches!(heard(r#"{"event":"result","result":[1]}"#), Some(Heard::Result(Value::Array(_)))));
        assert!(matches!(heard(r#"{"event":"error","error":"x","left":null,"hints":[]}"#), Some(Heard::Error(_))));
        for noise in ["", "Welcome to node2!", "{}", r#"{"event":"dance"}"#, r#"{"event":3}"#, "[]"] {
            assert!(heard(noise).is_none(), "{noise}");
        }
    }
}
