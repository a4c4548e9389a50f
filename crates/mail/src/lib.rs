//! The mails that Goodpon sends: their texts ([`message`]) and their delivery by SMTP ([`smtp`]).
//!
//! A mail has the same message id at every try, so that one that arrives twice can be recognised. A try ends within 30 s.
//! A connection whose conversation broke off is not used again, and no error shows a password. The crate stores nothing,
//! and decides neither when a mail is sent nor whether it is tried again.

pub mod message;
pub mod smtp;

pub use message::verification;
pub use smtp::{ConfigError, Smtp};
