//! The floor: what the same frames, to as many sockets, at the same pace, cost with no server around them.
//!
//! It answers each connection as the server would, without looking at what it asks, and installs it into a ring's file
//! table. When all are there it sends every frame to every socket, with the entries that the audience uses and nothing
//! else: no log, no disk, no topics, no departures. What a server costs above this is the server's own.
//!
//! ```text
//! taskset -c 0 floor --connections 5000 --rate 20 --frames 200
//! taskset -c 1 fantail-load swarm http://127.0.0.1:PORT/messages --connections 5000 --count 200
//! ```

mod frames;
mod pace;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use clap::Parser;
use fantail_benches::fan::Fan;
use fantail_engine::protocol::sse;
use socket2::{Domain, Protocol, Socket, Type};

use crate::frames::Frames;

/// How long all sockets stay silent once all are there: a client sees the last of them before it gets frames.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a connection may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(5);

/// Bytes that may wait unsent in a socket: as the server sets it.
const UNSENT_BYTES: u32 = 32 * 1024;

/// Bare ring sends to many sockets, and what they cost.
#[derive(Parser)]
#[command(name = "floor", version)]
struct Arguments {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Sockets to wait for; one ring holds them, so RLIMIT_NOFILE bounds them.
    #[arg(long, default_value_t = 1_000)]
    connections: u32,
    /// Frames per second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Frames to send in all.
    #[arg(long, default_value_t = 200)]
    frames: u64,
    /// Bytes of filling in each frame's document; the default makes the frames that `fantail-load swarm` publishes.
    #[arg(long, default_value_t = 1)]
    payload: usize,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let listener = listen(arguments.listen)?;
    println!("http://{}/messages", listener.local_addr()?);
    io::stdout().flush()?;
    let mut fan = Fan::open(arguments.connections)?;
    while fan.cursors().len() < arguments.connections as usize {
        if let Some(socket) = welcome(listener.accept()?.0)? {
            fan.install(&socket)?;
        }
    }
    // Nothing can be awaited: clients don't say that they have read the first block.
    std::thread::sleep(PAUSE);
    let frames = Frames::new(arguments.rate, arguments.frames, arguments.payload);
    let cost = pace::send(&mut fan, frames)?;
    println!(
        "{}",
        serde_json::json!({
            "deliveries": cost.deliveries,
            "cpu_s": cost.cpu.as_secs_f64(),
            "cpu_us_per_delivery": cost.cpu.as_secs_f64() * 1e6 / cost.deliveries as f64,
            "window_s": cost.window.as_secs_f64(),
            "sends": cost.sends,
            "full_sockets": cost.full,
        })
    );
    Ok(())
}

/// A listener whose sockets have the options of the server's.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Reads a request to its end and answers it with a head and the first block; none if there is no request, as when a client
/// only looks whether anybody listens.
fn welcome(mut socket: TcpStream) -> io::Result<Option<TcpStream>> {
    socket.set_read_timeout(Some(REQUEST))?;
    let (mut bytes, mut length) = ([0; 2048], 0);
    while !bytes[..length].ends_with(b"\r\n\r\n") {
        match socket.read(&mut bytes[length..])? {
            0 => return Ok(None),
            count => length += count,
        }
    }
    let mut answer = Vec::new();
    sse::head(&mut answer, b"Thu, 01 Jan 1970 00:00:00 GMT");
    sse::retry(&mut answer, 2000);
    sse::position(&mut answer, frames::BEGINNING);
    socket.write_all(&answer)?;
    Ok(Some(socket))
}
