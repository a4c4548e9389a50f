//! The rules of Goodpon: accounts, merchants, templates, coupons and redemptions, and the refusals of each operation.
//!
//! Everything here is pure. Time, randomness and stored state come in as arguments; a decision is returned, with the
//! entries and counts to be written. The same arguments give the same decision, so a store may decide again when it
//! repeats a transaction. Nothing here does I/O, awaits, serialises, reads a clock, draws a random number or words an
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
