//! Comparisons of `goodpon verify` that both stores share.

use goodpon_domain::{
    ledger::{Amounts, HistoryAction},
    template::{Discount, Template},
};

use crate::ports::Difference;

/// Compares a template's counters and limits with its coupons: `issued` is the number of all, `redeemed` of those in the
/// redeemed state. Returns the differences.
pub fn of_template(template: &Template, issued: i64, redeemed: i64) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |value: &str, expected: String, found: i64| {
        let subject = format!("template {} {value}", template.id);
        differences.push(Difference::new(subject, expected, found));
    };
    if template.issue_count != issued {
        differ("issue_count", issued.to_string(), template.issue_count);
    }
    if template.redeem_count != redeemed {
        differ("redeem_count", redeemed.to_string(), template.redeem_count);
    }
    let limit = template.terms.limit;
    if let Some(max) = limit.max_issue_count().filter(|&max| issued > max) {
        differ("coupons", format!("at most {max}"), issued);
    }
    if let Some(max) = limit.max_redeem_count().filter(|&max| redeemed > max) {
        differ("redeemed coupons", format!("at most {max}"), redeemed);
    }
    differences
}

/// Checks the amounts of one entry by themselves, and returns the expected and the found text if they are wrong.
/// [`cancels`] compares a cancellation with its redemption. `may_lack` is true where a release that recorded no amounts
/// may have written the entry.
pub fn of_amounts(
    action: HistoryAction,
    amounts: Amounts,
    discount: Option<Discount>,
    may_lack: bool,
) -> Option<(String, String)> {
    let expected = match (action, amounts.order, amounts.discount) {
        (HistoryAction::Redeem, Some(order), Some(off)) => {
            let by_terms = discount.map_or(off, |discount| discount.amount_off(order));
            if off == by_terms && (0..=order).contains(&off) {
                return None;
            }
            format!("a discount of {by_terms}, from 0 to the order amount")
        }
        (HistoryAction::Redeem | HistoryAction::CancelRedemption, None, None) if may_lack => {
            return None;
        }
        (HistoryAction::Redeem, ..) => "an order amount and a discount".into(),
        (HistoryAction::CancelRedemption, None, _) => return None,
        (HistoryAction::CancelRedemption, ..) => "a discount alone".into(),
        (_, None, None) => return None,
        _ => "none".into(),
    };
    Some((expected, amounts_text(amounts)))
}

/// Checks the amounts of a cancellation against those of its redemption, whose discount it repeats, and returns the
/// expected and the found text if they differ. `may_lack` is true where a release that recorded no amounts may have
/// written the cancellation. A redemption without amounts may be cancelled by any release.
pub fn cancels(redeemed: Amounts, amounts: Amounts, may_lack: bool) -> Option<(String, String)> {
    let is_right =
        amounts.discount == redeemed.discount || (may_lack && amounts.discount.is_none());
    (!is_right).then(|| {
        (
            amounts_text(redeemed.for_cancellation()),
            amounts_text(amounts),
        )
    })
}

fn amounts_text(amounts: Amounts) -> String {
    let text = |amount: Option<i64>| amount.map_or("none".into(), |amount| amount.to_string());
    format!(
        "order amount: {}, discount: {}",
        text(amounts.order),
        text(amounts.discount)
    )
}
