//! For the operators of a service: sessions of all accounts, in code and by HTTP.
//!
#![doc = include_str!("../../docs/operations.md")]

mod access;
mod api;
mod service;

pub use access::Access;
pub use service::{AdminService, ResponseFuture};
