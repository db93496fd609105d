//! What the benches have in common: a service, its sessions, and a way to measure.

pub(crate) mod counting;
pub(crate) mod measure;
pub(crate) mod peers;
pub(crate) mod service;
pub(crate) mod world;
