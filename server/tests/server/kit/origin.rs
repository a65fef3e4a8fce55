//! A small origin that does what a test's script says, on each connection anew.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::PATIENCE;

/// Listens until the test ends. Its threads end with the connections.
pub(crate) struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method, target and version.
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The values of a field, in their order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// A connection as the origin has it.
pub(crate) struct Peer<S = TcpStream> {
    input: BufReader<S>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Origin {
    /// An origin that runs the script on each connection.
    pub(crate) fn start(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Origin {
        Origin::on(TcpListener::bind("127.0.0.1:0").expect("a port"), script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        let address = listener.local_addr().expect("an address");
        let (connections, asked) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<Vec<Asked>>>::default());
        let (count, requests, script) = (Arc::clone(&connections), Arc::clone(&asked), Arc::new(script));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let (script, asked) = (Arc::clone(&script), Arc::clone(&requests));
                thread::spawn(move || {
                    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
                    socket.set_nodelay(true).expect("a socket");
                    // A script that fails has lost its peer, which is for the test to find out.
                    drop(script(&mut Peer::new(socket, asked)));
                });
            }
        });
        Origin { address, connections, asked }
    }

    /// An origin that answers every request with this.
    pub(crate) fn answering(answer: &'static str) -> Origin {
        Origin::start(move |peer| {
            while peer.asked()?.is_some() {
                peer.say(answer)?;
            }
            Ok(())
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections that were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that came whole so far.
    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that came last.
    #[track_caller]
    pub(crate) fn last(&self) -> Asked {
        self.requests().pop().expect("a request came")
    }
}

impl<S: Read + Write> Peer<S> {
    pub(crate) fn new(socket: S, asked: Arc<Mutex<Vec<Asked>>>) -> Peer<S> {
        Peer { input: BufReader::new(socket), asked }
    }

    /// The head of the next request; none at the end.
    pub(crate) fn head(&mut self) -> io::Result<Option<Asked>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.input.read_line(&mut line)? {
                0 if lines.is_empty() => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                _ if line == "\r\n" => break,
                _ => lines.push(line.strip_suffix("\r\n").expect("lines end so").to_owned()),
            }
        }
        let line = lines.remove(0);
        let fields = lines.iter().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("not a field: {line}")));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Some(Asked { line, fields, body: Vec::new() }))
    }

    /// The next request, with its body; none at the end.
    pub(crate) fn asked(&mut self) -> io::Result<Option<Asked>> {
        let Some(mut asked) = self.head()? else { return Ok(None) };
        asked.body = self.body(&asked)?;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        Ok(Some(asked))
    }

    /// The body that follows this head.
    pub(crate) fn body(&mut self, head: &Asked) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let [length] = head.all("Content-Length")[..] {
            body.resize(length.parse().expect("a length"), 0);
            self.input.read_exact(&mut body)?;
        }
        while head.has("Transfer-Encoding") {
            let mut line = String::new();
            self.input.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a size");
            let start = body.len();
            body.resize(start + size + 2, 0);
            self.input.read_exact(&mut body[start..])?;
            assert_eq!(body.split_off(start + size), b"\r\n");
            if size == 0 {
                break;
            }
        }
        Ok(body)
    }

    /// Bytes as they come; zero at the end.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.input.read(bytes)
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.input.get_mut().write_all(bytes.as_ref())
    }
}

impl Peer {
    pub(crate) fn socket(&self) -> &TcpStream {
        self.input.get_ref()
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(&self) {
        socket2::SockRef::from(self.socket()).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    }

    /// Waits until the other end is gone; what it says meanwhile is nothing.
    pub(crate) fn gone(&mut self) {
        let mut bytes = [0; 1024];
        while matches!(self.read(&mut bytes), Ok(1..)) {}
    }
}
