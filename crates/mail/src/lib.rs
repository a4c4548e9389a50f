//! The mails Goodpon sends: what they say ([`message`]) and how they leave by SMTP ([`smtp`]).

pub mod message;
pub mod smtp;

pub use message::verification;
pub use smtp::{ConfigError, Smtp};
