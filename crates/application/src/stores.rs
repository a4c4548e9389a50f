//! The list of store ports: the only place where a new one is added to the list.

use std::sync::Arc;

use crate::ports::{
    Accounts, Audit, Coupons, Health, Histories, IssueGate, Mails, Merchants, Templates, Upkeep,
};

/// The store ports of one set of back ends. Clones share the stores behind them.
#[derive(Clone)]
pub struct Stores {
    /// Accounts and verification tokens.
    pub accounts: Arc<dyn Accounts>,
    /// Merchants, members and secrets.
    pub merchants: Arc<dyn Merchants>,
    /// Coupon templates.
    pub templates: Arc<dyn Templates>,
    /// Issues of coupons, first come, first served.
    pub gate: Arc<dyn IssueGate>,
    /// Coupons once they are issued.
    pub coupons: Arc<dyn Coupons>,
    /// The coupon history.
    pub histories: Arc<dyn Histories>,
    /// Every mail: pending, sent or given up.
    pub mails: Arc<dyn Mails>,
    /// Work that is due by the clock.
    pub upkeep: Arc<dyn Upkeep>,
    /// The health of the store's dependencies.
    pub health: Arc<dyn Health>,
    /// The check of stored data against the ledger.
    pub audit: Arc<dyn Audit>,
}

/// Every store port except the gate: those that one database of records implements.
pub trait Records:
    Accounts + Merchants + Templates + Coupons + Histories + Mails + Upkeep + Health + Audit
{
}

impl<S> Records for S where
    S: Accounts + Merchants + Templates + Coupons + Histories + Mails + Upkeep + Health + Audit
{
}

impl Stores {
    /// Makes the ports of a store of all records, with `gate` in front of it.
    pub fn over<S: Records + 'static>(records: Arc<S>, gate: Arc<dyn IssueGate>) -> Self {
        Self {
            accounts: records.clone(),
            merchants: records.clone(),
            templates: records.clone(),
            gate,
            coupons: records.clone(),
            histories: records.clone(),
            mails: records.clone(),
            upkeep: records.clone(),
            health: records.clone(),
            audit: records,
        }
    }
}
