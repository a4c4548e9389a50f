//! What `goodpon verify` tells.

use std::fmt;

use goodpon_domain::template::Template;

/// Something stored that the ledger does not bear out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about, e.g. `template 7 issue_count`.
    pub subject: String,
    /// What the ledger says.
    pub expected: String,
    /// What is stored.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, found {}",
            self.subject, self.expected, self.found
        )
    }
}

/// What a template's counters and limits say that its coupons do not bear out: `issued` in all, `redeemed` now.
pub fn of_template(template: &Template, issued: i64, redeemed: i64) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, expected: String, found: i64| {
        differences.push(Difference {
            subject: format!("template {} {what}", template.id),
            expected,
            found: found.to_string(),
        });
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
