//! Templates: every validation rule of contract §2.1, publication, discard and the status at a time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use std::collections::HashSet;

use fixtures::{ALL_TEMPLATE_STATUSES, MICRO, minute, template, zone};
use goodpon_domain::template::{
    DiscardRefusal, Discount, DiscountType, Draft, Limit, LimitType, Owned, PublishRefusal,
    TemplateStatus, Violation, discard, publish, validate,
};
use jiff::civil::{Date, date};

const D0: Date = date(2028, 2, 28);
const D1: Date = date(2028, 2, 29);
const D2: Date = date(2028, 3, 1);
const D3: Date = date(2028, 3, 2);

fn draft() -> Draft {
    Draft {
        name: "name".into(),
        description: String::new(),
        min_order_amount: None,
        discount_type: DiscountType::FixedAmount,
        discount_value: 1,
        max_discount_amount: None,
        issue_start_date: D1,
        issue_end_date: None,
        validity_days: None,
        absolute_expiry_date: None,
        limit_type: LimitType::None,
        max_issue_count: None,
        max_redeem_count: None,
    }
}

struct Rule {
    group: u8,
    broken: fn(&Draft) -> bool,
    violation: Violation,
}

const fn rule(group: u8, violation: Violation, broken: fn(&Draft) -> bool) -> Rule {
    Rule {
        group,
        broken,
        violation,
    }
}

fn none_or_not_positive(value: Option<i64>) -> bool {
    !matches!(value, Some(1..))
}

/// Lists the rows of the contract's table.
static RULES: [Rule; 15] = [
    rule(0, Violation::MinOrderAmountNotPositive, |d| {
        matches!(d.min_order_amount, Some(..=0))
    }),
    rule(1, Violation::FixedAmountNotPositive, |d| {
        d.discount_type == DiscountType::FixedAmount && d.discount_value <= 0
    }),
    rule(1, Violation::FixedAmountWithMaximum, |d| {
        d.discount_type == DiscountType::FixedAmount && d.max_discount_amount.is_some()
    }),
    rule(1, Violation::PercentageOutOfRange, |d| {
        d.discount_type == DiscountType::Percentage
            && (d.discount_value < 1 || d.discount_value > 100)
    }),
    rule(1, Violation::PercentageWithoutMaximum, |d| {
        d.discount_type == DiscountType::Percentage && none_or_not_positive(d.max_discount_amount)
    }),
    rule(
        2,
        Violation::IssueEndBeforeStart,
        |d| matches!(d.issue_end_date, Some(end) if end < d.issue_start_date),
    ),
    rule(
        2,
        Violation::ExpiryBeforeIssueStart,
        |d| matches!(d.absolute_expiry_date, Some(last) if last < d.issue_start_date),
    ),
    rule(
        2,
        Violation::ExpiryBeforeIssueEnd,
        |d| matches!((d.absolute_expiry_date, d.issue_end_date), (Some(last), Some(end)) if last < end),
    ),
    rule(2, Violation::ExpiryWithoutIssueEnd, |d| {
        d.absolute_expiry_date.is_some() && d.issue_end_date.is_none()
    }),
    rule(2, Violation::ValidityDaysNotPositive, |d| {
        matches!(d.validity_days, Some(..=0))
    }),
    rule(3, Violation::IssueLimitMissing, |d| {
        d.limit_type == LimitType::IssueCount && none_or_not_positive(d.max_issue_count)
    }),
    rule(3, Violation::IssueLimitWithRedeemLimit, |d| {
        d.limit_type == LimitType::IssueCount && d.max_redeem_count.is_some()
    }),
    rule(3, Violation::RedeemLimitMissing, |d| {
        d.limit_type == LimitType::RedeemCount && none_or_not_positive(d.max_redeem_count)
    }),
    rule(3, Violation::RedeemLimitWithIssueLimit, |d| {
        d.limit_type == LimitType::RedeemCount && d.max_issue_count.is_some()
    }),
    rule(3, Violation::NoLimitWithLimit, |d| {
        d.limit_type == LimitType::None
            && (d.max_issue_count.is_some() || d.max_redeem_count.is_some())
    }),
];

/// Expects the first broken rule of each group, in the order of groups.
fn expected(draft: &Draft) -> Vec<Violation> {
    (0..4)
        .filter_map(|group| {
            RULES
                .iter()
                .find(|rule| rule.group == group && (rule.broken)(draft))
        })
        .map(|rule| rule.violation)
        .collect()
}

#[test]
fn each_rule_is_reported_alone() {
    use DiscountType::Percentage;
    use LimitType::{IssueCount, RedeemCount};
    type Change = fn(&mut Draft);
    let percentage = |d: &mut Draft| {
        d.discount_type = Percentage;
        d.max_discount_amount = Some(1);
    };
    let rows: [(Violation, Change); 26] = [
        (Violation::MinOrderAmountNotPositive, |d| {
            d.min_order_amount = Some(0)
        }),
        (Violation::MinOrderAmountNotPositive, |d| {
            d.min_order_amount = Some(i64::MIN)
        }),
        (Violation::FixedAmountNotPositive, |d| d.discount_value = 0),
        (Violation::FixedAmountNotPositive, |d| d.discount_value = -1),
        (Violation::FixedAmountWithMaximum, |d| {
            d.max_discount_amount = Some(1)
        }),
        (Violation::FixedAmountWithMaximum, |d| {
            d.max_discount_amount = Some(0)
        }),
        (Violation::PercentageOutOfRange, |d| {
            (d.discount_type, d.discount_value) = (Percentage, 0)
        }),
        (Violation::PercentageOutOfRange, |d| {
            (d.discount_type, d.discount_value) = (Percentage, 101)
        }),
        (Violation::PercentageWithoutMaximum, |d| {
            d.max_discount_amount = None
        }),
        (Violation::PercentageWithoutMaximum, |d| {
            d.max_discount_amount = Some(0)
        }),
        (Violation::IssueEndBeforeStart, |d| {
            d.issue_end_date = Some(D0)
        }),
        (Violation::ExpiryBeforeIssueStart, |d| {
            d.absolute_expiry_date = Some(D0)
        }),
        (Violation::ExpiryBeforeIssueEnd, |d| {
            (d.issue_end_date, d.absolute_expiry_date) = (Some(D2), Some(D1));
        }),
        (Violation::ExpiryWithoutIssueEnd, |d| {
            d.absolute_expiry_date = Some(D1)
        }),
        (Violation::ValidityDaysNotPositive, |d| {
            d.validity_days = Some(0)
        }),
        (Violation::ValidityDaysNotPositive, |d| {
            d.validity_days = Some(-1)
        }),
        (Violation::IssueLimitMissing, |d| d.limit_type = IssueCount),
        (Violation::IssueLimitMissing, |d| {
            (d.limit_type, d.max_issue_count) = (IssueCount, Some(0))
        }),
        (Violation::IssueLimitMissing, |d| {
            (d.limit_type, d.max_redeem_count) = (IssueCount, Some(1));
        }),
        (Violation::IssueLimitWithRedeemLimit, |d| {
            (d.limit_type, d.max_issue_count, d.max_redeem_count) = (IssueCount, Some(1), Some(1));
        }),
        (Violation::RedeemLimitMissing, |d| {
            d.limit_type = RedeemCount
        }),
        (Violation::RedeemLimitMissing, |d| {
            (d.limit_type, d.max_redeem_count) = (RedeemCount, Some(0))
        }),
        (Violation::RedeemLimitMissing, |d| {
            (d.limit_type, d.max_issue_count) = (RedeemCount, Some(1));
        }),
        (Violation::RedeemLimitWithIssueLimit, |d| {
            (d.limit_type, d.max_issue_count, d.max_redeem_count) = (RedeemCount, Some(1), Some(1));
        }),
        (Violation::NoLimitWithLimit, |d| d.max_issue_count = Some(1)),
        (Violation::NoLimitWithLimit, |d| {
            d.max_redeem_count = Some(0)
        }),
    ];
    let seoul = zone("Asia/Seoul");
    for (violation, change) in rows {
        let mut broken = draft();
        if violation == Violation::PercentageWithoutMaximum {
            percentage(&mut broken);
        }
        change(&mut broken);
        assert_eq!(
            validate(broken.clone(), &seoul),
            Err(vec![violation]),
            "{broken:?}"
        );
    }
    let violations: HashSet<_> = rows.iter().map(|(violation, _)| *violation).collect();
    assert_eq!(
        violations,
        RULES.iter().map(|rule| rule.violation).collect()
    );
}

#[test]
fn all_groups_are_reported_at_once_and_in_order() {
    let everything = Draft {
        min_order_amount: Some(0),
        discount_value: 0,
        max_discount_amount: Some(0),
        issue_end_date: Some(D0),
        absolute_expiry_date: Some(D0.yesterday().unwrap()),
        validity_days: Some(0),
        limit_type: LimitType::IssueCount,
        max_issue_count: Some(0),
        max_redeem_count: Some(0),
        ..draft()
    };
    assert_eq!(
        validate(everything, &zone("Asia/Seoul")),
        Err(vec![
            Violation::MinOrderAmountNotPositive,
            Violation::FixedAmountNotPositive,
            Violation::IssueEndBeforeStart,
            Violation::IssueLimitMissing,
        ])
    );
}

/// Lists all combinations of the fields that the discount rules look at.
fn discounts() -> Vec<(DiscountType, i64, Option<i64>)> {
    let mut all = Vec::new();
    for kind in [DiscountType::FixedAmount, DiscountType::Percentage] {
        for value in [-1, 0, 1, 100, 101] {
            for max in [None, Some(-1), Some(0), Some(1)] {
                all.push((kind, value, max));
            }
        }
    }
    all
}

fn periods() -> Vec<(Option<Date>, Option<Date>, Option<i64>)> {
    let mut all = Vec::new();
    for end in [None, Some(D0), Some(D1), Some(D2)] {
        for expiry in [None, Some(D0), Some(D1), Some(D2), Some(D3)] {
            for days in [None, Some(-1), Some(0), Some(1)] {
                all.push((end, expiry, days));
            }
        }
    }
    all
}

fn limits() -> Vec<(LimitType, Option<i64>, Option<i64>)> {
    let values = [None, Some(-1), Some(0), Some(1)];
    let mut all = Vec::new();
    for kind in [
        LimitType::None,
        LimitType::IssueCount,
        LimitType::RedeemCount,
    ] {
        for issue in values {
            for redeem in values {
                all.push((kind, issue, redeem));
            }
        }
    }
    all
}

#[test]
fn every_combination_of_fields_is_validated_by_the_table() {
    let seoul = zone("Asia/Seoul");
    let mut valid = 0;
    for min_order_amount in [None, Some(0), Some(1)] {
        for (discount_type, discount_value, max_discount_amount) in discounts() {
            for (issue_end_date, absolute_expiry_date, validity_days) in periods() {
                for (limit_type, max_issue_count, max_redeem_count) in limits() {
                    let draft = Draft {
                        min_order_amount,
                        discount_type,
                        discount_value,
                        max_discount_amount,
                        issue_end_date,
                        absolute_expiry_date,
                        validity_days,
                        limit_type,
                        max_issue_count,
                        max_redeem_count,
                        ..draft()
                    };
                    let expected = expected(&draft);
                    match validate(draft.clone(), &seoul) {
                        Err(violations) => assert_eq!(violations, expected, "{draft:?}"),
                        Ok(_) => {
                            assert!(expected.is_empty(), "{draft:?}");
                            valid += 1;
                        }
                    }
                }
            }
        }
    }
    // 2 minimum amounts × (3 fixed amounts + 2 percentages) × 2 validities × (no end, or one of 2 ends
    // with its 1 + 3 or 1 + 2 expiries) × 3 limits.
    assert_eq!(valid, 2 * (3 + 2) * 2 * (1 + 4 + 3) * 3);
}

#[test]
fn a_valid_draft_is_kept_as_it_is() {
    let valid = Draft {
        name: "이름 🎟".into(),
        description: "설명".into(),
        min_order_amount: Some(1),
        discount_type: DiscountType::Percentage,
        discount_value: 100,
        max_discount_amount: Some(1_000_000_000_000),
        validity_days: Some(36_500),
        limit_type: LimitType::RedeemCount,
        max_redeem_count: Some(1_000_000_000),
        ..draft()
    };
    let terms = validate(valid, &zone("Asia/Seoul")).unwrap();
    assert_eq!(
        (terms.name.as_str(), terms.description.as_str()),
        ("이름 🎟", "설명")
    );
    assert_eq!(terms.min_order_amount, Some(1));
    let (percent, max) = (100, 1_000_000_000_000);
    assert_eq!(terms.discount, Discount::Percentage { percent, max });
    assert_eq!(terms.discount.kind(), DiscountType::Percentage);
    assert_eq!(
        (terms.discount.value(), terms.discount.max_amount()),
        (percent, Some(max))
    );
    assert_eq!(terms.limit, Limit::RedeemCount(1_000_000_000));
    assert_eq!(terms.limit.kind(), LimitType::RedeemCount);
    assert_eq!(terms.limit.max_issue_count(), None);
    assert_eq!(terms.limit.max_redeem_count(), Some(1_000_000_000));
    assert_eq!(terms.period.validity_days, Some(36_500));

    let mut other = draft();
    (other.limit_type, other.max_issue_count) = (LimitType::IssueCount, Some(3));
    let terms = validate(other, &zone("Asia/Seoul")).unwrap();
    assert_eq!(terms.discount, Discount::FixedAmount { amount: 1 });
    assert_eq!(
        (terms.discount.value(), terms.discount.max_amount()),
        (1, None)
    );
    assert_eq!(terms.discount.kind(), DiscountType::FixedAmount);
    assert_eq!(
        (terms.limit.kind(), terms.limit.max_issue_count()),
        (LimitType::IssueCount, Some(3))
    );
    assert_eq!(terms.limit.max_redeem_count(), None);
}

#[test]
fn an_issuable_template_expires_at_its_absolute_end() {
    let end = minute(100);
    for status in ALL_TEMPLATE_STATUSES {
        let mut template = template();
        template.status = status;
        assert_eq!(template.status_at(minute(i64::from(i32::MAX))), status);
        template.terms.period.absolute_expires_at = Some(end);
        let past = match status {
            TemplateStatus::Issuable => TemplateStatus::Expired,
            stored => stored,
        };
        assert_eq!(template.status_at(end - MICRO), status);
        assert_eq!(template.status_at(end), past);
        assert_eq!(template.status_at(end + MICRO), past);
    }
}

#[test]
fn only_a_draft_is_published_whatever_its_dates() {
    for status in ALL_TEMPLATE_STATUSES {
        let mut template = template();
        template.status = status;
        template.terms.period.absolute_expires_at = Some(minute(-1));
        let expected = match status {
            TemplateStatus::Draft => Ok(()),
            _ => Err(PublishRefusal::InvalidStatus),
        };
        assert_eq!(publish(Owned::Mine(&template)), expected, "{status:?}");
    }
    assert_eq!(publish(Owned::Absent), Err(PublishRefusal::NotFound));
    assert_eq!(publish(Owned::Foreign), Err(PublishRefusal::NotOwned));
}

#[test]
fn a_draft_or_an_issuable_template_is_discarded() {
    let end = minute(100);
    for status in ALL_TEMPLATE_STATUSES {
        for (now, past) in [(end - MICRO, false), (end, true)] {
            let mut template = template();
            template.status = status;
            template.terms.period.absolute_expires_at = Some(end);
            let expected = match (status, past) {
                (TemplateStatus::Draft, _) | (TemplateStatus::Issuable, false) => Ok(()),
                _ => Err(DiscardRefusal::InvalidStatus),
            };
            assert_eq!(
                discard(Owned::Mine(&template), now),
                expected,
                "{status:?} {past}"
            );
        }
    }
    assert_eq!(discard(Owned::Absent, end), Err(DiscardRefusal::NotFound));
    assert_eq!(discard(Owned::Foreign, end), Err(DiscardRefusal::NotOwned));
}
