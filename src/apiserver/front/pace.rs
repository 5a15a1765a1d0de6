//! A connection that ends when its client does not keep up: when it is silent where it has to speak, or takes nothing of what is
//! there for it. It must not look at what goes over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection, and how patient it is.
pub(crate) struct Paced<S> {
    inner: S,
    stall: Duration,
    /// How many bytes must still come before `greeting` ends.
    greets: usize,
    greeting: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Ends `inner` if it takes nothing for so long.
    pub(crate) const fn new(inner: S, stall: Duration) -> Self {
        Self {
            inner,
            stall,
            greets: 0,
            greeting: None,
            stalled: None,
        }
    }

    /// Ends it also if the first `bytes` are not there in time.
    pub(crate) fn greeted(mut self, bytes: usize, within: Duration) -> Self {
        self.greets = bytes;
        self.greeting = Some(Box::pin(sleep(within)));
        self
    }

    /// Passes on how writing went, unless it has been standing still for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(too_slow("the client takes nothing")))
    }
}

fn too_slow(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.greeting.is_some() {
            let came = buf.filled().len().saturating_sub(before);
            self.greets = self.greets.saturating_sub(came);
            if self.greets == 0 {
                self.greeting = None;
            } else if let Some(greeting) = &mut self.greeting
                && outcome.is_pending()
            {
                ready!(greeting.as_mut().poll(cx));
                return Poll::Ready(Err(too_slow("the client says nothing")));
            }
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.written(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.written(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut client, server) = tokio::io::duplex(8);
        let mut server = Paced::new(server, PATIENCE);
        // What is taken is no reason to give up.
        let taking = async { client.read_exact(&mut [0; 8]).await };
        let (written, taken) = tokio::join!(server.write_all(b"0123456789abcdef"), taking);
        assert!(taken.is_ok() && written.is_ok());
        let error = server.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_must_greet_and_may_be_silent_then() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Paced::new(server, PATIENCE).greeted(4, PATIENCE);
        client.write_all(b"abc").await.unwrap();
        server.read_exact(&mut [0; 3]).await.unwrap();
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Paced::new(server, PATIENCE).greeted(4, Duration::from_secs(600));
        client.write_all(b"abcd").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        assert!(server.greeting.is_none());
    }
}
