//! The ways in: a client inside the process, and a TLS socket. It must not answer requests itself.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt};

use super::Server;
use super::auth::{Tokens, UserInfo};

/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open requests may go on when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// Returns a client that talks to the server without a socket, as the administrator. Its default namespace is
    /// `default`. Must be called inside a tokio runtime.
    pub fn client(&self) -> kube::Client {
        let router = self.router();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(UserInfo::admin());
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
                Ok((socket, _)) => {
                    let connection = Connection {
                        server: self.clone(),
                        acceptor: acceptor.clone(),
                        tokens: Arc::clone(&tokens),
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
}

impl Connection {
    async fn run(self, socket: TcpStream) {
        socket.set_nodelay(true).ok();
        let handshake = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(socket)).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake took too long"),
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
        let user = certificate.and_then(|c| UserInfo::from_certificate(c));
        let tokens = self.tokens;
        let router = self.server.router();
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            if let Some(user) = user.clone() {
                request.extensions_mut().insert(user);
            }
            request.extensions_mut().insert(Arc::clone(&tokens));
            router.clone().call(request)
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut closing = self.server.0.closing.subscribe();
        let told_to_close = async move { drop(closing.wait_for(|closing| *closing).await) };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = told_to_close => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "connection ended");
        }
    }
}
