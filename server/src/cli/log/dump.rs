//! `fantail log dump`: a stream's events as text, as long as somebody reads them.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use fantail_engine::document;
use fantail_engine::position::Position;
use fantail_engine::topic::{Place, Topic};

use super::Data;
use crate::storage::history::{self, Event, HistoryError};
use crate::storage::listing;

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// The stream's name.
    #[arg(value_name = "STREAM")]
    stream: String,

    #[command(flatten)]
    data: Data,

    /// Only what comes after this position, such as k3f9q2-1042.
    #[arg(long, value_name = "POSITION")]
    after: Option<Position>,

    /// What an event is printed as.
    #[arg(long, value_enum, default_value = "sse")]
    format: Format,

    /// Only the events of this collection or document of the stream, such as /users/7/messages.
    #[arg(long, value_name = "PATH", value_parser = place)]
    topic: Option<Place>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The bytes of the log, which followers get.
    Sse,
    /// A line of JSON per event: {"id":"…","patch":[…],"time":"…"}.
    Json,
}

fn place(text: &str) -> Result<Place, String> {
    Place::parse(text).map_err(|error| error.to_string())
}

/// Prints the events.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { stream, data, after, format, topic } = arguments;
    let topic = match topic {
        None => Topic::Stream,
        // What mirrors an origin has its route before it in the name.
        Some(place) if stream.rsplit('/').next() == Some(place.stream()) => place.topic(),
        Some(place) => {
            eprintln!("fantail: {} isn't of the stream {stream}", place.url());
            return Ok(ExitCode::from(2));
        }
    };
    let mut output = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let folders = listing::streams(&data.path, std::slice::from_ref(stream))?;
    let mut read = || {
        for folder in &folders {
            history::read(&data.path, folder, *after, |event| match is_of(topic, &event) {
                true => print(&event, *format, &mut output),
                false => Ok(()),
            })?;
        }
        Ok(output.flush()?)
    };
    match read() {
        // Whoever reads has seen enough.
        Err(HistoryError::Taken(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn is_of(topic: Topic, event: &Event<'_>) -> bool {
    match topic {
        Topic::Stream => true,
        Topic::Path(hash) => {
            let (collection, document) = document::touched(event.frame.data);
            hash == collection || hash == document
        }
    }
}

fn print(event: &Event<'_>, format: Format, output: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Sse => output.write_all(event.bytes),
        Format::Json => {
            write!(output, "{{\"id\":\"{}\",\"patch\":", event.frame.position)?;
            output.write_all(event.frame.data)?;
            writeln!(output, ",\"time\":\"{}\"}}", rfc3339(event.unix_ms))
        }
    }
}

/// Milliseconds since 1970 as `2026-11-20T23:49:26.123Z`; after the year 9999 with more digits.
fn rfc3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Years begin in March here, so that the leap day is the last one; 400 of them have 146,097 days. 1970-01-01 is the
    // day 719,468 from 0000-03-01 on.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next_year;
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (68_169_599_999, "1972-02-28T23:59:59.999Z"),
            (68_169_600_000, "1972-02-29T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_218_566_123, "2026-11-20T23:49:26.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text, "{unix_ms}");
        }
    }
}
