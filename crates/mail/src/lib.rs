//! The mails Goodpon sends: what they say ([`message`]) and how they leave by SMTP ([`smtp`]).
//!
//! A mail has the same message id at every try, so that one that arrives twice can be recognised. A try ends within 30 s.
//! A connection whose conversation broke off is not used again, and no error shows a password. When a mail is sent, and
//! whether it is tried again, is not decided here; nothing is stored here either.

pub mod message;
pub mod smtp;

pub use message::verification;
pub use smtp::{ConfigError, Smtp};
