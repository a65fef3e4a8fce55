//! HdrHistogram's percentile text: what its plotter and its tools read. Milliseconds, five steps for each halving of the
//! distance to 100 %.

use std::fmt::Write;

use super::latency::Latency;

/// Steps of the format's last line: 2,048 are what three digits take.
const SUB_BUCKETS: u32 = 2_048;

/// The text.
///
/// # Panics
///
/// Never: a text takes what is written into it.
pub(crate) fn text(latency: &Latency) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let ms = |value_us: f64| value_us / 1e3;
    for point in latency.percentiles() {
        let (value, quantile, count) = (ms(point.value_us as f64), point.quantile, point.count);
        let line = match 1.0 - quantile {
            rest if rest > 0.0 => writeln!(text, "{value:>12.3} {quantile:>14.12} {count:>10} {:>14.2}", 1.0 / rest),
            _ => writeln!(text, "{value:>12.3} {quantile:>14.12} {count:>10}"),
        };
        line.expect("a text takes it");
    }
    let (mean, deviation) = (ms(latency.mean()), ms(latency.deviation()));
    let (max, count) = (ms(latency.max() as f64), latency.count());
    // Buckets double from 2,048 µs on until they hold the longest.
    let buckets = 1 + (latency.max().max(1).ilog2() + 1).saturating_sub(SUB_BUCKETS.ilog2());
    write!(
        text,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n\
         #[Max     = {max:>12.3}, Total count    = {count:>12}]\n\
         #[Buckets = {buckets:>12}, SubBuckets     = {SUB_BUCKETS:>12}]\n"
    )
    .expect("a text takes it");
    text
}
