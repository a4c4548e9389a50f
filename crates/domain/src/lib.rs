//! The rules of Goodpon: what a coupon is, who may do what with it, and why not.
//!
//! Everything here is pure. Time, randomness and stored state come in as arguments; what leaves is a decision.

pub mod account;
pub mod business_time;
pub mod coupon;
pub mod gate;
pub mod generation;
pub mod history;
pub mod id;
pub mod ledger;
pub mod merchant;
pub mod name;
pub mod quota;
pub mod redemption;
pub mod session;
pub mod template;
pub mod wallet;
