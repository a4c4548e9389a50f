//! Goodpon: application.
