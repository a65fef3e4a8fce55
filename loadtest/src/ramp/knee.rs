//! The way to the highest load that holds: upwards by a factor until one breaks, then halving what is between. Decides, and
//! runs nothing.

/// What is between the highest that held and the lowest that broke is not halved any more, as a part of the former.
const FINE: f64 = 0.05;

/// A search under way.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    factor: f64,
    /// Loads that may still be tried.
    left: usize,
    next: f64,
    held: Option<f64>,
    broke: Option<f64>,
}

impl Search {
    /// From this load on, trying `steps` in all at most.
    pub(crate) fn new(from: f64, factor: f64, steps: usize) -> Search {
        Search { factor, left: steps, next: from, held: None, broke: None }
    }

    /// The load to try next, a whole number, if there is one.
    pub(crate) fn next(&self) -> Option<f64> {
        (self.left > 0).then_some(self.next)
    }

    /// Notes what became of it.
    pub(crate) fn note(&mut self, held: bool) {
        self.left -= 1;
        match held {
            true => self.held = Some(self.next),
            false => self.broke = Some(self.next),
        }
        let load = match (self.held, self.broke) {
            (Some(held), None) => (held * self.factor).ceil(),
            (held, Some(broke)) => ((held.unwrap_or(0.0) + broke) / 2.0).floor(),
            (None, None) => self.next,
        };
        let between = self.broke.map_or(f64::INFINITY, |broke| broke - self.held.unwrap_or(0.0));
        if load < 1.0 || Some(load) == self.held || between <= self.held.unwrap_or(0.0) * FINE {
            self.left = 0;
        }
        self.next = load;
    }

    /// The highest that held.
    pub(crate) fn knee(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: f64, steps: usize, limit: f64) -> (Vec<f64>, Option<f64>) {
        let (mut search, mut tried) = (Search::new(from, 2.0, steps), Vec::new());
        while let Some(load) = search.next() {
            tried.push(load);
            search.note(load <= limit);
        }
        (tried, search.knee())
    }

    #[test]
    fn it_rises_and_then_halves() {
        assert_eq!(search(10.0, 20, 70.0), (vec![10.0, 20.0, 40.0, 80.0, 60.0, 70.0, 75.0, 72.0], Some(70.0)));
        assert_eq!(search(10.0, 5, 70.0), (vec![10.0, 20.0, 40.0, 80.0, 60.0], Some(60.0)), "bounded");
        assert_eq!(search(10.0, 3, 1e9), (vec![10.0, 20.0, 40.0], Some(40.0)), "nothing broke");
        assert_eq!(search(10.0, 20, 0.0), (vec![10.0, 5.0, 2.0, 1.0], None), "nothing held");
        assert_eq!(search(10.0, 20, 3.0).1, Some(3.0), "below where it began");
    }
}
