//! The laws that every adapter of the store ports keeps, as plain async functions that panic where it does not.
//!
//! A law sees the ports, a clock that it moves and a way to wait until all is written, and nothing of the adapter. A law
//! that stands in no list fails a test. No law expects a store to be empty, and none moves the clock back.
//!
//! An adapter's test suite gives a way to build a [`World`] to [`port_laws!`], which makes one test of each law:
//!
//! ```text
//! async fn world() -> goodpon_port_laws::World { … }
//! goodpon_port_laws::port_laws!(world);
//! ```
//!
//! Laws make their own accounts and merchants and move the clock forward only, so that they may follow each other on
//! one store; laws that run at once need a store each, for sweeps and the outbox go through all that a store holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a law that is broken panics"
)]

pub mod account;
pub mod audit;
pub mod coupon;
pub mod history;
pub mod idempotency;
pub mod issue;
pub mod mail;
pub mod member;
pub mod merchant;
mod scene;
pub mod template;
pub mod upkeep;
mod world;

pub use goodpon_waits::{DEADLINE, eventually, within};
pub use scene::{without_id, without_ids};
pub use world::{FreshRandom, ManualClock, Settle, World};

/// Makes one `#[tokio::test]` of each law, in one module for each noun. `$factory` names an `async fn() -> World` in scope;
/// the calling crate needs `tokio` with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! port_laws {
    ($factory:ident) => {
        $crate::port_laws!(@noun $factory, account: [
            addresses_are_unique_without_regard_to_case,
            sign_up_is_all_or_nothing,
            a_sign_up_takes_the_place_of_an_unverified_one,
            of_sign_ups_at_once_one_is_left,
            a_sign_up_and_a_verification_at_once_do_not_mix,
            a_token_is_spent_once,
            a_verification_may_set_a_password,
            a_token_allows_a_bounded_number_of_passwords,
            a_generation_that_is_there_stays,
            an_unverified_account_goes_after_a_day,
            further_mails_are_bounded,
            a_token_lasts_half_an_hour,
            a_renewal_voids_the_token_before,
            a_renewal_is_refused_without_a_trace,
        ]);
        $crate::port_laws!(@noun $factory, merchant: [
            only_members_see_a_merchant,
            lists_are_newest_first,
            five_unexpired_secrets_are_the_limit,
            the_limit_of_secrets_is_exact_at_once,
            the_end_of_a_secret,
            one_endless_secret_always_stays,
            only_owners_change_secrets,
            credentials_hold_all_secrets,
            changes_are_stamped,
            the_quota_of_merchants_is_exact_at_once,
        ]);
        $crate::port_laws!(@noun $factory, member: [
            members_come_and_go,
            only_owners_change_members,
            the_quota_of_members_is_exact_at_once,
        ]);
        $crate::port_laws!(@noun $factory, template: [
            a_draft_is_kept_as_written,
            a_template_is_mine_or_foreign_or_absent,
            publish_and_discard_by_status,
            an_ended_template_counts_as_expired_unswept,
            templates_are_listed_newest_first,
            one_of_many_publications_wins,
            a_discard_holds_against_publications_at_once,
            only_members_change_templates,
            the_quota_of_templates_is_exact_at_once,
        ]);
        $crate::port_laws!(@noun $factory, issue: [
            a_success_names_its_coupon,
            exactly_as_many_as_there_are,
            one_for_each_user,
            refusals_come_in_order,
            the_period_is_exact,
            user_ids_compare_byte_for_byte,
            standing_counts_at_once,
            already_issued_comes_before_sold_out,
            expiry_is_that_of_the_acceptance,
            one_for_ever,
        ]);
        $crate::port_laws!(@noun $factory, coupon: [
            a_redemption_returns_its_figures,
            the_redeem_limit_is_exact_at_once,
            a_cancellation_gives_its_place_back,
            one_of_many_redemptions_of_a_coupon_wins,
            one_of_many_cancellations_wins,
            redemption_is_refused_in_order,
            cancellation_is_refused_in_order,
            cancellation_after_the_end,
            held_returns_this_merchants_coupons_only,
            a_coupon_can_be_redeemed_again,
        ]);
        $crate::port_laws!(@noun $factory, idempotency: [
            an_issue_is_replayed_to_the_byte,
            a_replay_keeps_the_words_of_its_time,
            a_redemption_and_its_cancellation_are_replayed_to_the_byte,
            an_issue_happens_once_at_once,
            a_redemption_happens_once_at_once,
            a_cancellation_happens_once_at_once,
            one_body_wins_at_once,
            another_body_is_a_mismatch,
            refusals_are_remembered,
            keys_do_not_run_together,
            keys_are_forgotten_after_a_day,
            peek_changes_nothing,
        ]);
        $crate::port_laws!(@noun $factory, history: [
            filters_find_what_a_plain_search_finds,
            entries_have_the_fields_of_their_kind,
            entries_keep_their_amounts,
            entries_of_one_instant_keep_their_order,
            ascending_pages_skip_nothing_that_arrives,
            ascending_pages_skip_nothing_of_one_instant,
            descending_pages_are_not_disturbed,
        ]);
        $crate::port_laws!(@noun $factory, mail: [
            mails_are_due_oldest_first_until_sent,
            mails_know_their_network,
            mails_keep_the_trace_of_their_request,
            a_failed_mail_waits_for_its_time,
            a_mail_given_up_stays_listed,
            a_newer_mail_supersedes_one_that_waits,
            mails_are_listed_newest_first,
            mails_are_kept_for_a_week,
            tokens_in_mails_are_blanked_once_void,
            tokens_in_mails_are_blanked_at_their_end,
        ]);
        $crate::port_laws!(@noun $factory, upkeep: [
            templates_expire_at_their_end,
            coupons_expire_at_their_end,
            coupons_of_a_discarded_template_are_discarded,
            sweeps_at_once_do_it_once,
            expired_or_discarded_but_not_both,
            cleaning_up_takes_nothing_that_counts,
        ]);
        $crate::port_laws!(@noun $factory, audit: [
            every_dependency_answers,
            any_mix_of_actions_adds_up,
        ]);
    };
    (@noun $factory:ident, $noun:ident: [$($law:ident),* $(,)?]) => {
        mod $noun {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $law() {
                    let world = super::$factory().await;
                    $crate::$noun::$law(&world).await;
                }
            )*
        }
    };
}

#[cfg(test)]
mod tests {
    /// A law that stands in no list would never run.
    #[test]
    fn every_law_is_listed() {
        let nouns = [
            include_str!("account.rs"),
            include_str!("audit.rs"),
            include_str!("coupon.rs"),
            include_str!("history.rs"),
            include_str!("idempotency.rs"),
            include_str!("issue.rs"),
            include_str!("mail.rs"),
            include_str!("member.rs"),
            include_str!("merchant.rs"),
            include_str!("template.rs"),
            include_str!("upkeep.rs"),
        ];
        let listed = include_str!("lib.rs");
        let laws = nouns
            .iter()
            .flat_map(|noun| noun.lines())
            .filter_map(|line| line.strip_prefix("pub async fn "))
            .filter_map(|line| line.split_once('('));
        let mut count = 0;
        for (law, _) in laws {
            count += 1;
            assert!(
                listed.contains(&format!("            {law},\n")),
                "{law} is not listed"
            );
        }
        assert!(count > 60);
    }
}
