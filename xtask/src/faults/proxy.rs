//! A proxy between the service and PostgreSQL that cuts a connection at a COMMIT. It understands as much of the protocol
//! as it takes to see one (PostgreSQL manual, "Frontend/Backend Protocol").

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::Outcome;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// PostgreSQL never sees the COMMIT.
    BeforeCommit,
    /// PostgreSQL gets it, and nobody waits for the answer.
    AfterForwarding,
    /// PostgreSQL has answered, and the service never sees that.
    AfterAnswer,
}

impl Cut {
    pub(crate) const ALL: [Self; 3] = [Self::BeforeCommit, Self::AfterForwarding, Self::AfterAnswer];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BeforeCommit => "cut before COMMIT",
            Self::AfterForwarding => "cut after COMMIT",
            Self::AfterAnswer => "cut after its answer",
        }
    }
}

pub(crate) struct Proxy {
    port: u16,
    plan: Arc<Plan>,
    accepting: JoinHandle<()>,
}

/// The cut that waits for the next COMMIT, and how many there were.
#[derive(Default)]
struct Plan {
    next: Mutex<Option<Cut>>,
    made: AtomicUsize,
}

impl Proxy {
    /// Listens, and passes everything on to `upstream` on this machine.
    pub(crate) async fn start(upstream: u16) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let plan = Arc::new(Plan::default());
        let accepting = tokio::spawn(accept(listener, upstream, Arc::clone(&plan)));
        Ok(Self { port, plan, accepting })
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Cuts the connection of the next COMMIT.
    pub(crate) fn arm(&self, cut: Cut) {
        self.plan.set(Some(cut));
    }

    pub(crate) fn disarm(&self) {
        self.plan.set(None);
    }

    /// How many connections were cut.
    pub(crate) fn made(&self) -> usize {
        self.plan.made.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Plan {
    fn set(&self, cut: Option<Cut>) -> Option<Cut> {
        std::mem::replace(&mut self.next.lock().unwrap_or_else(PoisonError::into_inner), cut)
    }

    fn take(&self) -> Option<Cut> {
        let cut = self.set(None)?;
        self.made.fetch_add(1, Ordering::SeqCst);
        Some(cut)
    }
}

async fn accept(listener: TcpListener, upstream: u16, plan: Arc<Plan>) {
    while let Ok((client, _)) = listener.accept().await {
        let plan = Arc::clone(&plan);
        tokio::spawn(async move {
            // How a connection ends is the affair of its two ends.
            let _ = pass(client, upstream, &plan).await;
        });
    }
}

/// Passes both directions on, until one ends. That closes both.
async fn pass(client: TcpStream, upstream: u16, plan: &Plan) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let muted = AtomicBool::new(false);
    tokio::select! {
        done = questions(from_client, to_server, plan, &muted) => done,
        done = answers(from_server, to_client, &muted) => done,
    }
}

async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, plan: &Plan, muted: &AtomicBool) -> io::Result<()> {
    let mut started = false;
    loop {
        let message = read_message(&mut from, started).await?;
        started = started || !is_negotiation(&message);
        let cut = if is_commit(&message) { plan.take() } else { None };
        muted.store(cut.is_some(), Ordering::SeqCst);
        match cut {
            None => to.write_all(&message).await?,
            Some(Cut::BeforeCommit) => return Ok(()),
            Some(Cut::AfterForwarding) => return to.write_all(&message).await,
            Some(Cut::AfterAnswer) => {
                to.write_all(&message).await?;
                // The answer, which is not delivered, ends the connection.
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, muted: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || muted.load(Ordering::SeqCst) {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// One message with its head: a type, which the first messages of a connection do not have, and a length.
async fn read_message(from: &mut OwnedReadHalf, typed: bool) -> io::Result<Vec<u8>> {
    const LONGEST: usize = 1 << 20;
    let mut message = Vec::new();
    if typed {
        message.push(from.read_u8().await?);
    }
    let length = from.read_u32().await?;
    message.extend(length.to_be_bytes());
    let rest = (length as usize).saturating_sub(4);
    if rest > LONGEST {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let head = message.len();
    message.resize(head + rest, 0);
    from.read_exact(&mut message[head..]).await?;
    Ok(message)
}

/// Whether a first message only asks for encryption, after which the real first message comes.
fn is_negotiation(message: &[u8]) -> bool {
    const TLS: [u8; 4] = 80_877_103_u32.to_be_bytes();
    const GSSAPI: [u8; 4] = 80_877_104_u32.to_be_bytes();
    message.len() == 8 && (message.ends_with(&TLS) || message.ends_with(&GSSAPI))
}

/// A simple query that is a COMMIT.
fn is_commit(message: &[u8]) -> bool {
    let Some((b'Q', rest)) = message.split_first() else { return false };
    let text = rest.get(4..).unwrap_or_default().trim_ascii();
    let text = text.strip_suffix(b"\0").unwrap_or(text).trim_ascii();
    text.strip_suffix(b";").unwrap_or(text).eq_ignore_ascii_case(b"COMMIT")
}

#[cfg(test)]
mod tests {
    use super::{is_commit, is_negotiation};

    #[test]
    fn a_commit_is_seen_and_nothing_else() {
        assert!(is_commit(b"Q\0\0\0\x0bCOMMIT\0"));
        assert!(is_commit(b"Q\0\0\0\x0ccommit;\0"));
        assert!(!is_commit(b"Q\0\0\0\x0dROLLBACK\0"));
        assert!(!is_commit(b"P\0\0\0\x0bCOMMIT\0"));
        assert!(!is_commit(b""));
    }

    #[test]
    fn asking_for_encryption_is_no_start() {
        assert!(is_negotiation(b"\0\0\0\x08\x04\xd2\x16\x2f"));
        assert!(!is_negotiation(b"\0\0\0\x08\0\x03\0\0"));
    }
}
