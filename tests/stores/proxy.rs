//! A TCP proxy between a store and its server, whose connections die in the ways that connections do.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};
use tower_agent_auth::store::{PostgresOptions, PostgresStore, RedisOptions, RedisStore};

use crate::places::{Place, Prefix, Schema, postgres_url, redis_url};

/// What becomes of the connections that there are. New ones pass. Silent ones can still be closed.
#[derive(Clone, Copy)]
enum Fate {
    Pass,
    Silence,
    Cut,
    Close,
}

pub(crate) struct Proxy {
    port: u16,
    upstream: Arc<AtomicU16>,
    fate: watch::Sender<Fate>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = Arc::new(AtomicU16::new(upstream));
        let fate = watch::Sender::new(Fate::Pass);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&upstream), fate.clone()));
        Self { port, upstream, fate, accepting }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Leaves all connections open, and passes nothing on.
    pub(crate) fn silence(&self) {
        self.fate.send_replace(Fate::Silence);
    }

    /// Closes each connection on which two calls wait, when the first has its response.
    pub(crate) fn cut_before_the_second_response(&self) {
        self.fate.send_replace(Fate::Cut);
    }

    /// Closes all connections, and waits until they are.
    pub(crate) async fn close(&self) {
        self.fate.send_replace(Fate::Close);
        for _ in 0..1_000 {
            if self.fate.receiver_count() == 0 {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Connects new connections elsewhere.
    pub(crate) fn redirect(&self, upstream: u16) {
        self.upstream.store(upstream, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, upstream: Arc<AtomicU16>, fate: watch::Sender<Fate>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (upstream, mut fate) = (upstream.load(Ordering::SeqCst), fate.subscribe());
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = fate.changed() => {
                    if matches!(*fate.borrow(), Fate::Cut) {
                        return cut(&mut client, &mut server).await;
                    }
                    while matches!(*fate.borrow_and_update(), Fate::Silence) && fate.changed().await.is_ok() {}
                }
            }
        });
    }
}

/// Passes on the first request, and its response once there is a second request.
async fn cut(client: &mut TcpStream, server: &mut TcpStream) {
    let mut bytes = [0; 65_536];
    let Ok(length @ 1..) = client.read(&mut bytes).await else { return };
    server.write_all(&bytes[..length]).await.ok();
    let Ok(1..) = client.read(&mut bytes).await else { return };
    let Ok(length @ 1..) = server.read(&mut bytes).await else { return };
    client.write_all(&bytes[..length]).await.ok();
}

const HOST: &str = "127.0.0.1:";

/// The port in a URL of the tests.
pub(crate) fn port_of(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(HOST).unwrap();
    rest.split(|byte: char| !byte.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// The same URL with another port.
pub(crate) fn with_port(url: &str, port: u16) -> String {
    url.replacen(&format!("{HOST}{}", port_of(url)), &format!("{HOST}{port}"), 1)
}

/// A place on a server.
pub(crate) trait Remote: Place + Sync {
    /// The port of the server.
    fn server() -> u16;

    /// Opens the store through that port.
    fn open_at(&self, port: u16) -> impl Future<Output = Self::Store> + Send + 'static;
}

impl Remote for Schema {
    fn server() -> u16 {
        port_of(&postgres_url())
    }

    fn open_at(&self, port: u16) -> impl Future<Output = PostgresStore> + Send + 'static {
        let (options, url) = (PostgresOptions::new().schema(&self.0).connections(6), with_port(&postgres_url(), port));
        async move { options.connect(&url).await.unwrap() }
    }
}

impl Remote for Prefix {
    fn server() -> u16 {
        port_of(&redis_url())
    }

    fn open_at(&self, port: u16) -> impl Future<Output = RedisStore> + Send + 'static {
        let (options, url) = (RedisOptions::new().prefix(&self.0), with_port(&redis_url(), port));
        async move { options.connect(&url).await.unwrap() }
    }
}
