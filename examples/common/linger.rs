//! Closes connections so that an early response arrives.
//!
//! A refused upload gets its response before its body was read. If the server then closed the connection, the kernel
//! would reset it, and a client that still writes would never read the response. So the connection is closed for writing
//! first, and what still arrives is read and dropped within limits (RFC 9112 section 9.6). A layer can't do this: it sees
//! no connection, and hyper stops reading a body once its response is sent.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long a connection may go on sending after the server closed it, in total and between two reads.
const LONGEST: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(5);
/// How many bytes are read and dropped.
const MOST: usize = 64 * 1024 * 1024;

/// A connection that reads on for a while after it was closed for writing.
pub(crate) struct Linger<T> {
    stream: T,
    closing: Option<Closing>,
}

struct Closing {
    idle: Pin<Box<Sleep>>,
    end: Instant,
    left: usize,
}

impl<T> Linger<T> {
    pub(crate) const fn new(stream: T) -> Self {
        Self { stream, closing: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Linger<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let begin = || Closing { idle: Box::pin(sleep(IDLE)), end: Instant::now() + LONGEST, left: MOST };
        let closing = this.closing.get_or_insert_with(begin);
        let mut dropped = [0; 16 * 1024];
        loop {
            if closing.idle.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut dropped);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer));
            let length = buffer.filled().len();
            let ended = read.is_err() || length == 0;
            closing.left = closing.left.saturating_sub(length);
            if ended || closing.left == 0 || Instant::now() >= closing.end {
                return Poll::Ready(Ok(()));
            }
            closing.idle.as_mut().reset(Instant::now() + IDLE);
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
