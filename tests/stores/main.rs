//! What every store promises, checked on each store of this crate; then what only the SQLite store promises.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod contract;
#[path = "../common/dice.rs"]
mod dice;
mod fixtures;
mod model;
mod races;
mod sqlite;

/// Runs each promise on a new, empty store of each kind.
macro_rules! promises {
    ($($module:ident: $($promise:ident)*;)*) => {
        mod memory {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $promise() {
                    super::$module::$promise(tower_agent_auth::store::MemoryStore::new()).await;
                }
            )*)*
        }

        mod sqlite_file {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $promise() {
                    let file = super::fixtures::TempFile::new();
                    super::$module::$promise(file.open().await).await;
                }
            )*)*
        }
    };
}

promises! {
    contract:
        a_registration_is_found_by_id_and_by_claim
        r98_creating_what_exists_is_a_conflict_and_changes_nothing
        r42_a_source_has_its_cap
        r42_an_ipv6_network_of_64_bits_counts_as_one_source
        r42_without_an_address_only_the_total_counts
        r42_the_total_is_capped
        r42_what_is_decided_or_expired_frees_its_place
        r44_every_edge_is_legal_or_not_as_the_table_says
        r44_approved_scopes_are_some_of_those_requested
        r44_the_first_account_that_opens_is_bound
        r13_every_edge_is_closed_from_the_instant_of_expiry_on
        r13_nothing_is_redeemed_from_the_instant_of_expiry_on
        redeeming_keeps_the_whole_session
        r98_redeeming_with_a_known_id_or_digest_is_a_conflict_and_changes_nothing
        r45_a_registration_is_redeemed_once
        a_session_is_revoked_by_its_access_token
        a_session_is_revoked_by_its_refresh_token
        a_session_is_revoked_by_its_id_for_its_account_only
        an_account_is_revoked_with_what_it_approved
        what_was_revoked_is_listed_but_not_found
        revoking_twice_ends_nothing_more
        an_expired_session_can_be_revoked
        sessions_are_listed_newest_first_page_by_page
        the_later_use_stands
        every_mode_comes_back_as_it_was
        r49_the_fifth_wrong_code_locks
        r75_a_refresh_gives_new_secrets_and_ends_the_old_ones
        r75_only_the_current_refresh_token_of_a_live_session_refreshes
        r98_refreshing_with_a_known_digest_is_a_conflict_and_changes_nothing
        r80_a_used_refresh_token_revokes_what_became_of_it
        r99_a_registration_is_forgotten_an_hour_after_it_expired_but_not_its_session
        r99_hostile_text_comes_back_as_it_was;
    races:
        r45_one_winner_of_64_racing_redeems
        r45_one_winner_of_64_racing_redeems_of_one_session
        r45_one_winner_of_racing_approvals_and_denials
        r45_after_an_account_is_revoked_nothing_approved_before_is_live
        r42_racing_registrations_stay_within_the_caps
        r98_one_winner_of_64_racing_creations
        r45_a_session_is_ended_by_one_of_64_racing_revocations
        r49_racing_wrong_codes_are_counted_up_to_the_lock
        r75_one_winner_of_racing_refreshes
        r76_after_a_revocation_no_racing_refresh_is_live;
}
