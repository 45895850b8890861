//! The bytes of a connection. Reads no more than may be held, and notes what comes and goes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{connections::Handle, heads, own_answers, reading::Reading, reason::Reason};

/// The bytes of a connection, which is over when this is dropped.
#[derive(Debug)]
pub struct Stream {
    io: TcpStream,
    handle: Handle,
    /// Bytes that were read and not handed on yet.
    surplus: Vec<u8>,
    /// Whether what is written next begins an answer.
    begins: bool,
}

impl Stream {
    pub fn new(io: TcpStream, handle: Handle) -> Self {
        Self {
            io,
            handle,
            surplus: Vec::new(),
            begins: true,
        }
    }

    /// The connection.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    fn is_idle(&self) -> bool {
        self.handle.activity().idle_since().is_some()
    }

    /// Reads into what is left of `buf`, at most so many bytes.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let most = most.min(buf.remaining());
        if !self.surplus.is_empty() {
            let count = heads::within_bound(&self.surplus[..most.min(self.surplus.len())]);
            buf.put_slice(&self.surplus[..count]);
            self.surplus.drain(..count);
            self.note_read(count);
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut part);
        if polled.is_ready() {
            let count = heads::within_bound(part.filled());
            self.surplus.extend_from_slice(&part.filled()[count..]);
            buf.advance(count);
            self.note_read(count);
        }
        polled
    }

    fn note_read(&self, count: usize) {
        let mut activity = self.handle.activity();
        activity.read(count, Instant::now());
        if !self.surplus.is_empty() {
            activity.read_enough();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reading = self.handle.activity().may_read(cx.waker());
        match reading {
            Reading::Upto(most) => self.read(cx, buf, most),
            Reading::Later => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Reading::Parked => Poll::Pending,
            Reading::TooLarge => {
                self.handle.end(Reason::LargeHead);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let begins = self.begins;
        let own = begins.then(|| own_answers::completed(buf)).flatten();
        let polled = match own {
            None => Pin::new(&mut self.io).poll_write(cx, buf),
            Some((line, length)) => {
                let polled = Pin::new(&mut self.io).poll_write(cx, &line);
                polled.map(|written| match written {
                    Ok(count) if count == line.len() => Ok(length),
                    // There was room for all that was sent before, so that there is for a line.
                    Ok(_part) => Err(io::ErrorKind::WriteZero.into()),
                    Err(error) => Err(error),
                })
            }
        };
        if polled.is_ready() {
            self.begins = false;
        }
        match &polled {
            Poll::Ready(Ok(count)) => self.handle.activity().sent(*count, Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.handle.activity().stalls(Instant::now()),
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        if polled.is_ready() {
            let mut activity = self.handle.activity();
            activity.flushed(Instant::now());
            let answers = activity.is_answering();
            drop(activity);
            self.begins = !answers;
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let farewell = match self.handle.connection.ended() {
            Some(Reason::Head) => own_answers::closing("408 Request Timeout", &[]),
            Some(Reason::LargeHead) => {
                own_answers::closing("431 Request Header Fields Too Large", &[])
            }
            Some(Reason::Unread | Reason::Displaced) if !self.is_idle() => {
                // Otherwise the system would keep trying to send the rest of an answer for minutes.
                let _ = self.io.set_zero_linger();
                Vec::new()
            }
            _ => Vec::new(),
        };
        // No answer is under way, so a client that does not read this one loses nothing.
        let _ = self.io.try_write(&farewell);
        self.handle.connections.leave(&self.handle.connection);
    }
}
