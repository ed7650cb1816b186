//! A way to a server on which a load is killed just before a statement: from then on nothing passes, on any of its
//! connections. To the server that is what a kill is.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use mysnap::server::{Address, Endpoint};

use crate::server::Server;

/// COM_QUERY.
const QUERY: u8 = 3;

/// At which statement it ends: the first for which this holds.
type Ends = dyn FnMut(&str) -> bool + Send;

/// The way, until it is dropped.
pub struct Cut {
    home: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

struct State {
    ends: Box<Ends>,
    is_cut: bool,
    /// Both ends of each connection.
    open: Vec<UnixStream>,
}

impl Cut {
    /// A way to `server` that ends before the first statement for which `ends` holds.
    pub fn before(server: &Server, ends: impl FnMut(&str) -> bool + Send + 'static) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("socket")).unwrap();
        let state = Arc::new(Mutex::new(State { ends: Box::new(ends), is_cut: false, open: Vec::new() }));
        let (socket, shared) = (server.socket(), Arc::clone(&state));
        thread::spawn(move || listener.incoming().for_each(|client| connect(client, &socket, &shared)));
        Self { home, state }
    }

    /// The way's begin.
    pub fn address(&self, server: &Server) -> Address {
        Address { endpoint: Endpoint::Socket(self.home.path().join("socket")), ..server.address() }
    }

    /// Whether it came to that.
    pub fn is_cut(&self) -> bool {
        self.state.lock().unwrap().is_cut
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.state.lock().unwrap().end();
    }
}

impl State {
    fn end(&mut self) {
        self.is_cut = true;
        self.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

fn connect(client: Result<UnixStream>, socket: &PathBuf, state: &Arc<Mutex<State>>) {
    let (Ok(client), Ok(server)) = (client, UnixStream::connect(socket)) else { return };
    let mut locked = state.lock().unwrap();
    if locked.is_cut {
        return;
    }
    locked.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    let (mut answers, mut told) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || drop(std::io::copy(&mut answers, &mut told).and_then(|_| told.shutdown(Shutdown::Both))));
    let state = Arc::clone(state);
    thread::spawn(move || drop(pass(client, server, &state)));
}

/// Packets of the client, each with its length in three bytes and its number before it.
fn pass(mut client: UnixStream, mut server: UnixStream, state: &Mutex<State>) -> Result<()> {
    loop {
        let mut packet = vec![0; 4];
        match client.read_exact(&mut packet) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return server.shutdown(Shutdown::Both),
            read => read?,
        }
        let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
        packet.resize(4 + length, 0);
        client.read_exact(&mut packet[4..])?;
        let mut state = state.lock().unwrap();
        // A packet with another number goes on with what an earlier one began.
        if packet[3] == 0 && packet.get(4) == Some(&QUERY) && (state.ends)(&String::from_utf8_lossy(&packet[5..])) {
            state.end();
        }
        if state.is_cut {
            return Ok(());
        }
        drop(state);
        server.write_all(&packet)?;
    }
}
