//! The scaled-out set in parts of its own: servers that may be killed, processes apart, proxies on every way between
//! them, and rounds in which all of it is broken under load.

mod audit;
mod books;
mod customers;
mod fault;
pub mod fleet;
mod journal;
pub mod process;
pub mod proxy;
mod rounds;
pub mod servers;

pub use fault::{Fault, Planned};
pub use proxy::{Link, Mode, Proxy};
pub use rounds::{Plan, run};
