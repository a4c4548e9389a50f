//! Goodpon: sqlite.
