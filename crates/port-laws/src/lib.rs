//! Goodpon: port-laws.
