//! A backup of a server's files, without a volume to take a snapshot of.

use jiff::Timestamp;
use mysnap::instance;
use mysnap::server::{BinlogPosition, Exactness, Position};
use mysnap::store::{LocalStore, Manifest, Method, ProofLevel, Source, Staging, Transfer, Work};
use mysnap::sys::cancel::Cancel;

use crate::bench::Bench;
use crate::server::Server;

const ID: &str = "20261121T092233Z-0001";

/// Those of a server that was killed, as a snapshot has them, as backup of the job `nightly`.
pub fn back_up_files(server: &Server, bench: &Bench) {
    let session = server.session();
    let facts = session.facts().clone();
    drop(session);
    let (file, offset) = server.log_end();
    server.kill();
    let (store, cancel) = (LocalStore::new(&bench.at("backups"), &Cancel::new()), Cancel::new());
    let root = instance::datadir(&facts.datadir).unwrap();
    let sources = [Source { path: facts.datadir.clone(), root: root.clone() }];
    let transfer = Transfer::default();
    let work = Work { transfer: &transfer, progress: &|_| {}, cancel: &cancel };
    let golden = Manifest::decode(include_bytes!("../data/manifest-1.json")).unwrap();
    let (job, id) = ("nightly".parse().unwrap(), ID.parse().unwrap());
    let staging = Staging::begin(&store, &job, &id).unwrap();
    let copied = staging.copy(&sources, work).unwrap();
    let manifest = Manifest {
        proof: staging.prove(ProofLevel::Checksum, &sources, &copied, work).unwrap(),
        position: Position {
            binlog: Some(BinlogPosition { file, offset }),
            gtid_set: None,
            upstream: Vec::new(),
            exact: Exactness::Exact,
        },
        id,
        job,
        method: Method::Copy,
        begin: Timestamp::now(),
        end: Timestamp::now(),
        server: facts,
        roots: vec![root],
        snapshots: Vec::new(),
        warnings: Vec::new(),
        ..golden
    };
    staging.commit(manifest, &copied.files).unwrap();
    server.start_again();
}
