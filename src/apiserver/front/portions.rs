//! A large answer over HTTP/2 in portions, so that it is not kept for a client that takes nothing of it: the socket alone does not
//! tell, as such a client still answers pings. It must not look at what is answered.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::AbortHandle;

/// Bytes of a portion. What is handed over waits in the connection, whatever its client does.
const PORTION: usize = 64 << 10;

/// What is left of an answer.
struct Rest {
    bytes: Bytes,
    /// Whether something was taken since somebody has looked.
    taken: bool,
    /// Whether it was given up.
    gone: bool,
}

/// The body of an answer that is given up if nothing of it is taken for a while.
struct Portions {
    rest: Arc<Mutex<Rest>>,
    watcher: AbortHandle,
}

/// Makes portions of an answer that is large; those that have no known end stay as they are.
pub(crate) async fn of(response: Response, stall: Duration) -> Response {
    let large = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|bytes| bytes > PORTION as u64);
    if !large {
        return response;
    }
    let (parts, body) = response.into_parts();
    // The whole answer was made in memory.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    Response::from_parts(parts, Body::new(Portions::new(bytes, stall)))
}

impl Portions {
    fn new(bytes: Bytes, stall: Duration) -> Self {
        let rest = Arc::new(Mutex::new(Rest {
            bytes,
            taken: false,
            gone: false,
        }));
        let shared = Arc::clone(&rest);
        let watcher = tokio::spawn(async move {
            loop {
                tokio::time::sleep(stall).await;
                let mut rest = lock(&shared);
                if !std::mem::take(&mut rest.taken) {
                    rest.bytes = Bytes::new();
                    rest.gone = true;
                    return;
                }
            }
        });
        Self {
            rest,
            watcher: watcher.abort_handle(),
        }
    }
}

fn lock(rest: &Mutex<Rest>) -> MutexGuard<'_, Rest> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Portions {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut rest = lock(&self.rest);
        if rest.gone {
            return Poll::Ready(Some(Err(std::io::ErrorKind::TimedOut.into())));
        }
        rest.taken = true;
        let size = rest.bytes.len().min(PORTION);
        let portion = rest.bytes.split_to(size);
        Poll::Ready((size > 0).then(|| Ok(Frame::data(portion))))
    }

    fn is_end_stream(&self) -> bool {
        let rest = lock(&self.rest);
        rest.bytes.is_empty() && !rest.gone
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(lock(&self.rest).bytes.len() as u64)
    }
}

impl Drop for Portions {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const STALL: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_large_answer_arrives_whole_however_slowly_it_is_taken() {
        let whole: Vec<u8> = (0..=3 * PORTION).map(|n| n.to_le_bytes()[0]).collect();
        let mut body = of(Response::new(Body::from(whole.clone())), STALL)
            .await
            .into_body();
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        let mut taken = Vec::new();
        while let Some(frame) = body.frame().await {
            taken.extend(frame.unwrap().into_data().unwrap());
            tokio::time::sleep(STALL / 5).await;
        }
        assert!(taken == whole);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_not_kept() {
        let mut portions = Portions::new(Bytes::from(vec![0; 2 * PORTION]), STALL);
        portions.frame().await.unwrap().unwrap();
        tokio::time::sleep(3 * STALL).await;
        assert!(lock(&portions.rest).bytes.is_empty());
        assert!(portions.frame().await.unwrap().is_err());
    }
}
