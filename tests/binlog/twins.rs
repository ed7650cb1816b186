//! Two hosts of one name, each with a stream that writes an archive of the same place: to the server both are the same
//! replica, and of those it serves the last one alone.

use std::collections::BTreeSet;
use std::process::Command;

use mysnap::dump::Compression;
use mysnap::sys::{durable, retry};

use crate::bench::{Bench, Stream};
use crate::distant::{Distant, GRANTS, SOON, ended_well, following, tools};

/// A stream of a host of the same name: what it writes to the place of the archive of `bench` is that of `twin`.
fn stream_of_its_twin(bench: &Bench, twin: &Bench) -> Stream {
    const MOUNTS: &str = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    #[expect(clippy::disallowed_methods, reason = "it is signalled as a service manager would")]
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNTS, "sh"]);
    for of in [twin, bench] {
        command.arg(of.archive().parent().unwrap());
    }
    command.arg(env!("CARGO_BIN_EXE_mysnap")).arg("--config").arg(bench.config());
    // What hosts remember of archives the two share here.
    command.args(["binlog", "stream", "shop", "--new-archive"]);
    twin.spawn(command, "warn")
}

/// The ids of the replicas that the tools of `bench` and its twin are.
fn replicas(bench: &Bench) -> BTreeSet<String> {
    let id = |line: String| Some(line.split("server-id=").nth(1)?.split(' ').next()?.to_owned());
    tools(bench).into_iter().filter_map(|(_, line)| id(line)).collect()
}

#[test]
fn of_two_streams_that_are_the_same_replica_one_becomes_another_and_both_archives_are_whole() {
    let far = Distant::start(&[], &GRANTS);
    let (bench, twin) = (far.bench(Compression::Zstd), far.bench(Compression::Zstd));
    let first = bench.stream();
    following(&bench);
    far.caught_up(&bench);
    let one = replicas(&bench);
    assert_eq!(one.len(), 1);
    durable::create_private_directory(twin.archive().parent().unwrap()).unwrap();
    let second = stream_of_its_twin(&bench, &twin);
    let told = || {
        let said = first.said();
        if said.contains("another one reads the server's binary logs as the replica") {
            Ok(())
        } else {
            Err((said, second.said()))
        }
    };
    retry::until(SOON, told).unwrap();
    let are_two = || if replicas(&bench).len() == 2 { Ok(()) } else { Err((first.said(), second.said())) };
    retry::until(SOON, are_two).unwrap();
    assert!(replicas(&bench).is_superset(&one));
    for text in ["one", "two"] {
        far.server.sql(&format!("INSERT INTO shop.t (a) VALUES ('{text}'); FLUSH BINARY LOGS"));
        for of in [&bench, &twin] {
            far.caught_up(of);
        }
    }
    assert_eq!(first.said().matches("as the replica").count(), 1, "{}", first.said());
    assert!(ended_well(first).contains("the archive goes on"));
    assert!(!ended_well(second).contains("as the replica"));
    for of in [bench, twin] {
        of.compare(&far.server);
        assert_eq!(of.index().windows().len(), 1);
        assert!(of.verify().damaged.is_empty());
    }
}
