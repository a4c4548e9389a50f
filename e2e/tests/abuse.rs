//! The attacks of [`goodpon_e2e::abuse`], small; `cargo xtask torture --abuse` runs them large.

use goodpon_e2e::abuse::{self, Size};

const SMALL: Size = Size::SMALL;

#[tokio::test]
async fn a_client_that_does_not_read_loses_the_connection() {
    abuse::slow_readers_are_cut_off().await;
}

#[tokio::test]
async fn slow_readers_of_one_address_keep_nobody_out_and_hold_little() {
    abuse::places_for_others(SMALL).await;
}

#[tokio::test]
async fn logins_and_sign_ups_of_many_networks_do_not_keep_the_owner_out() {
    abuse::logins_and_sign_ups(SMALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_widest_requests_of_one_tenant_leave_another_half_of_its_rate() {
    abuse::widest_requests(SMALL).await;
}

#[tokio::test]
async fn an_address_that_was_claimed_first_is_its_owners() {
    abuse::claimed_addresses(SMALL).await;
}

/// A database that is made anew numbers its accounts from the start.
#[tokio::test]
async fn tokens_of_a_database_that_is_gone_open_nothing() {
    abuse::tokens_of_another_database(SMALL).await;
}

#[tokio::test]
async fn tokens_of_accounts_that_a_restore_forgot_open_no_others() {
    abuse::tokens_that_a_restore_forgot(SMALL).await;
}

#[tokio::test]
async fn a_shared_cache_gives_nobody_what_is_anothers() {
    abuse::caches_in_front().await;
}

#[tokio::test]
async fn credentials_that_nobody_has_cost_little_memory() {
    abuse::unknown_credentials(SMALL).await;
}
