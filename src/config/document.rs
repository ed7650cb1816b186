//! The file as sections of keys, each knowing its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::schema::{self, Key};
use super::setting::Setting;
use crate::fault::{Fault, Kind};
use crate::id::JobName;

/// A file that was parsed.
#[derive(Debug)]
pub(super) struct Document {
    server: Section,
    defaults: Section,
    jobs: Named,
    binlogs: Named,
    place: Place,
}

/// Sections by name, each with that of its server.
type Named = BTreeMap<JobName, (Section, Section)>;

/// A place in a file, for messages.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    line: usize,
}

/// The keys of one `[section]`.
#[derive(Debug, Default)]
struct Section {
    keys: BTreeMap<String, (toml::Value, Place)>,
}

/// Sections, the nearest first, over the defaults of `keys`.
#[derive(Debug)]
pub(super) struct Layers<'a> {
    sections: Vec<&'a Section>,
    keys: &'static [Key],
    title: String,
    place: &'a Place,
}

impl Document {
    /// Parses `text`, the contents of `path`.
    pub(super) fn parse(path: &Path, text: &str) -> anyhow::Result<Self> {
        let source = Source::new(path, text);
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| source.line(span.start));
            source.place(line).error(error.message())
        })?;
        let mut document = Self {
            server: Section::default(),
            defaults: Section::default(),
            jobs: Named::new(),
            binlogs: Named::new(),
            place: source.place(1),
        };
        for (name, value) in table.get_ref() {
            let place = source.at(name.span().start);
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("server", DeValue::Table(table)) => document.server = source.section(table, schema::SERVER)?,
                ("defaults", DeValue::Table(table)) => document.defaults = source.section(table, schema::JOB)?,
                ("job", DeValue::Table(table)) => document.jobs = source.named("job", table, schema::JOB)?,
                ("binlog", DeValue::Table(table)) => {
                    document.binlogs = source.named("binlog", table, schema::BINLOG)?;
                }
                (other, _) => {
                    return Err(place.error(&format!(
                        "{other} is not known here; allowed: the sections [server], [defaults], [job.NAME] and \
                         [binlog.NAME]"
                    )));
                }
            }
        }
        document.refuse_shared_names()?;
        Ok(document)
    }

    /// At a destination both would have the same directory.
    fn refuse_shared_names(&self) -> anyhow::Result<()> {
        match self.binlogs().find(|name| self.jobs.contains_key(name)) {
            Some(name) => Err(self.binlog(name).conflict(&["to"], "has the name of a job; allowed: another one")),
            None => Ok(()),
        }
    }

    /// The names of all archives of binary logs.
    pub(super) fn binlogs(&self) -> impl Iterator<Item = &JobName> {
        self.binlogs.keys()
    }

    /// What is in force in an archive.
    pub(super) fn binlog(&self, name: &JobName) -> Layers<'_> {
        self.layers(self.binlogs.get(name).map(|(own, _)| own), None, schema::BINLOG, format!("binlog.{name}"))
    }

    /// What is in force for an archive's server.
    pub(super) fn binlog_server(&self, name: &JobName) -> Layers<'_> {
        let nearest = self.binlogs.get(name).map(|(_, server)| server);
        self.layers(nearest, Some(&self.server), schema::SERVER, format!("binlog.{name}.server"))
    }

    /// The names of all jobs.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobName> {
        self.jobs.keys()
    }

    /// What is in force in a job.
    pub(super) fn job(&self, name: &JobName) -> Layers<'_> {
        let nearest = self.jobs.get(name).map(|(job, _)| job);
        self.layers(nearest, Some(&self.defaults), schema::JOB, format!("job.{name}"))
    }

    /// What is in force for a job's server.
    pub(super) fn server(&self, name: &JobName) -> Layers<'_> {
        let nearest = self.jobs.get(name).map(|(_, server)| server);
        self.layers(nearest, Some(&self.server), schema::SERVER, format!("job.{name}.server"))
    }

    fn layers<'a>(
        &'a self,
        nearest: Option<&'a Section>,
        shared: Option<&'a Section>,
        keys: &'static [Key],
        title: String,
    ) -> Layers<'a> {
        Layers { sections: nearest.into_iter().chain(shared).collect(), keys, title, place: &self.place }
    }
}

impl Layers<'_> {
    /// The value of a key that has one.
    pub(super) fn get<T: Setting>(&self, name: &str) -> anyhow::Result<T> {
        self.find(name)?.ok_or_else(|| {
            let about = schema::find(self.keys, name).map_or("", |key| key.about);
            let fault =
                Fault::new(Kind::Config, format!("{}: [{}] lacks {name}", self.place.path.display(), self.title));
            fault.hint(format!("{name} is {about}")).into()
        })
    }

    /// The value of a key, where it has one.
    pub(super) fn find<T: Setting>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let Some((value, place)) = self.value(name) else { return Ok(None) };
        let read = T::read(&value).map_err(|reason| place.error(&format!("{name} = {value}: {reason}")))?;
        Ok(Some(read))
    }

    /// An error at the nearest place where one of `names` is set.
    pub(super) fn conflict(&self, names: &[&str], reason: &str) -> anyhow::Error {
        let place = names.iter().find_map(|name| self.given(name)).map_or(self.place, |(_, place)| place);
        place.error(&format!("[{}] {reason}", self.title))
    }

    /// Every key with the value in force.
    pub(super) fn shown(&self) -> toml::Table {
        let value = |key: &Key| Some((key.name.to_owned(), self.value(key.name)?.0));
        self.keys.iter().filter_map(value).collect()
    }

    fn value(&self, name: &str) -> Option<(toml::Value, Place)> {
        if let Some((value, place)) = self.given(name) {
            return Some((value.clone(), place.clone()));
        }
        let default = schema::find(self.keys, name)?.default?;
        Some((default.parse().ok()?, self.place.clone()))
    }

    fn given(&self, name: &str) -> Option<&(toml::Value, Place)> {
        self.sections.iter().find_map(|section| section.keys.get(name))
    }
}

impl Place {
    fn error(&self, message: &str) -> anyhow::Error {
        Fault::new(Kind::Config, format!("{}:{}: {message}", self.path.display(), self.line)).into()
    }
}

/// The text being parsed.
struct Source<'a> {
    path: &'a Path,
    /// Where its lines end, in order: each key asks for its line.
    ends: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(path: &'a Path, text: &str) -> Self {
        Self { path, ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < offset)
    }

    fn place(&self, line: usize) -> Place {
        Place { path: self.path.to_owned(), line }
    }

    fn at(&self, offset: usize) -> Place {
        self.place(self.line(offset))
    }

    fn named(&self, kind: &str, table: &DeTable<'_>, allowed: &'static [Key]) -> anyhow::Result<Named> {
        let mut named = Named::new();
        for (name, value) in table {
            let place = self.at(name.span().start);
            let own: JobName = name.get_ref().parse().map_err(|reason: String| place.error(&reason))?;
            let DeValue::Table(keys) = value.get_ref() else {
                return Err(place.error(&format!("{kind}.{own} is not a section; write [{kind}.{own}]")));
            };
            let server = match keys.get("server").map(toml::Spanned::get_ref) {
                Some(DeValue::Table(table)) => self.section(table, schema::SERVER)?,
                _ => Section::default(),
            };
            named.insert(own, (self.section(keys, allowed)?, server));
        }
        Ok(named)
    }

    fn section(&self, table: &DeTable<'_>, keys: &'static [Key]) -> anyhow::Result<Section> {
        let mut section = Section::default();
        for (name, value) in table {
            let place = self.at(name.span().start);
            let name = name.get_ref().as_ref();
            if name == "server" && value.get_ref().is_table() {
                continue;
            }
            if schema::find(keys, name).is_none() {
                return Err(unknown(&place, keys, name));
            }
            let plain = plain(value.get_ref()).ok_or_else(|| {
                let found = value.get_ref().type_str();
                place.error(&format!(
                    "{name} is {found}; allowed: a text, a number, a switch, a list or a table of these"
                ))
            })?;
            section.keys.insert(name.to_owned(), (plain, place));
        }
        Ok(section)
    }
}

fn plain(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.clone().into_owned()),
        DeValue::Boolean(switch) => toml::Value::Boolean(*switch),
        DeValue::Integer(number) => {
            toml::Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX))
        }
        DeValue::Array(list) => {
            toml::Value::Array(list.iter().map(|each| plain(each.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(name, value)| Some((name.get_ref().to_string(), plain(value.get_ref())?)));
            toml::Value::Table(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn unknown(place: &Place, keys: &'static [Key], name: &str) -> anyhow::Error {
    let elsewhere =
        if std::ptr::eq(keys, schema::JOB) { ("[server]", schema::SERVER) } else { ("[job.NAME]", schema::JOB) };
    let hint = if name.contains("password") || name.contains("secret") {
        "passwords belong into a MySQL option file that only its owner can read: [server] option_file = \"…\""
            .to_owned()
    } else if let Some(near) = schema::nearest(keys, name) {
        format!("did you mean {near}?")
    } else if schema::find(elsewhere.1, name).is_some() {
        format!("{name} belongs into {}", elsewhere.0)
    } else {
        format!("allowed: {}", keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", "))
    };
    let message = format!("{}:{}: {name} is not a known key", place.path.display(), place.line);
    Fault::new(Kind::Config, message).hint(hint).into()
}
