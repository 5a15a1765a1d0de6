//! The ways in: a client inside the process, and a TLS socket. It must not answer requests itself.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt};

use super::Server;
use super::auth::{self, Tokens, UserInfo};
use super::front::Peer;
use super::front::pace::Paced;
use super::front::portions;
use crate::time::Timestamp;

/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open requests may go on when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of the head of a request, as Go's servers have it (`http.DefaultMaxHeaderBytes`). Larger ones are answered with 431.
const HEAD: u32 = 1 << 20;
/// Headers of a request: whoever impersonates somebody names each of his groups in one.
const HEADERS: usize = 1024;
/// Requests of one connection at the same time (kube-apiserver: `http2-max-streams-per-connection`).
const STREAMS: u32 = 100;
/// Bytes of one request, and of all of a connection, that may be under way before somebody reads them (the same).
const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes with which a client begins HTTP/2.
const PREFACE: usize = 24;
/// How often a client of HTTP/2 is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

impl Server {
    /// Returns a client that talks to the server without a socket, as the administrator. Its default namespace is
    /// `default`. Must be called inside a tokio runtime.
    pub fn client(&self) -> kube::Client {
        let (router, admin) = (self.router(), Arc::new(UserInfo::admin()));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&admin));
            let router = router.clone();
            async move { router.oneshot(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Serves HTTP/1.1 and HTTP/2 over TLS until `shutdown` is done; then ends watches, lets other requests finish
    /// for a few seconds, and returns. Clients are known by their certificate or by a token of `tokens`.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        tokens: Tokens,
        shutdown: impl Future<Output = ()> + Send,
    ) -> std::io::Result<()> {
        let acceptor = TlsAcceptor::from(tls);
        let tokens = Arc::new(tokens);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let connection = Connection {
                        server: self.clone(),
                        acceptor: acceptor.clone(),
                        tokens: Arc::clone(&tokens),
                        peer: peer.ip().to_canonical(),
                    };
                    connections.spawn(connection.run(socket));
                }
                // The one connection is lost, or the system is short of something: neither ends the server.
                Err(error) => {
                    tracing::debug!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.close();
        let drained = async { while connections.join_next().await.is_some() {} };
        tokio::time::timeout(DRAIN, drained).await.ok();
        Ok(())
    }
}

struct Connection {
    server: Server,
    acceptor: TlsAcceptor,
    tokens: Arc<Tokens>,
    peer: IpAddr,
}

impl Connection {
    async fn run(self, socket: TcpStream) {
        socket.set_nodelay(true).ok();
        let handshake = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(socket)).await;
        let failed = || {
            self.server
                .0
                .metrics
                .handshakes_failed
                .fetch_add(1, Ordering::Relaxed)
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                failed();
                return tracing::debug!(%error, "TLS handshake failed");
            }
            Err(_) => {
                failed();
                return tracing::debug!("TLS handshake took too long");
            }
        };
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|c| c.first());
        let caller = Caller {
            user: certificate
                .and_then(|c| UserInfo::from_certificate(c))
                .map(Arc::new),
            until: certificate.and_then(|c| auth::not_after(c)),
            server: self.server.clone(),
            tokens: self.tokens,
            peer: self.peer,
            router: self.server.router(),
        };
        let limits = &self.server.0.options.limits;
        let is_second = session.alpn_protocol() == Some(b"h2");
        // Over HTTP/1.1 a client that takes nothing stalls the socket, too.
        let stall = is_second.then_some(limits.stall);
        let service = hyper::service::service_fn(move |request| caller.clone().ask(request, stall));
        let stream = Paced::new(stream, limits.stall);
        let mut closing = self.server.0.closing.subscribe();
        let told_to_close = async move { drop(closing.wait_for(|closing| *closing).await) };
        let ended = if is_second {
            let io = TokioIo::new(stream.greeted(PREFACE, limits.head));
            let connection = second().serve_connection(io, service);
            until(connection, told_to_close, http2::Connection::graceful_shutdown).await
        } else {
            let connection = first(limits.head).serve_connection(TokioIo::new(stream), service);
            until(connection, told_to_close, http1::Connection::graceful_shutdown).await
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "connection ended");
        }
    }
}

/// Runs a connection to its end, which comes soon when the server closes.
async fn until<C: Future>(
    connection: C,
    closing: impl Future<Output = ()>,
    end: fn(Pin<&mut C>),
) -> C::Output {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = closing => {}
    }
    end(connection.as_mut());
    connection.await
}

fn first(head: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(HEADERS)
        .max_header_size(HEAD as usize)
        .max_buf_size(HEAD as usize + (64 << 10));
    builder
}

/// Streams that a client opens only to reset them are bounded by hyper.
fn second() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * STREAMS)
        // No larger, though many frames make a body: a first request can come before its client knows the size, and its head may have
        // only as many frames as the largest head has in frames of this size.
        .max_frame_size(16 << 10)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// What is known of all requests of a connection.
#[derive(Clone)]
struct Caller {
    user: Option<Arc<UserInfo>>,
    /// When the certificate by which the user is known ends. A connection can last longer.
    until: Option<Timestamp>,
    server: Server,
    tokens: Arc<Tokens>,
    peer: IpAddr,
    router: Router,
}

impl Caller {
    fn ask(
        mut self,
        request: http::Request<Incoming>,
        stall: Option<Duration>,
    ) -> impl Future<Output = Result<axum::response::Response, std::convert::Infallible>> {
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        let is_good = self.until.is_some_and(|until| self.server.now() <= until);
        if let Some(user) = self.user.filter(|_| is_good) {
            extensions.insert(user);
        }
        extensions.insert(self.tokens);
        extensions.insert(Peer(self.peer));
        let answer = self.router.call(request);
        async move {
            let response = answer.await?;
            Ok(match stall {
                Some(stall) => portions::of(response, stall).await,
                None => response,
            })
        }
    }
}
