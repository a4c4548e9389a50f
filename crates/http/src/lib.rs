//! Goodpon: http.
