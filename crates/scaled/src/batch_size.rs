//! How many records the issuer takes into a transaction.

use std::time::Duration;

/// The most.
pub(crate) const MOST: usize = 500;

/// A batch that was written within this time is followed by larger ones.
const QUICK: Duration = Duration::from_secs(1);

/// The size of the next batch: halved after each one that was not written, so that a slow database gets some of it
/// done and a record at fault is found; doubled after each one that was written quickly.
#[derive(Debug)]
pub(crate) struct BatchSize(usize);

impl Default for BatchSize {
    fn default() -> Self {
        Self(MOST)
    }
}

impl BatchSize {
    pub(crate) fn get(&self) -> usize {
        self.0
    }

    /// A batch of `records` records was not written.
    pub(crate) fn failed(&mut self, records: usize) {
        self.0 = (records / 2).max(1);
    }

    pub(crate) fn written(&mut self, within: Duration) {
        if within < QUICK {
            self.0 = (self.0 * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_down_to_one_and_grows_again_where_it_is_quick() {
        let mut size = BatchSize::default();
        let mut sizes = Vec::new();
        for _ in 0..10 {
            size.failed(size.get());
            sizes.push(size.get());
        }
        assert_eq!(sizes, [250, 125, 62, 31, 15, 7, 3, 1, 1, 1]);
        size.written(QUICK);
        assert_eq!(size.get(), 1);
        for _ in 0..9 {
            size.written(Duration::from_millis(999));
        }
        assert_eq!(size.get(), MOST);
        // A partition may have had fewer to give.
        size.failed(3);
        assert_eq!(size.get(), 1);
    }
}
