//! What a preflight check found, and what to do about it.

use serde::Serialize;

use crate::fault::{Fault, Kind};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// A backup would work; the operator should look.
    Warning,
    /// A backup would be refused.
    Refusal,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: `server`, `privileges`, `volume`, …
    pub subject: &'static str,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The class of the error that a backup would end with.
    #[serde(skip)]
    pub kind: Kind,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// As it should be.
    pub fn good(&mut self, subject: &'static str, text: impl Into<String>) {
        self.push(Level::Good, subject, text.into(), None, Kind::Refused);
    }

    /// Worth a look.
    pub fn warn(&mut self, subject: &'static str, text: impl Into<String>, hint: impl Into<String>) {
        self.push(Level::Warning, subject, text.into(), Some(hint.into()), Kind::Refused);
    }

    /// Would refuse a backup.
    pub fn refuse(&mut self, subject: &'static str, text: impl Into<String>, hint: impl Into<String>) {
        self.push(Level::Refusal, subject, text.into(), Some(hint.into()), Kind::Refused);
    }

    /// Would refuse a backup because of the configuration or the account.
    pub fn misconfigured(&mut self, subject: &'static str, text: impl Into<String>, hint: impl Into<String>) {
        self.push(Level::Refusal, subject, text.into(), Some(hint.into()), Kind::Config);
    }

    /// How many refusals there are.
    pub fn refusals(&self) -> usize {
        self.0.iter().filter(|f| f.level == Level::Refusal).count()
    }

    /// Records what an attempt to look brought: its value, or its error as a refusal.
    pub fn attempt<T>(&mut self, subject: &'static str, outcome: anyhow::Result<T>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let kind = crate::fault::kind_of(&error).unwrap_or(Kind::Refused);
        let hint = crate::fault::hints_of(&error).join("; ");
        let hint = (!hint.is_empty()).then_some(hint);
        self.push(Level::Refusal, subject, format!("{error:#}"), hint, kind);
        None
    }

    /// Takes over what was found elsewhere.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    fn push(&mut self, level: Level, subject: &'static str, text: String, hint: Option<String>, kind: Kind) {
        self.0.push(Finding { level, subject, text, hint, kind });
    }

    /// Every finding.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    /// The worst level; `Good` where nothing was found.
    pub fn worst(&self) -> Level {
        self.0.iter().map(|f| f.level).max().unwrap_or(Level::Good)
    }

    /// The refusals as one error, of the class of the first; `Ok` where there is none.
    pub fn into_result(self) -> anyhow::Result<()> {
        let refusals: Vec<&Finding> = self.0.iter().filter(|f| f.level == Level::Refusal).collect();
        let Some(first) = refusals.first() else { return Ok(()) };
        let text: Vec<String> = refusals.iter().map(|f| format!("{}: {}", f.subject, f.text)).collect();
        let hints: Vec<&str> = refusals.iter().filter_map(|f| f.hint.as_deref()).collect();
        let fault = Fault::new(first.kind, format!("refused before anything was touched: {}", text.join("; ")));
        Err(if hints.is_empty() { fault } else { fault.hint(hints.join("; ")) }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::kind_of;

    #[test]
    fn all_refusals_are_named_at_once_and_the_first_decides_the_class() {
        let mut findings = Findings::default();
        findings.good("server", "MariaDB 11.8");
        let missing = Fault::new(Kind::Config, "no privilege RELOAD").hint("GRANT RELOAD");
        assert!(findings.attempt::<()>("privileges", Err(missing.into())).is_none());
        findings.refuse("group", "vg0 has no room", "lvextend");
        assert_eq!(findings.worst(), Level::Refusal);
        let error = findings.into_result().unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Config));
        let text = error.to_string();
        assert!(text.contains("RELOAD") && text.contains("vg0 has no room"), "{text}");
    }

    #[test]
    fn warnings_refuse_nothing() {
        let mut findings = Findings::default();
        findings.warn("fstab", "mounts by UUID", "mount by path");
        assert_eq!(findings.worst(), Level::Warning);
        findings.into_result().unwrap();
    }
}
