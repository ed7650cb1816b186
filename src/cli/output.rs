//! The only printer.
//!
//! Results go to standard output, everything about the way there to standard error, so that a
//! result can be piped. On a terminal a phase is one line that is finished when the phase is, with
//! a bar while bytes move; elsewhere it is one line with the time, for a log. With `--quiet` only
//! warnings and errors are printed; with `--events json` everything is one JSON object a line on
//! standard output.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::EventFormat;
use crate::fault::{Fault, Kind, hints_of, left_after};
use crate::run::events::{Event, Observer};
use crate::sys::clock;
use crate::sys::units::human_duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Terminal,
    Log,
    Quiet,
    Json,
}

/// Prints events, results and errors in the style that was asked for.
#[derive(Debug)]
pub struct Output {
    style: Style,
    bar: Mutex<Option<ProgressBar>>,
}

impl Output {
    /// The style follows from the arguments and from where standard error goes.
    pub fn new(quiet: bool, events: Option<EventFormat>) -> Self {
        let style = match (events, quiet) {
            (Some(EventFormat::Json), _) => Style::Json,
            (None, true) => Style::Quiet,
            (None, false) if std::io::stderr().is_terminal() => Style::Terminal,
            (None, false) => Style::Log,
        };
        Self { style, bar: Mutex::new(None) }
    }

    /// Prints a result for people; nothing with `--quiet` or as events.
    pub fn result(&self, text: &str) {
        if matches!(self.style, Style::Terminal | Style::Log) {
            Self::print(text);
        }
    }

    /// Prints what was asked for, whatever the style.
    pub fn answer(&self, text: &str) {
        Self::print(text);
    }

    /// Prints what was asked for, as JSON.
    pub fn answer_json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        Self::print(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Prints the result as the last event, where events were asked for.
    pub fn result_event(&self, value: &impl Serialize) -> anyhow::Result<()> {
        if self.style == Style::Json {
            let line = serde_json::json!({ "event": "result", "result": value });
            Self::print(&line.to_string());
        }
        Ok(())
    }

    /// Prints an error with its causes, what is left where that is known, then what to check.
    pub fn error(&self, error: &anyhow::Error) {
        self.finish_bar();
        let mut hints = hints_of(error);
        let left = left_after(error);
        for remedy in left.into_iter().flatten().filter_map(|left| left.remedy) {
            if !hints.contains(&remedy) {
                hints.push(remedy);
            }
        }
        let texts: Option<Vec<&str>> = left.map(|left| left.iter().map(|left| left.text.as_str()).collect());
        if self.style == Style::Json {
            let line = serde_json::json!({ "event": "error", "error": chain(error), "left": texts, "hints": hints });
            Self::print(&line.to_string());
        }
        Self::say(&format!("mysnap: error: {}", chain(error)));
        match texts.as_deref() {
            Some([]) => Self::say("left: nothing; earlier backups are as they were"),
            left => left.into_iter().flatten().for_each(|text| Self::say(&format!("left: {text}"))),
        }
        for hint in hints {
            Self::say(&format!("hint: {hint}"));
        }
    }

    /// Shows `plan` and lets the person type `expected`; `yes` stands for having typed it.
    pub fn confirm(&self, plan: &str, expected: &str, yes: bool) -> anyhow::Result<()> {
        if yes {
            self.result(plan);
            return Ok(());
        }
        Self::say(plan);
        let declined = |why: &str| Fault::new(Kind::Declined, why.to_owned()).hint("nothing was touched");
        if !std::io::stdin().is_terminal() {
            return Err(declined("not confirmed: standard input is not a terminal; --yes confirms").into());
        }
        Self::say(&format!("Type {expected} to go on:"));
        let mut typed = String::new();
        std::io::stdin().read_line(&mut typed)?;
        if typed.trim() == expected { Ok(()) } else { Err(declined("not confirmed").into()) }
    }

    fn progress(&self, done: u64, total: u64) {
        let Ok(mut bar) = self.bar.lock() else { return };
        let bar = bar.get_or_insert_with(|| {
            let style = "         {bar:30} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style)
        });
        bar.set_length(total.max(done));
        bar.set_position(done);
    }

    fn finish_bar(&self) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }

    fn phase_done(&self, name: &str, elapsed: Duration, detail: &str) {
        self.finish_bar();
        let took = human_duration(elapsed);
        match self.style {
            Style::Terminal => Self::say(&format!("{name:>8}  {detail} ({took})")),
            Style::Log => Self::log("INFO", &format!("{name}: {detail} ({took})")),
            Style::Quiet | Style::Json => {}
        }
    }

    fn log(level: &str, text: &str) {
        Self::say(&format!("{} {level} {text}", clock::now().strftime("%Y-%m-%dT%H:%M:%SZ")));
    }

    fn print(text: &str) {
        // A closed pipe (`mysnap list | head`) is the reader's wish, not our failure.
        if let Err(error) = writeln!(std::io::stdout(), "{text}") {
            tracing::debug!(%error, "standard output is closed");
        }
    }

    fn say(text: &str) {
        if let Err(error) = writeln!(std::io::stderr(), "{text}") {
            tracing::debug!(%error, "standard error is closed");
        }
    }
}

impl Observer for Output {
    fn event(&self, event: Event) {
        if self.style == Style::Json {
            match serde_json::to_string(&event) {
                Ok(line) => Self::print(&line),
                Err(error) => tracing::warn!(%error, "an event cannot be written"),
            }
            return;
        }
        match event {
            Event::PhaseDone { name, elapsed, detail } => self.phase_done(&name, elapsed, &detail),
            Event::Progress { done, total } if self.style == Style::Terminal => self.progress(done.0, total.0),
            Event::Warning { text } if self.style == Style::Terminal => Self::say(&format!(" warning  {text}")),
            Event::Warning { text } => Self::log("WARN", &text),
            Event::Note { text } if self.style == Style::Terminal => Self::say(&format!("          {text}")),
            Event::Note { text } if self.style == Style::Log => Self::log("INFO", &text),
            Event::Phase { .. } | Event::Progress { .. } | Event::Note { .. } | Event::Ready { .. } => {}
        }
    }
}

/// The messages of the chain, each once: an outer message often repeats the inner one's words.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for message in error.chain().map(ToString::to_string) {
        if text.contains(&message) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_chain_is_printed_once() {
        let error = anyhow::anyhow!("disk full").context("cannot write x: disk full").context("backup failed");
        assert_eq!(chain(&error), "backup failed: cannot write x: disk full");
        let error = Err::<(), _>(anyhow::anyhow!("inner")).context("outer").unwrap_err();
        assert_eq!(chain(&error), "outer: inner");
    }
}
