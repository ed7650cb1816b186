//! A network that cuts the connection by which a server sends its binary log, after any byte of it.

use std::path::PathBuf;

use mysnap::binlog::event::{HEADER, Header};
use mysnap::dump::Compression;
use mysnap::server::Access;
use mysnap::sys::retry;

use crate::bench::{Bench, Stream};
use crate::distant::{Distant, GRANTS, SOON, following, spools, went_on};
use crate::proxy::Proxy;

/// So many streams are cut at a time, each after another byte: a stream waits a second before it begins again.
const AT_A_TIME: usize = 12;
/// What the protocol has before each event: the length of a packet, its number, and that it is no error.
const BEFORE_EACH: usize = 5;
const TRANSACTION: &str = "INSERT INTO shop.cut VALUES (1)";

/// An archive by the tool, and what cuts the tool's connection.
struct Cut {
    bench: Bench,
    proxy: Proxy,
    stream: Stream,
}

impl Cut {
    fn start(far: &Distant) -> Self {
        let proxy = Proxy::to(far.access.port.unwrap());
        // Within this host it is plain text, of which an event can be cut.
        let access = Access { port: Some(proxy.port()), ..far.access.clone() };
        let bench = Bench::new(&far.server, Compression::Zstd).by_tool(&access);
        let stream = bench.stream();
        following(&bench);
        Self { bench, proxy, stream }
    }

    /// Waits until the tool has been sent all up to `end`, by the `asked`th connection or a later one.
    fn is_sent_all(&self, (file, end): &(String, u64), asked: usize) {
        let sent = || {
            let length = |spool: &PathBuf| spool.join(file).metadata().map_or(0, |there| there.len());
            let most = spools(&self.bench.archive()).iter().map(length).max();
            if self.proxy.asked() >= asked && most >= Some(*end) { Ok(()) } else { Err(self.stream.said()) }
        };
        retry::until(SOON, sent).unwrap();
    }
}

/// The bytes on the wire of the last three events of the transaction: where they begin in it, and where they end.
fn of_three_events(far: &Distant, bench: &Bench) -> (usize, usize) {
    far.caught_up(bench);
    let end = bench.end();
    far.server.sql(TRANSACTION);
    far.caught_up(bench);
    let (added, mut ends) = (bench.added(&end), vec![0]);
    let mut events = &added[..];
    while let Some(header) = events.first_chunk::<HEADER>().and_then(Header::parse) {
        events = &events[header.size as usize..];
        ends.push(ends[ends.len() - 1] + BEFORE_EACH + header.size as usize);
    }
    assert!(events.is_empty() && ends.len() > 3, "{ends:?}");
    (ends[ends.len() - 4], ends[ends.len() - 1])
}

/// Which are the table's, the row's and the commit's.
#[test]
fn a_connection_that_is_cut_at_any_byte_of_three_events_leaves_nothing_half() {
    let far = Distant::start(&["--binlog-format=ROW"], &GRANTS);
    far.server.sql("CREATE TABLE shop.cut (a INT)");
    let all: Vec<Cut> = (0..AT_A_TIME).map(|_| Cut::start(&far)).collect();
    let (first, end) = of_three_events(&far, &all[0].bench);
    let sent = far.server.log_end();
    for one in &all {
        one.is_sent_all(&sent, 1);
    }
    let mut places = first..=end;
    while !places.is_empty() {
        let cut: Vec<_> = all.iter().zip(places.by_ref().take(AT_A_TIME)).collect();
        let asked: Vec<usize> = all.iter().map(|one| one.proxy.asked()).collect();
        for (one, at) in &cut {
            one.proxy.cut_after(*at);
        }
        far.server.sql(TRANSACTION);
        // Where the last byte has passed the connection is cut before the next one.
        if cut.iter().any(|(_, at)| *at == end) {
            far.server.sql(TRANSACTION);
        }
        let sent = far.server.log_end();
        for ((one, at), asked) in cut.iter().zip(asked) {
            one.is_sent_all(&sent, asked + 1);
            assert!(one.proxy.has_cut(), "not cut after {at}");
        }
    }
    for Cut { bench, stream, .. } in all {
        went_on(&far, &bench, stream);
    }
}
