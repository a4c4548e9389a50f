//! The ports: traits through which use cases reach the outside. An adapter is correct if it keeps the laws in
//! `port-laws`.
//!
//! A store owns its transactions and its clock: it sets the time of every write, so that everything it records is in one
//! order of time. The domain makes the decisions; a store calls it between reading and writing, and may call it again
//! when it has to repeat a transaction.

mod account;
mod audit;
mod coupon;
mod error;
mod health;
mod history;
mod issue;
mod mail;
mod merchant;
mod outside;
mod password;
mod template;
mod upkeep;

pub use account::*;
pub use audit::*;
pub use coupon::*;
pub use error::*;
pub use goodpon_domain::coupon::IssueOutcome;
pub use health::*;
pub use history::*;
pub use issue::*;
pub use mail::*;
pub use merchant::*;
pub use outside::*;
pub use password::*;
pub use template::*;
pub use upkeep::*;
