//! Errors that decide something: the exit status and the hint that an operator gets.
//!
//! Everywhere below the command line an error is an [`anyhow::Error`] with context above it. Where
//! the cause belongs to a class that cron or a person acts on, the chain holds a [`Fault`], which
//! names that class and says what to check. A cleanup that fails too joins the cause in a
//! [`Failure`]; it never replaces it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operator can tell apart by the exit status; see [`crate::exit`] for the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Wrong arguments, configuration, credentials or privileges.
    Config,
    /// A preflight check refused before anything was touched.
    Refused,
    /// The read lock was not obtained, or not kept, within its budget.
    Lock,
    /// Another run or another command holds what this one needs.
    Busy,
    /// The snapshot could not be made, or was lost before the last byte was read.
    Snapshot,
    /// Copying to or from the destination failed.
    Copy,
    /// Stored files differ from their digests, or a proof failed.
    Verify,
    /// The result is good, but something of ours could not be removed yet.
    CleanupPending,
    /// No such backup, job, snapshot or clone.
    NotFound,
    /// Binary logs are missing, or damaged, between what is archived.
    Gap,
    /// The person did not agree, or nobody was there to ask.
    Declined,
    /// A signal asked the run to end.
    Cancelled,
}

/// An error with a class and a hint.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<anyhow::Error>,
}

impl Fault {
    /// An error of class `kind`; the message names the object, lower case, no full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// What the operator should check or do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error below this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The class.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to check, where there is something to say.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| &**e as _)
    }
}

/// Something that a run left, and what a person does about it where the text does not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub text: String,
    /// What to do.
    pub remedy: Option<&'static str>,
}

/// A failure, the cleanups that failed after it, and what is left where somebody has looked.
#[derive(Debug)]
pub struct Failure {
    cause: anyhow::Error,
    cleanup: Vec<anyhow::Error>,
    left: Option<Vec<Leftover>>,
}

impl Failure {
    /// Joins `cleanup` to `cause`; without cleanup errors the cause is returned as it is.
    pub fn join(cause: anyhow::Error, cleanup: Vec<anyhow::Error>) -> anyhow::Error {
        if cleanup.is_empty() { cause } else { Self { cause, cleanup, left: None }.into() }
    }

    /// `cause`, after which this is left; perhaps nothing.
    pub fn leaving(cause: anyhow::Error, left: Vec<Leftover>) -> anyhow::Error {
        Self { cause, cleanup: Vec::new(), left: Some(left) }.into()
    }

    /// What could not be cleaned up.
    pub fn cleanup(&self) -> &[anyhow::Error] {
        &self.cleanup
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        for error in &self.cleanup {
            write!(f, " (and the cleanup failed: {error:#})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause: &(dyn std::error::Error + 'static) = &*self.cause;
        // The first message is already ours: go on below it, but keep a Fault findable.
        if cause.is::<Fault>() || cause.is::<Self>() { Some(cause) } else { cause.source() }
    }
}

/// The outermost class in the chain of `error`, if any of its causes has one.
pub fn kind_of(error: &anyhow::Error) -> Option<Kind> {
    error.chain().find_map(|cause| cause.downcast_ref::<Fault>()).map(Fault::kind)
}

/// Every hint in the chain of `error`, outermost first.
pub fn hints_of(error: &anyhow::Error) -> Vec<&str> {
    error.chain().filter_map(|cause| cause.downcast_ref::<Fault>()?.hint_text()).collect()
}

/// What is left after `error`, where somebody has looked.
pub fn left_after(error: &anyhow::Error) -> Option<&[Leftover]> {
    error.chain().find_map(|cause| cause.downcast_ref::<Failure>()?.left.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn class_and_hint_survive_context_and_cleanup_errors() {
        let fault = Fault::new(Kind::Snapshot, "snapshot vg0/x overflowed").hint("give it more room");
        let error = Err::<(), _>(fault).context("backup of job nightly failed").unwrap_err();
        let joined = Failure::join(error, vec![anyhow::anyhow!("umount: busy")]);
        assert_eq!(kind_of(&joined), Some(Kind::Snapshot));
        assert_eq!(hints_of(&joined), ["give it more room"]);
        let text = format!("{joined:#}");
        assert!(text.contains("backup of job nightly failed"), "{text}");
        assert!(text.contains("vg0/x overflowed"), "{text}");
        assert!(text.contains("umount: busy"), "{text}");
        assert_eq!(left_after(&joined), None);

        let mount = Leftover { text: "a mount".to_owned(), remedy: None };
        let told = Failure::leaving(joined, vec![mount.clone()]);
        assert_eq!((kind_of(&told), hints_of(&told).len()), (Some(Kind::Snapshot), 1));
        assert_eq!(left_after(&told), Some(&[mount][..]));
        assert!(format!("{told:#}").contains("umount: busy"), "{told:#}");
    }
}
