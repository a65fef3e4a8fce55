//! The substrates: the same fan-out on the ring that the audience is built on, and on what it could have been built on.
//!
//! Some thousand sockets are sent the same payload, and when all have received it, the next one. On one CPU the server sends,
//! from a log in memory, what lies between each socket's cursor and what is published; on another one readers compare every
//! byte that comes with the log. Nothing else is going on: no parsing, no disk, no departures.
//!
//! A delivery's cost is the CPU time of the process but that of the readers' thread, so that the kernel's workers count too;
//! on loopback it contains the kernel's delivery to the receiving socket. A broadcast's span is from the moment at which the
//! server is told to publish to that at which the last socket has received the last byte.
//!
//! ```text
//! substrate --connections 5000 --broadcasts 200 --rounds 5
//! ```

mod epoll;
mod hall;
mod readers;
mod readiness;
mod ring;
mod tasks;
mod way;

use std::io;
use std::time::Duration;

use clap::Parser;
use fantail_benches::cpu;
use fantail_benches::figures::median;

use crate::hall::Hall;
use crate::readers::{Readers, Reading};
use crate::way::{WAYS, Way};

/// Broadcasts that aren't counted: runtimes start, and the sockets of the round before are still being closed.
const WARM_UP: u32 = 10;

/// What a fan-out costs on each substrate.
#[derive(Parser)]
#[command(name = "substrate", version)]
struct Arguments {
    /// Sockets that are sent to. Both ends are in this process, so RLIMIT_NOFILE must be twice as many.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    payload: u32,
    /// Payloads that every socket is sent in a round.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    broadcasts: u32,
    /// How often each way is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The server's CPU.
    #[arg(long, default_value_t = 0)]
    server: usize,
    /// The readers' CPU.
    #[arg(long, default_value_t = 1)]
    reader: usize,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let payload = arguments.payload as usize;
    let log = log(payload, (WARM_UP + arguments.broadcasts) as usize);
    let mut readings: Vec<Vec<Reading>> = WAYS.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.rounds {
        for (way, readings) in WAYS.iter().zip(&mut readings) {
            readings.push(measure(*way, log, &arguments)?);
        }
    }
    let expected = log.len() as u64 * u64::from(arguments.connections);
    println!("{:<36} {:>12} {:>8} {:>8} {:>8} {:>9}", "", "deliveries/s", "CPU µs", "p50 ms", "p99 ms", "reader's");
    for (way, readings) in WAYS.iter().zip(&mut readings) {
        assert!(readings.iter().all(|reading| reading.bytes == expected), "every socket has received everything");
        let deliveries = f64::from(arguments.connections) * f64::from(arguments.broadcasts);
        let median = |figure: &dyn Fn(&Reading) -> f64| median(readings.iter().map(figure).collect());
        let rate = median(&|reading| deliveries / reading.spans.iter().sum::<Duration>().as_secs_f64());
        let server = median(&|reading| reading.server.as_secs_f64() * 1e6 / deliveries);
        let readers = median(&|reading| reading.readers.as_secs_f64() * 1e6 / deliveries);
        let (half, most) = (median(&|reading| reading.span_ms(50)), median(&|reading| reading.span_ms(99)));
        println!("{:<36} {rate:>12.0} {server:>8.2} {half:>8.1} {most:>8.1} {readers:>9.2}", way.name());
    }
    println!(
        "{} bytes were received by each way, and compared with what was sent",
        expected * u64::from(arguments.rounds)
    );
    Ok(())
}

/// Payloads, each of which begins with its number, so that none can be taken for another. The runtimes send bytes that live as
/// long as the process: nothing has to be counted for them.
fn log(payload: usize, count: usize) -> &'static [u8] {
    let mut log = Vec::with_capacity(payload * count);
    for number in 0..count {
        let number = number.to_string().into_bytes();
        log.extend(number.into_iter().chain(std::iter::repeat(b'.')).take(payload));
    }
    log.leak()
}

fn measure(way: Way, log: &'static [u8], arguments: &Arguments) -> io::Result<Reading> {
    let (hall, readers) = Hall::open(arguments.connections, log, arguments.payload as usize)?;
    let (server_cpu, reader_cpu) = (arguments.server, arguments.reader);
    let serving = std::thread::spawn(move || cpu::pin(server_cpu).and_then(|()| way.serve(hall)));
    let reading = std::thread::spawn(move || cpu::pin(reader_cpu).and_then(|()| Readers::read(readers, WARM_UP)));
    let reading = reading.join().expect("a reader doesn't panic");
    // The readers' end is the server's.
    match (serving.join().expect("a server doesn't panic"), reading) {
        (Ok(()), reading) => reading,
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(echo)) => Err(io::Error::other(format!("{}: {error}; its readers: {echo}", way.name()))),
    }
}
