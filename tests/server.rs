//! The server of the examples holds nothing for long that a silent, slow or greedy client takes up (fault E12).
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

#[allow(dead_code, reason = "no test stops this process")]
#[path = "../examples/common/server.rs"]
mod server;
use server::{Body, Limits};

/// Longer than any limit of these tests.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(600);

fn limits() -> Limits {
    Limits { connections: 64, connections_per_address: 64, idle: LONG, transfer: LONG }
}

/// The body of a response: so many pieces, each after a pause.
struct Pieces {
    left: usize,
    size: usize,
    pause: Option<Duration>,
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
    open: Arc<AtomicUsize>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(pause) = self.pause {
            let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(pause)));
            if waits.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.waits = None;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.size].into()))))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server, and how many of its responses are not over.
struct Served {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Served {
    /// `/slow` takes three times as long as an idle connection may, `/drip` sends slowly, `/big` sends a lot, and everything
    /// else reads its request and answers `ok`.
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        let service = tower::service_fn(move |request: Request<Body>| {
            let open = Arc::clone(&counted);
            async move {
                assert!(request.extensions().get::<SocketAddr>().is_some(), "the peer's address");
                let pieces = |left, size, pause| Pieces { left, size, pause, waits: None, open: Arc::clone(&open) };
                let (path, body) = (request.uri().path().to_owned(), request.into_body());
                let answer = match path.as_str() {
                    "/drip" => pieces(5, 1, Some(SHORT)),
                    "/big" => pieces(10_000, 64 * 1024, None),
                    "/slow" => {
                        sleep(SHORT * 3).await;
                        pieces(1, 2, None)
                    }
                    _ if body.collect().await.is_err() => pieces(0, 0, None),
                    _ => pieces(1, 2, None),
                };
                open.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>(Response::new(answer))
            }
        });
        tokio::spawn(server::serve(listener, limits, service, std::future::pending()));
        Self { address, open }
    }

    /// A connection from another address of this machine.
    async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Reads until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A reset ends it as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection is kept");
    String::from_utf8_lossy(&read).into_owned()
}

async fn is_served(stream: &mut TcpStream) -> bool {
    let asked = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(asked).await.is_ok() && rest(stream).await.starts_with("HTTP/1.1 200 OK")
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame (RFC 9113 section 6.5).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A HEADERS frame of one byte without END_HEADERS: the rest never comes (RFC 9113 section 6.2).
const HALF_HEADERS: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];

#[tokio::test]
async fn e12_a_connection_without_a_complete_request_is_closed() {
    let served = Served::start(Limits { idle: SHORT, ..limits() }).await;
    let half_headers = [PREFACE, SETTINGS, HALF_HEADERS].concat();
    let starts: [&[u8]; 10] = [
        b"",
        b"G",
        b"P",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-y: ",
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, SETTINGS].concat(),
        &half_headers,
    ];
    for start in starts {
        let mut stream = served.connect().await;
        stream.write_all(start).await.unwrap();
        rest(&mut stream).await;
    }
    // One that was served, and is kept alive for nothing.
    let mut stream = served.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    // One that sends a byte now and then.
    let mut stream = served.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let dripping = async {
        while stream.write_all(b"x").await.is_ok() {
            sleep(SHORT / 4).await
        }
    };
    timeout(PATIENCE, dripping).await.expect("a byte now and then keeps it open");
    assert_eq!(served.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn e12_a_body_that_does_not_arrive_ends_its_connection() {
    let served = Served::start(Limits { idle: SHORT, transfer: SHORT, ..limits() }).await;
    for head in ["content-length: 1000000", "transfer-encoding: chunked"] {
        for drips in [false, true] {
            let mut stream = served.connect().await;
            stream.write_all(format!("POST / HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
            let piece: &[u8] = if head.ends_with("chunked") { b"1\r\nx\r\n" } else { b"x" };
            let sending = async {
                while drips && stream.write_all(piece).await.is_ok() {
                    sleep(SHORT / 4).await
                }
            };
            timeout(PATIENCE, sending).await.expect("a byte now and then keeps it open");
            rest(&mut stream).await;
        }
    }
    // Over HTTP/2 the stream ends, and then the connection.
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(served.connect().await))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let body = http_body_util::StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = Request::post(format!("http://{}/", served.address)).body(body.boxed_unsync()).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("the body is waited for");
    drop(answer);
    timeout(PATIENCE, connection).await.expect("the connection is kept").unwrap().ok();
    assert_eq!(served.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn e12_a_response_that_nobody_reads_ends_its_connection() {
    let served = Served::start(Limits { transfer: SHORT, ..limits() }).await;
    let gone = async {
        while served.open.load(Ordering::SeqCst) > 0 {
            sleep(SHORT / 10).await;
        }
    };
    let mut stream = served.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 16]).await.unwrap();
    timeout(PATIENCE, gone).await.expect("the response is kept");

    let gone = async {
        while served.open.load(Ordering::SeqCst) > 0 {
            sleep(SHORT / 10).await;
        }
    };
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(served.connect().await))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{}/big", served.address)).body(Empty::<Bytes>::new()).unwrap();
    let unread = sender.send_request(request).await.unwrap();
    timeout(PATIENCE, gone).await.expect("the response is kept");
    assert!(!unread.body().is_end_stream());
}

#[tokio::test]
async fn e12_what_waits_for_the_service_is_not_ended() {
    let served = Served::start(Limits { idle: SHORT, transfer: SHORT, ..limits() }).await;
    for (path, body) in [("/slow", "xx"), ("/drip", "xxxxx")] {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(served.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "x").body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.to_bytes(), body, "{path}");
    }
}

#[cfg(target_os = "linux")] // The whole of 127.0.0.0/8 is this machine there.
#[tokio::test]
async fn e12_a_thousand_connections_of_one_client_do_not_stop_another() {
    let served = Served::start(Limits { connections: 30, connections_per_address: 10, ..limits() }).await;
    // Two greedy clients, each at its limit and far beyond.
    let mut greedy = Vec::new();
    for _ in 0..500 {
        for source in ["127.0.0.2", "127.0.0.3"] {
            greedy.push(served.connect_from(source).await);
        }
    }
    assert!(timeout(PATIENCE, is_served(&mut served.connect_from("127.0.0.4").await)).await.unwrap());
    // Ten of each are kept. All others were closed at once.
    let mut kept = 0;
    for stream in &mut greedy {
        match timeout(SHORT / 2, stream.read(&mut [0; 1])).await {
            Err(_) => kept += 1,
            Ok(read) => assert!(matches!(read, Ok(0) | Err(_)), "{read:?}"),
        }
    }
    assert_eq!(kept, 20);
    // When they go, the greedy client is served as well.
    drop(greedy);
    let again = async { while !is_served(&mut served.connect_from("127.0.0.2").await).await {} };
    timeout(PATIENCE, again).await.expect("its places are free again");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn e12_beyond_the_total_a_client_waits_until_an_idle_connection_ends() {
    let served = Served::start(Limits { connections: 6, connections_per_address: 2, idle: SHORT, ..limits() }).await;
    let mut silent = Vec::new();
    for source in 2..12 {
        silent.push(served.connect_from(&format!("127.0.0.{source}")).await);
    }
    assert!(timeout(PATIENCE, is_served(&mut served.connect_from("127.0.0.50").await)).await.unwrap());
}
