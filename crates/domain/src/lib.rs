//! Goodpon: domain.
