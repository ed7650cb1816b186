//! Where an archive's bytes come from: the server's own files, or its family's tool.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::encrypted::{Readable, still_encrypted};
use super::home::{self, Home};
use super::index::{Identity, LogFile, is_plain};
use super::logs::{Log, Logs};
use super::source::{Listed, Source, number};
use super::spool::Spool;
use super::spool_place::SpoolPlace;
use super::stream::Request;
use super::tool::Tool;
use crate::fault::{Fault, Kind};
use crate::server::{LogEngine, ServerLog, Session};
use crate::sys::cancel::Cancel;

/// Where a server's binary logs are read, and which server it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The server.
    pub(super) identity: Identity,
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Files(Source),
    Tool {
        tool: Tool,
        /// The server's files, by the name that all have.
        log: PathBuf,
        because: String,
    },
}

/// What the server lists now.
#[derive(Debug)]
pub(super) struct Listing {
    /// Its files, oldest first.
    pub(super) files: Vec<Listed>,
    /// The length of each.
    pub(super) sizes: Vec<u64>,
}

impl Origin {
    /// How the binary logs of the server of `session` are read.
    pub(super) fn of(session: &Session, request: &Request, cancel: &Cancel) -> anyhow::Result<Self> {
        let identity = Identity::of(session.facts());
        let Some(log) = &session.facts().binary_log else { return Err(super::source::is_off()) };
        let way = match because(session, request, cancel)? {
            None => Way::Files(Source::of(session)?),
            Some(because) => {
                let tool = Tool::find(session, &claim_of(&request.home))?;
                Way::Tool { tool, log: log.basename.clone(), because }
            }
        };
        Ok(Self { identity, way })
    }

    /// The same where the tool was taken for another replica so often.
    pub(super) fn evading(self, others: u32) -> Self {
        match self.way {
            Way::Tool { tool, log, because } => {
                Self { way: Way::Tool { tool: tool.evading(others), log, because }, ..self }
            }
            Way::Files(_) => self,
        }
    }

    /// The files, for whoever writes the archive of `request`; with `follow` for as long as it is written.
    pub(super) fn logs(&self, request: &Request, follow: bool, cancel: &Cancel) -> Box<dyn Logs> {
        match &self.way {
            Way::Files(source) => {
                let may_change = request.engine == LogEngine::Auto;
                Box::new(Readable::new(source, may_change.then(|| request.home.clone())))
            }
            Way::Tool { tool, .. } => Box::new(Spool::new(tool.clone(), request, follow, cancel)),
        }
    }

    /// The files as far as they can be looked at without a copy of them.
    pub(super) fn glance(&self) -> Box<dyn Logs + '_> {
        match &self.way {
            Way::Files(source) => Box::new(source.clone()),
            Way::Tool { .. } => Box::new(Unseen),
        }
    }

    /// What the server lists now.
    pub(super) fn listing(&self, session: &mut Session, cancel: &Cancel) -> anyhow::Result<Listing> {
        let files = match &self.way {
            Way::Files(source) => source.files(cancel)?,
            Way::Tool { .. } => {
                let logs = session.binary_logs()?;
                let sizes = logs.iter().map(|log| log.size).collect();
                return Ok(Listing { files: listed(&logs, Path::new(""))?, sizes });
            }
        };
        let sizes = files.iter().map(length).collect::<anyhow::Result<_>>()?;
        Ok(Listing { files, sizes })
    }

    /// Whether `file` is all of the server's closed one, of which `listing` tells. By what it holds where that can be
    /// looked at, else by its length.
    pub(super) fn is_all_of(&self, listing: &Listing, file: &LogFile) -> anyhow::Result<bool> {
        let found = listing.files.iter().zip(&listing.sizes).find(|(listed, _)| listed.name == file.name);
        let Some((listed, size)) = found else { return Ok(false) };
        let same = match &self.way {
            Way::Tool { .. } => true,
            Way::Files(_) => {
                let Some(there) = listed.open()? else { return Ok(false) };
                home::beginning(&there)?.map(|(_, fingerprint)| fingerprint) == file.fingerprint
            }
        };
        Ok(same && *size == file.size)
    }

    /// Where the files are that are read.
    pub(super) fn directory(&self) -> Option<&Path> {
        match &self.way {
            Way::Files(source) => Some(source.directory()),
            Way::Tool { .. } => None,
        }
    }

    /// Why the tool is used, where it is.
    pub(super) fn told(&self) -> Option<String> {
        match &self.way {
            Way::Files(_) => None,
            Way::Tool { tool, because, .. } => Some(format!("{because}: its binary logs are read by {}", tool.name)),
        }
    }

    /// Has the tool read nothing, as it would read all: an error where it can't. Files need no trial.
    pub(super) fn try_tool(&self, request: &Request, cancel: &Cancel) -> anyhow::Result<()> {
        match &self.way {
            Way::Files(_) => Ok(()),
            Way::Tool { tool, .. } => Spool::new(tool.clone(), request, false, cancel).trial(),
        }
    }

    /// Whether what was read as told here can be read so on, where `now` is how it would be read now. The tool reads
    /// what the files have too.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        let by_tool = matches!(self.way, Way::Tool { .. });
        self == now || by_tool && self.identity == now.identity && self.place() == now.place()
    }

    /// Through which place what is read goes, where that is neither the server's nor the archive's.
    pub(super) fn through(&self, request: &Request, cancel: &Cancel) -> anyhow::Result<Option<String>> {
        match &self.way {
            Way::Files(_) => Ok(None),
            Way::Tool { .. } => SpoolPlace::of(request).told(cancel),
        }
    }

    /// The directory of the files, as the server names it.
    pub(super) fn place(&self) -> &Path {
        match &self.way {
            Way::Files(source) => source.directory(),
            Way::Tool { log, .. } => log.parent().unwrap_or(log),
        }
    }
}

/// Why the tool is to be used; none where the files are.
fn because(session: &Session, request: &Request, cancel: &Cancel) -> anyhow::Result<Option<String>> {
    Ok(match request.engine {
        LogEngine::Files => None,
        LogEngine::Tool => Some("the configuration says engine = \"tool\"".to_owned()),
        LogEngine::Auto => match session.log_encryption() {
            Some(setting) => Some(format!("the server encrypts its binary log ({setting} is on)")),
            None if !session.is_on_this_host() => Some("the server's files are not on this host".to_owned()),
            None => {
                let encrypted = still_encrypted(&Source::of(session)?.files(cancel)?, &request.home)?;
                encrypted.map(|name| format!("the server encrypted its binary log as far as {name}"))
            }
        },
    })
}

/// The length of a file; of one that was purged meanwhile there is nothing left.
fn length(file: &Listed) -> anyhow::Result<u64> {
    match file.path.metadata() {
        Ok(there) => Ok(there.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", file.path.display())),
    }
}

/// What tells the archive from others that read the same server.
pub(super) fn claim_of(home: &Home) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{}:{home}", host.to_string_lossy())
}

/// What the server lists, as files in `directory`.
pub(super) fn listed(logs: &[ServerLog], directory: &Path) -> anyhow::Result<Vec<Listed>> {
    let of = |log: &ServerLog| {
        // Names become paths.
        let fits = is_plain(&log.name) && number(&log.name).is_some();
        fits.then(|| Listed { name: log.name.clone(), path: directory.join(&log.name) })
            .with_context(|| format!("{:?} is no name of a binary log", log.name))
    };
    let files = logs.iter().map(of).collect::<anyhow::Result<Vec<_>>>()?;
    let hole =
        files.iter().zip(files.iter().skip(1)).find(|(one, next)| !super::source::follows(&one.name, &next.name));
    match hole {
        None => Ok(files),
        Some((one, next)) => {
            let message = format!("the server's list of binary logs has a hole between {} and {}", one.name, next.name);
            Err(Fault::new(Kind::Gap, message).hint("did somebody remove files by hand?").into())
        }
    }
}

/// Files of which nothing but their names is known.
#[derive(Debug)]
struct Unseen;

impl Logs for Unseen {
    fn files(&self, _: &Cancel) -> anyhow::Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    fn open(&self, _: &Listed) -> anyhow::Result<Option<std::rc::Rc<dyn Log>>> {
        Ok(None)
    }
}
