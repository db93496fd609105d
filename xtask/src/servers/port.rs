//! Ports of this machine.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// A port that nobody listens on. Somebody else could take it before it is used; nobody does who asks for port 0.
pub(crate) fn free() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
