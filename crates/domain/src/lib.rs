//! The rules of Goodpon: what a coupon is, who may do what with it, and why not.
//!
//! Everything here is pure. Time, randomness and stored state come in as arguments; what leaves is a decision, and with
//! it the entries and counts to be written. The same arguments give the same decision, so a store may decide again where
//! it repeats a transaction. Nothing here does I/O, awaits, serialises, reads a clock, draws a random number or words an
//! answer.

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
