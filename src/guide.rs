//! The guide: short chapters on one subject each. This module has no items; it is here so that every example of a chapter
//! is compiled and run with the tests.
//!
//! | chapter | subject |
//! |---|---|
//! | [Quick start](quick_start) | from a service with a login to one that agents can ask for access |
//! | [Your login](your_login) | who is signed in: the trait `Accounts` |
//! | [Scopes](scopes) | what agents may be granted, and what the human reads |
//! | [The owner boundary](owner_boundary) | what no agent can ever do |
//! | [MCP servers](mcp) | rules by tool, and hosts that log in by themselves |
//! | [hyper] | one policy in place of a router |
//! | [gRPC](grpc) | rules by service and method |
//! | [Behind a proxy](behind_a_proxy) | paths, addresses, and what a proxy can break |
//! | [Stores](crate::store) | which one when, and how to write one |
//! | [Operations](crate::admin) | list and revoke sessions of any account |
//! | [Test your service](crate::testing) | sessions in one line, and layers in the wrong place |
//! | [Versions](versioning) | what a new version may change |
//! | [You already have auth](crate::guard) | agents beside API keys, JWT and cookies |
//! | [Security][security] | promises, limits, and the tests of each |
//!
//! More, without examples to compile: [the human's pages][pages], [OAuth clients and MCP hosts][oauth],
//! [agents of auth.md][auth-md], [the doctor][doctor], [what a token check costs][token-check],
//! [how large a service needs to be][sizing], [pictures of all pages][screenshots], [requirements][requirements],
//! [faults][faults], and [reasons][decisions].
//!
//! [security]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/SECURITY.md
//! [pages]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/pages.md
//! [oauth]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/oauth.md
//! [auth-md]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/auth-md.md
//! [doctor]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/doctor.md
//! [token-check]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/token-check.md
//! [sizing]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/sizing.md
//! [screenshots]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/screenshots.md
//! [requirements]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/requirements.md
//! [faults]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/faults.md
//! [decisions]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/docs/decisions.md

/// A chapter is a file of `docs/`. Its links to other chapters are references at its end, which lead from file to file. In
/// the documentation of the crate, references of the same names come first, so they lead to modules.
macro_rules! chapters {
    ($($module:ident $file:literal)*) => {$(
        #[doc = "[accounts]: crate::accounts"]
        #[doc = "[already-have-auth]: crate::guard"]
        #[doc = "[behind-a-proxy]: crate::guide::behind_a_proxy"]
        #[doc = "[mcp]: crate::guide::mcp"]
        #[doc = "[oauth]: crate::config"]
        #[doc = "[operations]: crate::admin"]
        #[doc = "[server]: https://github.com/tower-agent-auth/tower-agent-auth/blob/main/examples/common/server.rs"]
        #[doc = "[stores]: crate::store"]
        #[doc = "[testing]: crate::testing"]
        #[doc = "[your-login]: crate::guide::your_login"]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $module {}
    )*};
}

chapters! {
    quick_start "quick-start.md"
    your_login "your-login.md"
    scopes "scopes.md"
    owner_boundary "owner-boundary.md"
    mcp "mcp.md"
    grpc "grpc.md"
    hyper "hyper.md"
    behind_a_proxy "behind-a-proxy.md"
    versioning "versioning.md"
}
