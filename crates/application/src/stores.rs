//! The store ports of one set of back ends. A further port is listed here and nowhere else.

use std::sync::Arc;

use crate::ports::{
    Accounts, Audit, Coupons, Health, Histories, IssueGate, Merchants, Outbox, Templates, Upkeep,
};

/// The store ports. Clones share the stores behind them.
#[derive(Clone)]
pub struct Stores {
    /// Accounts and verification tokens.
    pub accounts: Arc<dyn Accounts>,
    /// Merchants, members and secrets.
    pub merchants: Arc<dyn Merchants>,
    /// Coupon templates.
    pub templates: Arc<dyn Templates>,
    /// First come, first served.
    pub gate: Arc<dyn IssueGate>,
    /// Coupons once they are issued.
    pub coupons: Arc<dyn Coupons>,
    /// The ledger of what happened to coupons.
    pub histories: Arc<dyn Histories>,
    /// Mails that wait to be sent.
    pub outbox: Arc<dyn Outbox>,
    /// What is due by the clock.
    pub upkeep: Arc<dyn Upkeep>,
    /// Which dependencies answer.
    pub health: Arc<dyn Health>,
    /// Whether what is stored is right.
    pub audit: Arc<dyn Audit>,
}

/// Every store port but the gate: what one database of records implements.
pub trait Records:
    Accounts + Merchants + Templates + Coupons + Histories + Outbox + Upkeep + Health + Audit
{
}

impl<S> Records for S where
    S: Accounts + Merchants + Templates + Coupons + Histories + Outbox + Upkeep + Health + Audit
{
}

impl Stores {
    /// The ports of a store of all records, with `gate` before it.
    pub fn over<S: Records + 'static>(records: Arc<S>, gate: Arc<dyn IssueGate>) -> Self {
        Self {
            accounts: records.clone(),
            merchants: records.clone(),
            templates: records.clone(),
            gate,
            coupons: records.clone(),
            histories: records.clone(),
            outbox: records.clone(),
            upkeep: records.clone(),
            health: records.clone(),
            audit: records,
        }
    }
}
