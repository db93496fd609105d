//! A proxy between the service and its store. It cuts a connection at a COMMIT, makes connections silent without
//! closing them, or connects new ones to another server. To cut, it reads as much of PostgreSQL's protocol as is needed
//! to see a COMMIT (PostgreSQL manual, "Frontend/Backend Protocol").

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
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
    silence: watch::Sender<Silence>,
    accepting: JoinHandle<()>,
}

/// What is done to connections.
struct Plan {
    /// The port of the server that new connections are passed on to.
    upstream: AtomicU16,
    /// COMMITs are looked for.
    cuts: bool,
    /// The cut that waits for the next COMMIT, and how many there were.
    next: Mutex<Option<Cut>>,
    made: AtomicUsize,
}

/// Which connections are silent.
#[derive(Clone, Copy, Default)]
struct Silence {
    /// How many silences there were. Connections from before the last one are silent, those from before the one before
    /// it are closed.
    times: usize,
    /// New connections are silent too.
    lasts: bool,
}

impl Proxy {
    /// Listens, and passes everything on to `upstream` on this machine.
    pub(crate) async fn start(upstream: u16) -> Outcome<Self> {
        Self::open(upstream, false).await
    }

    /// One that can cut connections to PostgreSQL.
    pub(crate) async fn cutting(upstream: u16) -> Outcome<Self> {
        Self::open(upstream, true).await
    }

    async fn open(upstream: u16, cuts: bool) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let upstream = AtomicU16::new(upstream);
        let plan = Arc::new(Plan { upstream, cuts, next: Mutex::default(), made: AtomicUsize::new(0) });
        let (silence, silences) = watch::channel(Silence::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&plan), silences));
        Ok(Self { port, plan, silence, accepting })
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
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

    /// Forwards nothing more on the connections that are open now, and closes none of them.
    pub(crate) fn fall_silent(&self) {
        self.silence.send_modify(|silence| silence.times += 1);
    }

    /// The same for connections to come.
    pub(crate) fn stay_silent(&self) {
        self.silence.send_modify(|silence| silence.lasts = true);
        self.fall_silent();
    }

    /// Connects new connections to another server. The old ones stay.
    pub(crate) fn switch(&self, upstream: u16) {
        self.plan.upstream.store(upstream, Ordering::SeqCst);
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

async fn accept(listener: TcpListener, plan: Arc<Plan>, silences: watch::Receiver<Silence>) {
    while let Ok((client, _)) = listener.accept().await {
        let (plan, silences) = (Arc::clone(&plan), silences.clone());
        tokio::spawn(async move {
            // How a connection ends is the affair of its two ends.
            let _ = serve(client, &plan, silences).await;
        });
    }
}

/// Passes on until a silence, and then holds both connections until the next one or the end of the proxy.
async fn serve(mut client: TcpStream, plan: &Plan, mut silences: watch::Receiver<Silence>) -> io::Result<()> {
    let Silence { times, lasts } = *silences.borrow_and_update();
    let mut server = TcpStream::connect(("127.0.0.1", plan.upstream.load(Ordering::SeqCst))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::select! {
        biased;
        _ = silences.wait_for(|now| lasts || now.times > times) => {}
        done = pass(&mut client, &mut server, plan) => return done,
    }
    // An error is the end of the proxy.
    let _ = silences.wait_for(|now| now.times > times + 1).await;
    Ok(())
}

/// Passes both directions on, until one ends. That closes both.
async fn pass(client: &mut TcpStream, server: &mut TcpStream, plan: &Plan) -> io::Result<()> {
    if !plan.cuts {
        return copy_bidirectional(client, server).await.map(drop);
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let muted = AtomicBool::new(false);
    tokio::select! {
        done = questions(from_client, to_server, plan, &muted) => done,
        done = answers(from_server, to_client, &muted) => done,
    }
}

async fn questions(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, plan: &Plan, muted: &AtomicBool) -> io::Result<()> {
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

async fn answers(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, muted: &AtomicBool) -> io::Result<()> {
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
async fn read_message(from: &mut ReadHalf<'_>, typed: bool) -> io::Result<Vec<u8>> {
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
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::{Proxy, is_commit, is_negotiation};

    /// A server that answers each connection with a byte, and each byte with the same.
    async fn server(greeting: u8) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = greeting;
                    while stream.write_u8(byte).await.is_ok() {
                        let Ok(next) = stream.read_u8().await else { break };
                        byte = next;
                    }
                });
            }
        });
        port
    }

    async fn connection(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
    }

    /// What is read within a moment; `None` is silence.
    async fn read(stream: &mut TcpStream) -> Option<u8> {
        timeout(Duration::from_millis(200), stream.read_u8()).await.ok()?.ok()
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        matches!(timeout(Duration::from_secs(10), stream.read_u8()).await, Ok(Err(_)))
    }

    #[tokio::test]
    async fn a_silent_connection_stays_open_and_new_ones_work() {
        let proxy = Proxy::start(server(b'a').await).await.unwrap();
        let mut old = connection(&proxy).await;
        assert_eq!(old.read_u8().await.unwrap(), b'a');
        proxy.fall_silent();
        old.write_u8(b'x').await.unwrap();
        assert_eq!(read(&mut old).await, None);
        let mut new = connection(&proxy).await;
        assert_eq!(new.read_u8().await.unwrap(), b'a');
        proxy.fall_silent();
        assert!(is_closed(&mut old).await, "the next silence closes it");
        assert_eq!(read(&mut new).await, None);
    }

    #[tokio::test]
    async fn a_silence_that_lasts_takes_new_connections_too() {
        let proxy = Proxy::start(server(b'a').await).await.unwrap();
        proxy.stay_silent();
        assert_eq!(read(&mut connection(&proxy).await).await, None);
    }

    #[tokio::test]
    async fn a_switch_concerns_new_connections_only() {
        let proxy = Proxy::start(server(b'a').await).await.unwrap();
        let mut old = connection(&proxy).await;
        assert_eq!(old.read_u8().await.unwrap(), b'a');
        proxy.switch(server(b'b').await);
        assert_eq!(connection(&proxy).await.read_u8().await.unwrap(), b'b');
        old.write_u8(b'x').await.unwrap();
        assert_eq!(old.read_u8().await.unwrap(), b'x');
    }

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
