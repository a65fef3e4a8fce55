//! How a run goes, on a terminal: drawn in place, and where there is none, a line now and then. Whoever knows how it goes leaves
//! the newest [`Moment`] and goes on; a thread of its own draws it, so that a terminal that is slow or stopped holds up nobody.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::report::figures::{count, number, time};

/// Between two lines where there is no terminal: often enough to see that it lives, seldom enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Marks of a full bar.
const BAR: usize = 24;

/// Seconds of rate that are kept, as marks of a small chart.
const CHART: usize = 24;

/// How it goes at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moment {
    /// What is being done: `connecting`, `measuring`.
    pub(crate) doing: String,
    /// Since that began.
    pub(crate) elapsed_s: f64,
    /// How long it takes, or will take at most, if that is known.
    pub(crate) of_s: Option<f64>,
    /// Followers.
    pub(crate) followers: u64,
    /// Frames in the last second, or without followers answers.
    pub(crate) per_s: f64,
    /// Of the last second; nothing if nothing came.
    pub(crate) p99_us: Option<u64>,
    /// So far.
    pub(crate) errors: u64,
    /// Missing frames so far, as far as it is known while the run goes on.
    pub(crate) gaps: u64,
}

/// Where the view is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A terminal: in place.
    Terminal,
    /// A file or a pipe: lines.
    Lines,
}

/// What the drawing thread is told.
#[derive(Debug, Default)]
struct Told {
    newest: Option<Moment>,
    is_ended: bool,
}

/// The view, as a run sees it.
#[derive(Debug)]
pub(crate) struct Live {
    told: Arc<(Mutex<Told>, Condvar)>,
    drawing: Option<JoinHandle<()>>,
}

impl Live {
    /// Starts it on the standard error stream, so that the results alone are on the output.
    pub(crate) fn start() -> Live {
        let is_terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let place = if is_terminal { Place::Terminal } else { Place::Lines };
        let told = Arc::new((Mutex::new(Told::default()), Condvar::new()));
        let heard = Arc::clone(&told);
        let drawing =
            std::thread::Builder::new().name("live".to_owned()).spawn(move || draw(&heard, place, io::stderr()));
        // Without a thread to draw there is no view, and a run is none the worse.
        Live { told, drawing: drawing.ok() }
    }

    /// Leaves how it goes; what wasn't drawn yet is forgotten.
    pub(crate) fn tell(&self, moment: Moment) {
        let (told, heard) = &*self.told;
        told.lock().expect("nobody panics with it").newest = Some(moment);
        heard.notify_one();
    }
}

impl Drop for Live {
    /// Ends the view; what was drawn in place is gone then.
    fn drop(&mut self) {
        let (told, heard) = &*self.told;
        told.lock().expect("nobody panics with it").is_ended = true;
        heard.notify_one();
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
    }
}

fn draw(told: &(Mutex<Told>, Condvar), place: Place, mut out: impl Write) {
    let (told, heard) = told;
    let mut view = View::new(place);
    loop {
        let told = told.lock().expect("nobody panics with it");
        let mut told =
            heard.wait_while(told, |told| told.newest.is_none() && !told.is_ended).expect("nobody panics with it");
        let (newest, is_ended) = (told.newest.take(), told.is_ended);
        drop(told);
        let text = match newest {
            Some(moment) => view.draw(&moment, Instant::now()),
            None => String::new(),
        };
        let rest = if is_ended { view.end() } else { "" };
        // A view that nobody can see is no reason to end a run.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(rest.as_bytes())).and_then(|()| out.flush());
        if is_ended {
            return;
        }
    }
}

/// What is drawn, without any stream.
struct View {
    place: Place,
    rates: Vec<f64>,
    said: Option<(String, Instant)>,
    is_drawn: bool,
}

/// Back to the start of the two lines, and away with them.
const CLEAR: &str = "\x1b[1A\r\x1b[J";

/// Lines are cut at the right edge, or there might be more of them to clear than two.
const CUT: &str = "\x1b[?7l";

/// They are wrapped again.
const WRAP: &str = "\x1b[?7h";

impl View {
    fn new(place: Place) -> View {
        View { place, rates: Vec::new(), said: None, is_drawn: false }
    }

    fn draw(&mut self, moment: &Moment, now: Instant) -> String {
        match self.place {
            Place::Lines => {
                let is_due = self
                    .said
                    .as_ref()
                    .is_none_or(|(doing, at)| *doing != moment.doing || now.duration_since(*at) >= LINE_EVERY);
                if !is_due {
                    return String::new();
                }
                self.said = Some((moment.doing.clone(), now));
                format!("{:<12} {}  {}\n", moment.doing, clock(moment), figures(moment))
            }
            Place::Terminal => {
                if self.rates.len() == CHART {
                    self.rates.remove(0);
                }
                self.rates.push(moment.per_s);
                let clear = if self.is_drawn { CLEAR } else { "" };
                self.is_drawn = true;
                let top = format!("{:<12} {}  {}  {}", moment.doing, bar(moment), clock(moment), chart(&self.rates));
                format!("{clear}{CUT}{top}\n{}{WRAP}", figures(moment))
            }
        }
    }

    fn end(&self) -> &'static str {
        if self.is_drawn { CLEAR } else { "" }
    }
}

fn clock(moment: &Moment) -> String {
    match moment.of_s {
        Some(of_s) => format!("{:>3.0} of {of_s:.0} s", moment.elapsed_s),
        None => format!("{:>3.0} s", moment.elapsed_s),
    }
}

fn bar(moment: &Moment) -> String {
    let share = moment.of_s.map_or(0.0, |of_s| (moment.elapsed_s / of_s.max(1e-9)).clamp(0.0, 1.0));
    let full = (share * BAR as f64).round() as usize;
    format!("{}{}", "━".repeat(full), "╌".repeat(BAR - full))
}

/// Rates as marks of eight heights.
fn chart(rates: &[f64]) -> String {
    const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let max = rates.iter().copied().fold(1e-9, f64::max);
    rates.iter().map(|rate| MARKS[((rate / max * 7.0).round() as usize).min(7)]).collect()
}

fn figures(moment: &Moment) -> String {
    let p99 = moment.p99_us.map_or("–".to_owned(), time);
    format!(
        "{} following  {}/s  p99 {p99}  {} errors  {} gaps",
        count(moment.followers),
        number(moment.per_s),
        count(moment.errors),
        count(moment.gaps)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: u32) -> Moment {
        let (elapsed_s, per_s) = (f64::from(second), 1_000.0 * f64::from(second));
        let doing = "measuring".to_owned();
        Moment { doing, elapsed_s, of_s: Some(30.0), followers: 5_000, per_s, p99_us: Some(4_120), errors: 0, gaps: 0 }
    }

    #[test]
    fn on_a_terminal_two_lines_are_drawn_over_and_over_and_cleared() {
        let mut view = View::new(Place::Terminal);
        let start = Instant::now();
        assert_eq!(view.end(), "");
        assert!(!view.draw(&moment(1), start).starts_with(CLEAR));
        for second in 2..100 {
            let text = view.draw(&moment(second), start);
            let drawn = text.strip_prefix(CLEAR).and_then(|text| text.strip_prefix(CUT)?.strip_suffix(WRAP));
            let lines: Vec<&str> = drawn.expect("the lines before are cleared").lines().collect();
            assert!(lines.len() == 2 && lines.iter().all(|line| line.chars().count() < 80), "{lines:?}");
            assert_eq!(
                lines[1],
                format!("5,000 following  {}/s  p99 4.12 ms  0 errors  0 gaps", number(moment(second).per_s))
            );
        }
        assert_eq!(view.end(), CLEAR);
    }

    #[test]
    fn elsewhere_a_line_is_written_now_and_then() {
        let mut view = View::new(Place::Lines);
        let start = Instant::now();
        let text: String =
            (0..11).map(|second| view.draw(&moment(second), start + Duration::from_secs(second.into()))).collect();
        assert_eq!((text.lines().count(), view.end()), (3, ""));
        assert!(text.starts_with("measuring      0 of 30 s  5,000 following"), "{text}");
        let other = Moment { doing: "stragglers".to_owned(), of_s: None, ..moment(11) };
        assert!(view.draw(&other, start + Duration::from_secs(11)).starts_with("stragglers    11 s"), "at once");
    }

    #[test]
    fn the_newest_is_drawn_and_the_end_is_waited_for() {
        let told = (Mutex::new(Told { newest: Some(moment(3)), is_ended: true }), Condvar::new());
        let mut out = Vec::new();
        draw(&told, Place::Lines, &mut out);
        assert_eq!(String::from_utf8(out).expect("text").lines().count(), 1);
        let live = Live::start();
        live.tell(moment(4));
        drop(live);
    }
}
