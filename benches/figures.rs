//! Figures of several runs.

/// The median; of an even number the higher of the two in the middle.
///
/// # Panics
/// If there is no figure.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
