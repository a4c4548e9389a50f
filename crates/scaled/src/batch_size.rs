//! The number of records that an issuer writes in one transaction.

use std::time::Duration;

/// The largest number of records of a batch.
pub(crate) const MAX_RECORDS: usize = 500;

/// The time in which a batch must be written for the next one to be larger.
const QUICK_BATCH: Duration = Duration::from_secs(1);

/// The size of the next batch. It is halved after each failed batch, so that a slow database can write a part and a record
/// at fault is found; it is doubled after each batch that was written quickly.
#[derive(Debug)]
pub(crate) struct BatchSize(usize);

impl Default for BatchSize {
    fn default() -> Self {
        Self(MAX_RECORDS)
    }
}

impl BatchSize {
    pub(crate) fn get(&self) -> usize {
        self.0
    }

    /// Takes note that a batch of `records` records was not written.
    pub(crate) fn failed(&mut self, records: usize) {
        self.0 = (records / 2).max(1);
    }

    /// Takes note that a batch was written, in the time `took`.
    pub(crate) fn written(&mut self, took: Duration) {
        if took < QUICK_BATCH {
            self.0 = (self.0 * 2).min(MAX_RECORDS);
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
        size.written(QUICK_BATCH);
        assert_eq!(size.get(), 1);
        for _ in 0..9 {
            size.written(Duration::from_millis(999));
        }
        assert_eq!(size.get(), MAX_RECORDS);
        // The failed batch may have been smaller than the limit.
        size.failed(3);
        assert_eq!(size.get(), 1);
    }
}
