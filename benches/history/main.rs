//! Ways to send history: what a gigabyte of a file that lies in the page cache costs, sent to a few sockets in pieces.
//!
//! A cursor that is behind the tail reads a segment's file. Its bytes can go to a socket from a mapping, by sendfile or through a
//! buffer, and be sent by a ring or a system call each. All ways send the same pieces to the same kind of sockets, on one CPU;
//! on another one a thread lets the kernel throw away what comes. What is printed is the sender's: bytes per second of the whole,
//! and CPU per gigabyte, in which the kernel's delivery on loopback is contained.
//!
//! ```text
//! history --sockets 16 --mib 256 --rounds 8 --runs 5
//! ```

mod fleet;
mod reader;
mod way;

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use fantail_benches::cpu;
use fantail_benches::figures::median;
use memmap2::MmapOptions;

use crate::fleet::Fleet;
use crate::way::{WAYS, Way};

/// What it costs to send a file that lies in the page cache, by the ways there are.
#[derive(Parser)]
#[command(name = "history", version)]
struct Arguments {
    /// Sockets that are sent to in turn.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    sockets: u32,
    /// Bytes that a socket is sent at once.
    #[arg(long, default_value_t = 256 * 1024, value_parser = clap::value_parser!(u32).range(1..))]
    piece: u32,
    /// Mebibytes of the file.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    mib: u32,
    /// How often each socket is sent the file.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How often each way is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The sender's CPU.
    #[arg(long, default_value_t = 0)]
    sender: usize,
    /// The readers' CPU.
    #[arg(long, default_value_t = 1)]
    reader: usize,
}

/// What sending came to.
pub(crate) struct Cost {
    /// Bytes that were received.
    bytes: u64,
    /// From the first send to the last receive.
    took: Duration,
    /// Of the sending thread.
    sender: Duration,
    /// Of the receiving one.
    reader: Duration,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let file = file(arguments.mib)?;
    let mut costs: Vec<Vec<Cost>> = WAYS.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.runs {
        for (way, costs) in WAYS.iter().zip(&mut costs) {
            costs.push(measure(*way, &file, &arguments)?);
        }
    }
    println!("{:<44} {:>6} {:>10} {:>10}", "", "GB/s", "s per GB", "reader's");
    for (way, costs) in WAYS.iter().zip(&costs) {
        let median = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
        let speed = median(|cost| cost.bytes as f64 / cost.took.as_secs_f64() / 1e9);
        let sender = median(|cost| cost.sender.as_secs_f64() * 1e9 / cost.bytes as f64);
        let reader = median(|cost| cost.reader.as_secs_f64() * 1e9 / cost.bytes as f64);
        println!("{:<44} {speed:>6.2} {sender:>10.3} {reader:>10.3}", way.name());
    }
    let populating = median((0..arguments.runs).map(|_| populate(&file)).collect::<io::Result<_>>()?);
    println!("{:<44} {:>6} {populating:>10.3}", "to map, populate and unmap", "");
    Ok(())
}

/// A file without a name, in the page cache since it was just written.
fn file(mib: u32) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let bytes: Vec<u8> = (0..1 << 20).map(|byte: u32| (byte % 251) as u8).collect();
    (0..mib).try_for_each(|_| file.write_all(&bytes))?;
    Ok(file)
}

fn measure(way: Way, file: &File, arguments: &Arguments) -> io::Result<Cost> {
    let length = u64::from(arguments.mib) << 20;
    let (mut fleet, readers) = Fleet::launch(arguments.sockets, length * u64::from(arguments.rounds))?;
    let reader_cpu = arguments.reader;
    let mut sender = way.open(file, &fleet)?;
    let start = Instant::now();
    let reading = std::thread::spawn(move || reader::read(readers, reader_cpu));
    cpu::pin(arguments.sender)?;
    let before = cpu::of_thread();
    let mut pieces = Vec::new();
    while !fleet.is_done() {
        fleet.pieces(length, u64::from(arguments.piece), &mut pieces)?;
        sender.send(&fleet, &mut pieces)?;
        fleet.advance(&pieces);
    }
    let spent = cpu::of_thread().saturating_sub(before);
    drop(sender);
    // The readers end with the connections.
    drop(fleet);
    let (bytes, reader) = reading.join().expect("a reader doesn't panic")?;
    Ok(Cost { bytes, took: start.elapsed(), sender: spent, reader })
}

/// Seconds per gigabyte that it takes to have a file in memory before it is sent, on whichever thread that is.
fn populate(file: &File) -> io::Result<f64> {
    let (before, length) = (cpu::of_thread(), file.metadata()?.len());
    // SAFETY: nobody writes to the file, which has no name.
    drop(unsafe { MmapOptions::new().populate().map(file) }?);
    Ok(cpu::of_thread().saturating_sub(before).as_secs_f64() * 1e9 / length as f64)
}
