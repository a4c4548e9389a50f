//! Goodpon: mail.
