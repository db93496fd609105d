//! HTTP code shared by the guard and the endpoints: the challenge, credentials, client addresses, bodies and responses.

mod assembly;
mod body;
pub mod challenge;
mod client_address;
mod credentials;
mod reply;

pub(crate) use assembly::Assembly;
pub use body::GuardBody;
pub(crate) use client_address::{ClientAddresses, PeerAddress};
pub(crate) use credentials::{Credentials, has_agent_credential, has_own_token, has_query_token, presents_own_token};
pub(crate) use reply::*;
