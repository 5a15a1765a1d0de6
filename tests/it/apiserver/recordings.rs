//! Answers of a real API server, recorded, against those of the embedded one. Runs only under
//! `tests/recordings/run.sh`, as the recordings are no part of the project.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use machinectl::apiserver::auth::Tokens;
use machinectl::apiserver::tls::TlsMaterial;
use machinectl::apiserver::{Options, Server};
use machinectl::time::{Clock, SystemClock};
use tokio::process::Command;

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/expected.txt");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_a_real_server() {
    let folder = std::env::var_os("MACHINECTL_RECORDINGS").map(PathBuf::from);
    let folder = folder.expect("MACHINECTL_RECORDINGS names the folder with apicases.py and recordings/");
    let scratch = tempfile::tempdir().unwrap();
    let kubeconfig = serve(scratch.path()).await;
    let floor = floors();
    let (mut found, mut worse) = (BTreeMap::new(), Vec::new());
    for file in files(&folder) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let (all, differ) = replay(&folder, &file, &kubeconfig).await;
        let equal = all - differ;
        println!("{name}: {equal} equal, {differ} different");
        if let Some(least) = floor.get(&name).filter(|least| equal < **least) {
            worse.push(format!("{name}: {equal} equal, {least} were"));
        }
        found.insert(name, equal);
    }
    if std::env::var_os("WRITE").is_some() {
        let lines = found.iter().fold(String::new(), |mut text, (name, equal)| {
            writeln!(text, "{name} {equal}").unwrap();
            text
        });
        std::fs::write(EXPECTED, lines).unwrap();
    }
    assert!(
        worse.is_empty(),
        "fewer answers are equal than before:\n{}",
        worse.join("\n")
    );
}

/// Starts a server as it was when the answers were recorded: without controllers. Returns its kubeconfig.
async fn serve(scratch: &Path) -> PathBuf {
    let tls = TlsMaterial::ensure(&scratch.join("pki"), &[], SystemClock.now()).unwrap();
    let options = Options {
        collect_garbage: false,
    };
    let server = Server::open_with(&scratch.join("state"), Arc::new(SystemClock), options)
        .await
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls.server_config().unwrap();
    tokio::spawn(async move {
        server
            .serve(listener, config, Tokens::default(), std::future::pending())
            .await
    });
    for (file, text) in [
        ("ca.crt", tls.ca_cert.as_str()),
        ("admin.crt", &tls.admin_cert),
        ("admin.key", tls.admin_key()),
    ] {
        std::fs::write(scratch.join(file), text).unwrap();
    }
    let kubeconfig = scratch.join("kubeconfig");
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"), "certificate-authority": scratch.join("ca.crt")}}],
        "users": [{"name": "u", "user": {"client-certificate": scratch.join("admin.crt"), "client-key": scratch.join("admin.key")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    kubeconfig
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let named = std::env::var("MACHINECTL_RECORDINGS_FILES").unwrap_or_default();
    if !named.trim().is_empty() {
        return named.split_whitespace().map(PathBuf::from).collect();
    }
    let entries = std::fs::read_dir(folder.join("recordings")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.to_string_lossy().ends_with(".json.gz"));
    files.sort();
    files
}

fn floors() -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(EXPECTED).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(name, n)| (name.to_owned(), n.parse().unwrap()))
        .collect()
}

async fn replay(folder: &Path, file: &Path, kubeconfig: &Path) -> (usize, usize) {
    let show = std::env::var("SHOW").unwrap_or_else(|_| "0".to_owned());
    let mut command = Command::new("python3");
    command
        .arg(folder.join("apicases.py"))
        .arg("replay")
        .arg("--server")
        .arg(kubeconfig)
        .args(["--show", &show])
        .arg(file);
    if let Some(keep) = std::env::var_os("KEEP").map(PathBuf::from) {
        command
            .arg("--json")
            .arg(keep.join(file.file_name().unwrap()).with_extension(""));
    }
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if show != "0" {
        println!("{text}");
    }
    let last = text.lines().last().unwrap_or_default();
    let counts = last.split_once(": ").and_then(|(_, rest)| {
        let mut words = rest.split_whitespace();
        let all = words.next()?.parse().ok()?;
        Some((all, words.nth(1)?.parse().ok()?))
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    counts.unwrap_or_else(|| panic!("no counts from {}: {text}\n{errors}", file.display()))
}
