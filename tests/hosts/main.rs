//! One behaviour under every host: hyper, axum and tonic, over HTTP/1.1 and HTTP/2, by a real client over loopback.
//!
//! A scenario is written once, against a [`Host`]; it calls [`Operation`]s and sees [`Outcome`]s. Under tonic over HTTP/2 a
//! call is a gRPC call; everywhere else it is plain HTTP.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../common/mod.rs"]
mod common;
mod host;
mod scenarios;

/// Every scenario under every host.
macro_rules! under_every_host {
    ($($scenario:ident)*) => {
        under_every_host! { @host hyper_over_http_1 (hyper, false) $($scenario)* }
        under_every_host! { @host hyper_over_http_2 (hyper, true) $($scenario)* }
        under_every_host! { @host axum_over_http_1 (axum, false) $($scenario)* }
        under_every_host! { @host axum_over_http_2 (axum, true) $($scenario)* }
        under_every_host! { @host tonic_over_http_1 (tonic, false) $($scenario)* }
        under_every_host! { @host tonic_over_http_2 (tonic, true) $($scenario)* }
    };
    (@host $name:ident ($start:ident, $http2:expr) $($scenario:ident)*) => {
        mod $name {
            $(#[tokio::test]
            async fn $scenario() {
                crate::scenarios::$scenario(&crate::host::$start($http2).await).await;
            })*
        }
    };
}

under_every_host! {
    without_a_token_an_agent_is_led_to_the_documents
    an_agent_registers_and_its_session_works_until_it_is_revoked
    a_session_is_scoped
    the_owner_alone_passes_what_is_the_owners
    anybody_passes_what_is_optional_but_not_with_a_bad_token
    bad_tokens_are_refused_alike
    an_expired_session_is_refused
    a_request_that_is_unclear_is_refused
    what_nobody_classed_sees_no_agent
    a_failed_store_is_no_refused_token
    a_store_that_waits_answers_the_same
    calls_side_by_side_are_not_mixed_up
}
