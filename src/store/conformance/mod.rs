//! The store contract as a test suite, for authors of stores.
//!
//! [`store_conformance!`](crate::store_conformance) generates one test for each promise. Pass it a function that
//! creates a new, empty store and a guard that cleans up on drop. In a file below `tests/`:
//!
//! ```
//! use tower_agent_auth::store::MemoryStore; // your store
//!
//! async fn fresh() -> (MemoryStore, ()) {
//!     (MemoryStore::new(), ())
//! }
//!
//! tower_agent_auth::store_conformance!(fresh);
//! # fn main() {}
//! ```
//!
//! ```toml
//! [dev-dependencies]
//! tower-agent-auth = { version = "0.1", features = ["conformance"] }
//! ```
//!
//! Attributes after the function are added to each test, for example to ignore tests that need a server:
//!
//! ```
//! # async fn fresh() -> (tower_agent_auth::store::MemoryStore, ()) { Default::default() }
//! tower_agent_auth::store_conformance!(fresh, #[ignore = "needs a server at STORE_URL"]);
//! # fn main() {}
//! ```
//!
//! Each test runs on its own Tokio runtime with four threads, and uses its own instants. A store must use the instants
//! that it is given, never a clock. Clones of the store must share their data. A broken promise fails its test with a
//! panic that states what was expected. A random trace that fails is shrunk, and printed with its seed. The environment
//! variable `PROPTEST_RNG_SEED` repeats it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why"
)]
#![allow(missing_docs, reason = "the promises are reached by the macro alone, and say in their names what they check")]

use std::{
    future::Future,
    sync::{Arc, Weak},
    task::Poll,
};

use crate::{
    store::{
        AuthorizationKey, ClientCreation, ClientCutoff, Creation, Cutoff, PendingCaps, RevokeTarget, SessionStore,
        StoreError, Subscriber, traits::with_store_traits,
    },
    types::{
        authorization::{Account, AuthorizationRequest, NewAuthorizationRequest, Transition},
        client::RegisteredClient,
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        identity::{IdentityKey, LinkedIdentity, TokenKey},
        secret::{Access, Digest, Refresh},
        session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
        text::HumanText,
    },
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, RngSeed, TestError, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::types::random::{OsRandom, Random as _};

#[doc(hidden)]
pub mod clients;
#[doc(hidden)]
pub mod contract;
#[doc(hidden)]
pub mod dropped;
#[doc(hidden)]
pub mod fixtures;
#[doc(hidden)]
pub mod identities;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod races;
#[doc(hidden)]
pub mod refresh;
#[doc(hidden)]
pub mod renewals;

/// Generates one test for each promise of the store contract. See [`store::conformance`](crate::store::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::store_conformance! { @ $fresh, { $(#[$attribute])* };
            contract:
                an_authorization_request_is_found_by_id_and_by_each_lookup
                r91_what_is_unknown_is_an_answer_and_no_error
                r98_creating_what_exists_is_a_conflict_and_changes_nothing
                r42_a_source_has_its_cap
                r42_an_ipv6_network_of_64_bits_counts_as_one_source
                r42_without_an_address_only_the_total_counts
                e14_ipv6_networks_of_56_and_48_bits_have_larger_caps
                e14_at_the_cap_the_oldest_unopened_request_gives_way
                e14_what_a_human_has_opened_never_gives_way
                e14_an_opened_request_is_passed_over
                e14_a_lowered_cap_is_reached_a_few_at_a_time
                r42_what_is_decided_or_expired_frees_its_place
                r44_every_edge_is_legal_or_not_as_the_table_says
                r44_approved_scopes_are_some_of_those_requested
                r44_the_first_account_that_opens_is_bound
                a6_a_release_frees_a_request_only_from_the_opening_that_it_names
                r13_every_edge_is_closed_from_the_instant_of_expiry_on
                r13_nothing_is_redeemed_from_the_instant_of_expiry_on
                redeeming_keeps_the_whole_session
                r98_redeeming_with_a_known_id_or_digest_is_a_conflict_and_changes_nothing
                r45_a_request_is_redeemed_once
                a_session_is_revoked_by_its_access_token
                a_session_is_revoked_by_its_refresh_token
                a_session_is_revoked_by_its_id_for_its_account_only
                an_account_is_revoked_with_what_it_approved
                a3_what_an_account_has_approved_is_listed_until_it_is_redeemed_or_over
                the_requests_of_an_account_are_listed_page_by_page
                an_account_is_forgotten_with_all_that_is_stored_of_it
                an_account_is_forgotten_a_few_entries_at_a_time
                what_was_revoked_is_listed_but_not_found
                revoking_twice_ends_nothing_more
                an_expired_session_can_be_revoked
                sessions_are_listed_newest_first_page_by_page
                a_human_names_a_session_of_their_account
                the_later_use_stands
                c1_a_last_use_that_is_dated_ahead_gives_way
                a_use_that_is_written_down_is_noted_where_its_session_is_found
                a_session_and_its_record_agree
                a_flow_that_no_store_knows_is_kept_found_and_replaced
                r98_an_approval_with_a_known_lookup_is_a_conflict_and_changes_nothing
                r45_a_request_that_may_be_redeemed_again_becomes_several_sessions
                r49_the_fifth_wrong_code_locks
                c1_creating_a_request_deletes_nothing_whatever_its_date
                r99_what_is_over_is_forgotten_a_few_at_a_time
                r99_a_used_refresh_token_is_forgotten_when_its_own_time_was_over
                r99_hostile_text_comes_back_as_it_was;
            dropped:
                r93_a_dropped_redemption_is_whole_or_nothing
                r93_a_dropped_creation_is_whole_or_nothing
                r93_a_dropped_approval_is_whole_or_nothing
                r82_r93_a_dropped_revocation_is_whole_or_nothing_and_can_be_made_again
                r93_a_dropped_refresh_is_whole_or_nothing
                r93_a_dropped_deletion_of_an_account_is_whole_or_nothing;
            model:
                r44_random_traces_agree_with_the_model;
            refresh:
                r75_a_refresh_gives_new_secrets_and_ends_the_old_ones
                r75_only_the_current_refresh_token_of_a_live_session_refreshes
                r98_refreshing_with_a_known_digest_is_a_conflict_and_changes_nothing
                r80_a_used_refresh_token_revokes_what_became_of_it;
            renewals:
                a_renewal_changes_the_flow_the_end_and_the_lookups_and_nothing_else
                a_renewal_of_another_flow_changes_nothing
                r98_a_renewal_with_a_known_lookup_is_a_conflict_and_changes_nothing
                r45_one_winner_of_racing_renewals
                r45_a_revoked_request_is_never_renewed;
            races:
                r45_one_winner_of_64_racing_redeems
                r45_one_winner_of_64_racing_redeems_of_one_session
                r45_one_winner_of_racing_approvals_and_denials
                a6_racing_releases_and_openings_leave_one_account_bound
                r45_after_an_account_is_revoked_nothing_approved_before_is_live
                r45_after_an_account_is_revoked_no_repeated_redemption_is_live
                r45_after_an_account_is_forgotten_nothing_approved_before_is_live
                r42_racing_requests_stay_within_the_cap_of_their_source
                e14_after_a_race_the_next_request_restores_the_total_cap
                e14_racing_requests_displace_no_request_twice_and_none_that_is_opened
                r98_one_winner_of_64_racing_creations
                r45_a_session_is_ended_by_one_of_64_racing_revocations
                r49_racing_wrong_codes_are_counted_up_to_the_lock
                r75_one_winner_of_racing_refreshes
                r76_after_a_revocation_no_racing_refresh_is_live
                racing_uses_and_revocations_do_not_wait_for_each_other_in_a_circle;
        }
    };
    (@ $fresh:expr, $attributes:tt; $($module:ident: $($promise:ident)*;)*) => {
        $($($crate::store_conformance! { @test $fresh, $attributes, $module, $promise })*)*
    };
    (@test $fresh:expr, { $(#[$attribute:meta])* }, $module:ident, $promise:ident) => {
        #[test]
        $(#[$attribute])*
        fn $promise() {
            $crate::store::conformance::run($fresh, $crate::store::conformance::$module::$promise)
        }
    };
}

/// Generates one test for each promise of a [`ClientStore`](crate::store::ClientStore), as
/// [`store_conformance!`](crate::store_conformance) does for the other traits.
///
/// ```
/// # async fn fresh() -> (tower_agent_auth::store::MemoryStore, ()) { Default::default() }
/// tower_agent_auth::client_store_conformance!(fresh);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! client_store_conformance {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::store_conformance! { @ $fresh, { $(#[$attribute])* };
            clients:
                r91_a_client_that_is_unknown_is_an_answer_and_no_error
                r98_a_client_is_stored_once_and_never_overwritten
                r99_hostile_ids_and_metadata_come_back_as_they_were
                the_later_use_of_a_client_stands
                a_cap_counts_the_clients_that_have_never_been_used
                r99_clients_are_forgotten_by_their_last_use_a_few_at_a_time
                r93_a_dropped_creation_of_a_client_is_whole_or_nothing
                r93_a_dropped_first_use_is_whole_or_nothing
                r98_one_winner_of_64_racing_creations_of_a_client
                racing_creations_of_clients_stay_within_the_cap
                racing_uses_and_deletions_of_clients_leave_the_count_right
                random_traces_of_clients_agree_with_the_model;
        }
    };
}

/// Generates one test for each promise of an [`IdentityStore`](crate::store::IdentityStore), as
/// [`store_conformance!`](crate::store_conformance) does for the other traits.
///
/// ```
/// # async fn fresh() -> (tower_agent_auth::store::MemoryStore, ()) { Default::default() }
/// tower_agent_auth::identity_store_conformance!(fresh);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! identity_store_conformance {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::store_conformance! { @ $fresh, { $(#[$attribute])* };
            identities:
                r91_an_identity_that_is_unknown_is_an_answer_and_no_error
                an_identity_has_one_link_and_the_last_one_counts
                r99_keys_of_any_bytes_and_hostile_accounts_come_back_as_they_were
                the_links_of_an_account_are_deleted_a_few_at_a_time
                the_links_of_an_account_are_listed_a_few_at_a_time
                a_token_is_used_once_until_it_is_forgotten
                r99_used_tokens_are_forgotten_a_few_at_a_time
                r93_a_dropped_link_is_whole_or_nothing
                r93_a_dropped_use_of_a_token_is_whole_or_nothing
                r98_a_token_is_used_by_one_of_2_to_256_racing_callers
                racing_links_and_deletions_leave_one_whole_link_or_none
                r98_an_identity_is_unlinked_by_one_of_2_to_256_racing_callers
                random_traces_of_identities_agree_with_the_model;
        }
    };
}

/// A store whose token checks go through another store, such as a cache in front of it. It runs the suite through the
/// cache, as a service uses both.
///
/// ```
/// use std::sync::Arc;
/// use tower_agent_auth::store::{CachedStore, MemoryStore, conformance::CheckedWith};
///
/// async fn fresh() -> (CheckedWith<MemoryStore, Arc<CachedStore<MemoryStore>>>, ()) {
///     let store = MemoryStore::new();
///     (CheckedWith::new(store.clone(), Arc::new(CachedStore::over(store))), ())
/// }
///
/// tower_agent_auth::store_conformance!(fresh);
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct CheckedWith<S, C> {
    store: S,
    checks: C,
}

impl<S, C> CheckedWith<S, C> {
    /// Checks tokens with `checks`, and does all else with `store`.
    #[must_use]
    pub const fn new(store: S, checks: C) -> Self {
        Self { store, checks }
    }
}

impl<S: Send + Sync + 'static, C: SessionStore> SessionStore for CheckedWith<S, C> {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.checks.find_session(access).await
    }

    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        self.checks.try_find_session(access)
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.checks.subscribe(subscriber)
    }
}

macro_rules! forward {
    ($store:ident: $($trait:ident {
        $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*
    })*) => {$(
        impl<S: crate::store::$trait, C: Send + Sync + 'static> crate::store::$trait for $store<S, C> {$(
            #[allow(clippy::needless_lifetimes, reason = "the list of methods names `'a`")]
            async fn $name<'a>(&'a self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.store.$name($($argument),*).await
            }
        )*}
    )*};
}

with_store_traits!(forward CheckedWith);

/// Checks one promise on a new store.
#[doc(hidden)]
pub fn run<S, G, Fresh, Check>(fresh: impl FnOnce() -> Fresh, check: impl FnOnce(S) -> Check)
where
    Fresh: Future<Output = (S, G)>,
    Check: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let guard = runtime.block_on(async {
        let (store, guard) = fresh().await;
        check(store).await;
        guard
    });
    drop(runtime);
    drop(guard);
}

/// Checks a property with `cases` random values, in a Tokio runtime with several threads.
///
/// A failing value is shrunk in at most 500 runs. Then the test fails with that value and the seed that finds it again.
#[doc(hidden)]
pub fn property<S: Strategy>(cases: u32, strategy: S, check: impl AsyncFn(S::Value)) {
    let mut config = Config { cases, max_shrink_iters: 500, failure_persistence: None, ..Config::default() };
    // In a debug build the default generator, ChaCha, takes longer than the calls that are tested.
    config.rng_algorithm = RngAlgorithm::XorShift;
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => {
            let mut seed = [0; 8];
            OsRandom.fill(&mut seed).unwrap();
            u64::from_le_bytes(seed)
        }
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let check = |value| block_in_place(|| Handle::current().block_on(check(value)));
    let result = TestRunner::new(config).run(&strategy, |value| {
        check(value);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => {
            eprintln!("shrunk to {value:?}\nPROPTEST_RNG_SEED={seed} finds it again");
            // Outside of the runner, a panic shows its place.
            check(value);
            panic!("a second run of the shrunk value passed; the first run: {reason}");
        }
        Err(error) => panic!("{error}"),
    }
}
