//! The embedded API server's state folder: who holds it, and how to reach the one who does.
//!
//! One process at a time holds the folder (lock file `lock`). It writes down where it listens, if it does; others connect
//! there over loopback TLS with the administrator's certificate, which only the owner of the folder can read.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use kube::{Client, config::KubeConfigOptions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    apiserver::{
        AuditLog, OpenError, Server,
        auth::Tokens,
        tls::{CA_CERTIFICATE, TlsError, TlsMaterial},
    },
    kubeconfig::{Entry, Extension, Management, Secret},
    time::Clock,
};

/// Name of the context, cluster and user of the embedded server.
pub const CONTEXT: &str = "embedded";

/// How long one other process may hold the folder without listening: short commands end before.
const HELD_TIMEOUT: Duration = Duration::from_secs(10);
const HELD_RETRY: Duration = Duration::from_millis(25);

/// Why the embedded server can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The folder can't be made or used.
    #[error("can't use the state folder {}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds the folder and does not listen.
    #[error("the state folder {} is in use{}", dir.display(), holder(*pid))]
    Held {
        /// The folder.
        dir: PathBuf,
        /// The other process, as far as it is known.
        pid: Option<u32>,
    },
    /// The store can't be opened.
    #[error("can't open the embedded API server in {}", dir.display())]
    Store {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: Box<OpenError>,
    },
    /// The certificates can't be used.
    #[error("can't use the certificates in {}", dir.display())]
    Certificates {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: Box<TlsError>,
    },
    /// No address to listen on.
    #[error("can't listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No client for the process that holds the folder.
    #[error("can't connect to the embedded API server at {address}")]
    Connect {
        /// Where it listens.
        address: SocketAddr,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

/// What the lock file says about the process that holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    pid: Option<u32>,
    address: Option<SocketAddr>,
}

/// The server in this process.
pub struct Embedded {
    dir: PathBuf,
    lock: File,
    server: Server,
    clock: Arc<dyn Clock>,
    serving: Option<Serving>,
}

struct Serving {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

/// Where the server is.
pub enum Opened {
    /// In this process.
    Here(Embedded),
    /// In another one; this is a client for it.
    Elsewhere(Client),
}

/// Opens the state folder, made on first need with mode 0700; if another process holds it, connects to that one.
pub async fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Opened, EmbeddedError> {
    let failed = |source| EmbeddedError::Folder {
        dir: dir.to_owned(),
        source,
    };
    make_folder(dir).map_err(failed)?;
    let mut begun = Instant::now();
    let mut last_holder = None;
    loop {
        let mut lock = lock_file(dir).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                let holder = Holder {
                    pid: Some(std::process::id()),
                    address: None,
                };
                write_holder(&mut lock, &holder).map_err(failed)?;
                let server = match Server::open(dir, Arc::clone(&clock)).await {
                    Ok(server) => server,
                    // A process that is just ending lets the lock go before it closes the store.
                    Err(OpenError::InUse(_)) if begun.elapsed() < HELD_TIMEOUT => {
                        drop(lock);
                        tokio::time::sleep(HELD_RETRY).await;
                        continue;
                    }
                    Err(OpenError::Keys { dir: _, source }) => {
                        return Err(EmbeddedError::Certificates {
                            dir: tls_folder(dir),
                            source,
                        });
                    }
                    Err(source) => {
                        return Err(EmbeddedError::Store {
                            dir: dir.to_owned(),
                            source: Box::new(source),
                        });
                    }
                };
                return Ok(Opened::Here(Embedded {
                    dir: dir.to_owned(),
                    lock,
                    server,
                    clock,
                    serving: None,
                }));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let holder = read_holder(&mut lock);
        if let Some(address) = holder.address
            && tokio::net::TcpStream::connect(address).await.is_ok()
        {
            return remote(dir, address, clock.as_ref()).await.map(Opened::Elsewhere);
        }
        // Commands that come one after another are each waited for.
        if holder.pid != last_holder {
            (begun, last_holder) = (Instant::now(), holder.pid);
        }
        if begun.elapsed() > HELD_TIMEOUT {
            return Err(EmbeddedError::Held {
                dir: dir.to_owned(),
                pid: holder.pid,
            });
        }
        tokio::time::sleep(HELD_RETRY).await;
    }
}

/// A state folder that no process serves, held so that none begins to.
pub struct Unserved(File);

impl std::fmt::Debug for Unserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unserved").field(&self.0).finish()
    }
}

/// Holds a state folder that no process serves, without opening the state. Others wait until this is dropped.
///
/// # Errors
/// Another process holds it, or it is none.
pub fn hold(dir: &Path) -> Result<Unserved, EmbeddedError> {
    let failed = |source| EmbeddedError::Folder {
        dir: dir.to_owned(),
        source,
    };
    let mut lock = lock_file(dir).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            let holder = Holder {
                pid: Some(std::process::id()),
                address: None,
            };
            write_holder(&mut lock, &holder).map_err(failed)?;
            Ok(Unserved(lock))
        }
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::Held {
            dir: dir.to_owned(),
            pid: read_holder(&mut lock).pid,
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn lock_file(dir: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))
}

impl Embedded {
    /// Tells all requests from now on to an audit log.
    pub fn audit_to(&self, log: AuditLog) {
        self.server.audit_to(log);
    }

    /// Returns a client that needs no socket.
    pub fn client(&self) -> Client {
        self.server.client()
    }

    /// Returns the address that the server listens on, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|s| s.address)
    }

    /// Listens on loopback, on the port of the last time if it is free, or on the given address. Called twice it keeps the first address.
    pub async fn serve(&mut self, wanted: Option<SocketAddr>) -> Result<SocketAddr, EmbeddedError> {
        if let Some(serving) = &self.serving {
            return Ok(serving.address);
        }
        let listener = self.bind(wanted).await?;
        let address = listener.local_addr().map_err(|source| EmbeddedError::Listen {
            address: wanted.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            source,
        })?;
        let names = if address.ip().is_loopback() || address.ip().is_unspecified() {
            Vec::new()
        } else {
            vec![address.ip().to_string()]
        };
        let tls = self
            .certificates(&names)?
            .server_config()
            .map_err(|source| self.certificate_error(source))?;
        let (stop, mut stopped) = watch::channel(false);
        let shutdown = async move {
            // The sender is gone together with the server: that is a stop too.
            let _gone = stopped.wait_for(|stop| *stop).await;
        };
        let server = self.server.clone();
        let task =
            tokio::spawn(async move { server.serve(listener, tls, Tokens::default(), shutdown).await });
        let folder = |source| EmbeddedError::Folder {
            dir: self.dir.clone(),
            source,
        };
        fs::write(self.dir.join("port"), address.port().to_string()).map_err(folder)?;
        let holder = Holder {
            pid: Some(std::process::id()),
            address: Some(reachable(address)),
        };
        write_holder(&mut self.lock, &holder).map_err(folder)?;
        self.serving = Some(Serving { address, stop, task });
        Ok(address)
    }

    async fn bind(&self, wanted: Option<SocketAddr>) -> Result<TcpListener, EmbeddedError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        if let Some(address) = wanted {
            return TcpListener::bind(address)
                .await
                .map_err(|source| EmbeddedError::Listen { address, source });
        }
        let last = SocketAddr::from((Ipv4Addr::LOCALHOST, last_port(&self.dir)));
        if let Ok(listener) = TcpListener::bind(last).await {
            return Ok(listener);
        }
        TcpListener::bind(any)
            .await
            .map_err(|source| EmbeddedError::Listen { address: any, source })
    }

    /// Stops listening and lets requests end.
    pub async fn stop(mut self) {
        if let Some(Serving {
            address: _,
            stop,
            mut task,
        }) = self.serving.take()
        {
            // The receiver lives as long as the task.
            let _stopped = stop.send(true);
            if tokio::time::timeout(Duration::from_secs(2), &mut task)
                .await
                .is_err()
            {
                task.abort();
            }
        }
        let server = self.server.clone();
        // It waits for the thread that writes.
        tokio::task::spawn_blocking(move || server.close_audit_log())
            .await
            .ok();
    }

    /// Returns the kubeconfig entry of the server, or that of a hollow cluster which lives on it.
    pub fn kubeconfig_entry(&self) -> Result<Entry, EmbeddedError> {
        entry(&self.dir, self.address(), self.clock.as_ref())
    }

    fn certificates(&self, names: &[String]) -> Result<TlsMaterial, EmbeddedError> {
        TlsMaterial::ensure(&tls_folder(&self.dir), names, self.clock.now())
            .map_err(|source| self.certificate_error(source))
    }

    fn certificate_error(&self, source: TlsError) -> EmbeddedError {
        EmbeddedError::Certificates {
            dir: tls_folder(&self.dir),
            source: Box::new(source),
        }
    }
}

/// Returns the kubeconfig entry of the server in a folder. Without an address the port of the last time, or of the first, stands in it.
pub fn entry(dir: &Path, address: Option<SocketAddr>, clock: &dyn Clock) -> Result<Entry, EmbeddedError> {
    let certificates = TlsMaterial::ensure(&tls_folder(dir), &[], clock.now()).map_err(|source| {
        EmbeddedError::Certificates {
            dir: tls_folder(dir),
            source: Box::new(source),
        }
    })?;
    let address = address
        .or_else(|| current_address(dir))
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port(dir))));
    Ok(Entry {
        context: CONTEXT.to_owned(),
        cluster: CONTEXT.to_owned(),
        user: CONTEXT.to_owned(),
        cluster_body: json!({
            "server": format!("https://{}", reachable(address)),
            "certificate-authority-data": BASE64_STANDARD.encode(&certificates.ca_cert),
        }),
        user_body: Secret(json!({
            "client-certificate-data": BASE64_STANDARD.encode(&certificates.admin_cert),
            "client-key-data": BASE64_STANDARD.encode(certificates.admin_key()),
        })),
        namespace: None,
        extension: Some(Extension {
            management: Management::Embedded,
            home: None,
            cluster: None,
            namespace: None,
            state: Some(dir.to_owned()),
        }),
    })
}

/// Says whether a CA, as it stands in a kubeconfig, is that of the server in a folder.
pub fn is_authority(dir: &Path, ca: &str) -> bool {
    let own = fs::read(tls_folder(dir).join(CA_CERTIFICATE));
    own.is_ok_and(|own| BASE64_STANDARD.encode(own) == ca)
}

async fn remote(dir: &Path, address: SocketAddr, clock: &dyn Clock) -> Result<Client, EmbeddedError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| EmbeddedError::Connect { address, source };
    let document = entry(dir, Some(address), clock)?.document();
    let file = Deserialize::deserialize(&document).map_err(|e| failed(Box::new(e)))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|e| failed(Box::new(e)))?;
    super::client_of(config).map_err(|e| failed(Box::new(e)))
}

fn tls_folder(dir: &Path) -> PathBuf {
    dir.join(crate::apiserver::KEYS)
}

/// An address that listens everywhere is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
    } else {
        address
    }
}

/// The port of the last time. Before the first time one is chosen, and kept for then if nobody takes it.
fn port(dir: &Path) -> u16 {
    let last = last_port(dir);
    if last != 0 {
        return last;
    }
    let free =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let chosen = free.map_or(0, |address| address.port());
    // If it can't be kept, the kubeconfig is as good as without it: it is merged anew when the server listens.
    fs::write(dir.join("port"), chosen.to_string()).ok();
    chosen
}

fn last_port(dir: &Path) -> u16 {
    fs::read_to_string(dir.join("port"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Returns the address that the process which holds the folder has written down.
fn current_address(dir: &Path) -> Option<SocketAddr> {
    let mut file = File::open(dir.join("lock")).ok()?;
    read_holder(&mut file).address
}

fn make_folder(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(holder)?.as_bytes())
}

/// A text that is empty or half written says nothing yet.
fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    file.rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        make_folder(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        make_folder(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_holder_is_read_back_and_rubbish_says_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(read_holder(&mut file), Holder::default());
        let holder = Holder {
            pid: Some(7),
            address: Some("127.0.0.1:99".parse().unwrap()),
        };
        write_holder(&mut file, &holder).unwrap();
        write_holder(&mut file, &holder).unwrap();
        assert_eq!(read_holder(&mut file), holder);
    }
}
