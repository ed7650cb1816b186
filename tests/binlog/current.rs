//! The file that the server is writing to.

use mysnap::binlog::State;
use mysnap::dump::Compression;
use mysnap::sys::retry;

use crate::bench::Bench;
use crate::distant::{Distant, GRANTS, SOON, ended_well};

#[test]
fn the_file_that_is_being_written_is_streamed_and_what_it_lacks_is_shown() {
    let far = Distant::start(&[], &GRANTS);
    for bench in [Bench::new(&far.server, Compression::Zstd), far.bench(Compression::Zstd)] {
        let stream = bench.stream();
        far.server.sql("INSERT INTO shop.t (a) VALUES ('streamed')");
        far.caught_up(&bench);
        let index = bench.index();
        let [only] = &index.timelines[0].files[..] else { panic!("{index:?}") };
        assert_eq!((&only.name, only.state), (&far.server.log_end().0, State::Open));
        let behind = || bench.status("shop")[0]["behind_bytes"].as_u64().unwrap();
        // A stream tells each ten seconds how far it is.
        retry::until(SOON, || if behind() == 0 { Ok(()) } else { Err(behind()) }).unwrap();
        stream.stopped(|| {
            far.server.sql("INSERT INTO shop.t (a) VALUES ('not streamed yet')");
            assert!(behind() > 50);
        });
        far.caught_up(&bench);
        ended_well(stream);
        bench.compare(&far.server);
    }
}
