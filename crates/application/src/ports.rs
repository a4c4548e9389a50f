//! What the use cases need of the outside. An adapter is right if it keeps the laws in `port-laws`.
//!
//! A store owns its transactions and its clock: every write is stamped by the store, so that one order of time
//! runs through all it records. Decisions are the domain's; a store calls them between reading and writing,
//! and may call them again where it has to repeat a transaction.

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
