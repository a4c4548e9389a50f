//! Goodpon: worker.
