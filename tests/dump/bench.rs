//! A destination for dumps of a real server, and their way back.

use std::path::PathBuf;

use jiff::Timestamp;
use mysnap::dump::{self, Compression, Dumped, Listing, Options, Readers, Selection, Sizes};
use mysnap::load::{self, Dump, Loaded, Plan, Request};
use mysnap::run::events::Silent;
use mysnap::server::{Address, Session, Table};
use mysnap::store::{Backup, Catalog, LocalStore, Manifest, Method, ProofLevel, Staging, Transfer, Work};
use mysnap::sys::cancel::Cancel;

use crate::server::Server;

const ID: &str = "20261121T092233Z-0001";

/// A destination, and what is dumped to it.
pub struct Bench {
    home: tempfile::TempDir,
    cancel: Cancel,
    /// Where the backup is.
    pub store: LocalStore,
}

impl Bench {
    pub fn new() -> Self {
        let (home, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        let store = LocalStore::new(&home.path().join("destination"), &cancel);
        Self { home, cancel, store }
    }

    /// Dumps what is selected and publishes it as a backup.
    pub fn dump(&self, server: &Server, options: &Options) -> anyhow::Result<Dumped> {
        self.dump_after(server, options, None, "DO 0")
    }

    /// The same, with `statements` between the moment of its listing and the first look.
    pub fn dump_after(
        &self,
        server: &Server,
        options: &Options,
        listing: Option<&dyn Fn(Vec<Table>) -> Listing>,
        statements: &str,
    ) -> anyhow::Result<Dumped> {
        let session = server.session();
        let staging = Staging::begin(&self.store, &"dump".parse().unwrap(), &ID.parse().unwrap())?;
        let mut readers = Readers::gather(options.workers, None, || session.reader())?;
        let names = readers.guard.names()?;
        readers.listing = listing.map(|listing| listing(names));
        server.sql(statements);
        let dumped = dump::dump(readers, options, Timestamp::UNIX_EPOCH, &staging, &Silent, &self.cancel)?;
        let transfer = Transfer::default();
        let work = Work { transfer: &transfer, progress: &|_| {}, cancel: &self.cancel };
        let proof = staging.prove(ProofLevel::Checksum, &[], &dumped.copied, work)?;
        let manifest = Manifest::decode(include_bytes!("../data/manifest-1.json")).unwrap();
        let manifest = Manifest {
            id: ID.parse().unwrap(),
            job: "dump".parse().unwrap(),
            method: Method::Dump,
            roots: vec![dumped.root.clone()],
            server: session.facts().clone(),
            proof,
            ..manifest
        };
        staging.commit(manifest, &dumped.copied.files)?;
        Ok(dumped)
    }

    pub fn backup(&self) -> Backup {
        Catalog::read(&self.store, None).unwrap().find("latest").unwrap().clone()
    }

    pub fn load(&self, server: &Server, request: &Request) -> anyhow::Result<Loaded> {
        self.load_until(server, request, &Cancel::new(), &|_| {})
    }

    /// The same on the way of `address`, where every other connection goes straight.
    pub fn load_by(&self, server: &Server, address: &Address, request: &Request) -> anyhow::Result<Loaded> {
        let (dump, plan) = (Dump::open(&self.store, &self.backup())?, self.plan(server, request)?);
        load::execute(&plan, &dump, address, &|_| {}, &Cancel::new())
    }

    /// What a load would do.
    pub fn plan(&self, server: &Server, request: &Request) -> anyhow::Result<Plan> {
        let dump = Dump::open(&self.store, &self.backup())?;
        let session: Session = server.session();
        load::plan(&dump, request, &mut session.loader(true)?, session.facts())
    }

    pub fn load_until(
        &self,
        server: &Server,
        request: &Request,
        cancel: &Cancel,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Loaded> {
        let dump = Dump::open(&self.store, &self.backup())?;
        let plan = self.plan(server, request)?;
        load::execute(&plan, &dump, &server.address(), progress, cancel)
    }

    /// What `--from` names.
    pub fn destination(&self) -> PathBuf {
        self.home.path().join("destination")
    }

    pub fn stored(&self, path: &str) -> PathBuf {
        self.destination().join("dump").join(ID).join("dump").join(path)
    }
}

/// All of a server.
pub fn everything() -> Options {
    Options { selection: Selection::default(), workers: 3, compression: Compression::Zstd, sizes: Sizes::default() }
}

/// These databases.
pub fn request(databases: &[&str]) -> Request {
    let databases = databases.iter().map(|name| (*name).to_owned()).collect();
    Request { databases, workers: 3, binary_log: true, ..Request::default() }
}
