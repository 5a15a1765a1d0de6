//! Kubeconfig files: read, merge into and take out of, as kubectl does. It opens no connection.
//!
//! Files are edited as plain data, so fields that nobody here knows stay as they are. Writing takes the lock file
//! `<path>.lock` that kubectl and kind take too, and replaces the file in one step with mode 0600.

mod lock;
mod merged;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::lock::Lock;
use crate::yaml::{self, YamlError};

/// Name of the extension that a context of ours carries.
pub const EXTENSION: &str = "machinectl.crit.sh";

/// Why a kubeconfig can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no YAML.
    #[error("{}:{}:{}: {}", path.display(), error.line, error.column, error.message)]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        error: YamlError,
    },
    /// A file is YAML, but no kubeconfig.
    #[error("{} is no kubeconfig: {what}", path.display())]
    NotAKubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A file can't be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else holds the lock file.
    #[error("{} is locked: {} exists", path.display(), lock.display())]
    Locked {
        /// The kubeconfig.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// There is no place for a kubeconfig.
    #[error("there is no place for a kubeconfig: HOME is not set")]
    NoPlace,
}

/// The files that make up the kubeconfig, the most important one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    files: Vec<PathBuf>,
    explicit: bool,
}

impl Paths {
    /// Chooses the files as kubectl does: the flag, the list in `KUBECONFIG`, `~/.kube/config`.
    pub fn choose(flag: Option<&Path>, variable: Option<&OsStr>, home: Option<&Path>) -> Self {
        if let Some(path) = flag {
            return Self {
                files: vec![path.to_owned()],
                explicit: true,
            };
        }
        let listed: Vec<PathBuf> = variable
            .map(|v| {
                std::env::split_paths(v)
                    .filter(|p| !p.as_os_str().is_empty())
                    .collect()
            })
            .unwrap_or_default();
        let files = if listed.is_empty() {
            home.map(|h| h.join(".kube/config")).into_iter().collect()
        } else {
            listed
        };
        Self {
            files,
            explicit: false,
        }
    }

    /// Whether the user named the file by a flag.
    pub const fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The file that gets entries which stand nowhere yet: the first that exists, else the last.
    fn default_file(&self) -> Result<&Path, KubeconfigError> {
        self.files
            .iter()
            .find(|f| f.exists())
            .or(self.files.last())
            .map(PathBuf::as_path)
            .ok_or(KubeconfigError::NoPlace)
    }
}

/// Who manages the cluster of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Management {
    /// The embedded API server.
    Embedded,
    /// The cluster itself.
    Itself,
    /// The cluster of another context.
    Context(String),
}

impl From<String> for Management {
    fn from(text: String) -> Self {
        match text.as_str() {
            "embedded" => Self::Embedded,
            "self" => Self::Itself,
            _ => Self::Context(text),
        }
    }
}

impl From<Management> for String {
    fn from(management: Management) -> Self {
        match management {
            Management::Embedded => "embedded".to_owned(),
            Management::Itself => "self".to_owned(),
            Management::Context(name) => name,
        }
    }
}

/// What a context of ours says about its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Where commands about its machines go.
    pub management: Management,
    /// Where its Cluster object stands, when that is not where `management` points: a cluster may manage machines of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Management>,
    /// Name of its Cluster object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Namespace of its Cluster object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Embedded API server: its state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
}

impl Extension {
    /// Returns where the Cluster object stands.
    pub fn home(&self) -> &Management {
        self.home.as_ref().unwrap_or(&self.management)
    }
}

/// A context as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Name of the context.
    pub name: String,
    /// Name of its cluster entry.
    pub cluster: String,
    /// Namespace that it names.
    pub namespace: Option<String>,
    /// What it says to us.
    pub extension: Option<Extension>,
}

/// Everything that stands in the kubeconfig files.
#[derive(Debug, Clone, Default)]
pub struct Kubeconfig {
    documents: Vec<Value>,
}

impl Kubeconfig {
    /// Reads the files; those that do not exist count as empty.
    pub fn load(paths: &Paths) -> Result<Self, KubeconfigError> {
        let mut documents = Vec::new();
        for file in &paths.files {
            if let Some(mut document) = read(file)? {
                merged::anchor(&mut document, file);
                documents.push(document);
            }
        }
        Ok(Self { documents })
    }

    /// Returns the name of the current context.
    pub fn current_context(&self) -> Option<&str> {
        self.documents
            .iter()
            .filter_map(|d| d["current-context"].as_str())
            .find(|c| !c.is_empty())
    }

    /// Returns the names of all contexts.
    pub fn context_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .documents
            .iter()
            .flat_map(|d| entries(d, "contexts"))
            .filter_map(|c| c["name"].as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Finds a context by name.
    pub fn context(&self, name: &str) -> Option<Context> {
        let entry = self
            .documents
            .iter()
            .flat_map(|d| entries(d, "contexts"))
            .find(|c| c["name"] == name)?;
        let body = &entry["context"];
        let text = |key: &str| {
            body[key]
                .as_str()
                .filter(|t| !t.is_empty())
                .map(ToOwned::to_owned)
        };
        let extension = entries(body, "extensions")
            .find(|e| e["name"] == EXTENSION)
            .and_then(|e| Extension::deserialize(&e["extension"]).ok());
        Some(Context {
            name: name.to_owned(),
            cluster: text("cluster").unwrap_or_default(),
            namespace: text("namespace"),
            extension,
        })
    }

    /// Finds the context of a Cluster that this program made.
    pub fn context_of_cluster(&self, cluster: &str) -> Option<Context> {
        self.context_names()
            .into_iter()
            .filter_map(|n| self.context(n))
            .find(|c| {
                c.extension
                    .as_ref()
                    .is_some_and(|e| e.cluster.as_deref() == Some(cluster))
            })
    }
}

/// A context, its cluster and its user, to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name of the context and, but for the embedded server's, of the user.
    pub context: String,
    /// Name of the cluster entry.
    pub cluster: String,
    /// Name of the user entry.
    pub user: String,
    /// Body of the cluster entry.
    pub cluster_body: Value,
    /// Body of the user entry. Secret.
    pub user_body: Secret,
    /// Namespace of the context.
    pub namespace: Option<String>,
    /// What the context says to us.
    pub extension: Option<Extension>,
}

/// Data that is not shown.
#[derive(Clone)]
pub struct Secret(pub Value);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Entry {
    /// Makes the entry of a Cluster from an admin kubeconfig: names are unique to the cluster (`kubernetes-admin@<cluster>`).
    ///
    /// # Errors
    /// Fails when the text holds no cluster or no user.
    pub fn for_cluster(
        cluster: &str,
        admin_kubeconfig: &str,
        extension: Option<Extension>,
    ) -> Result<Self, KubeconfigError> {
        let path = PathBuf::from(format!("the kubeconfig of cluster {cluster}"));
        let value: Value = yaml::from_str(admin_kubeconfig).map_err(|error| KubeconfigError::Syntax {
            path: path.clone(),
            error,
        })?;
        let first = |list: &str, key: &str| entries(&value, list).next().map(|e| e[key].clone());
        let (Some(cluster_body), Some(user_body)) = (first("clusters", "cluster"), first("users", "user"))
        else {
            return Err(KubeconfigError::NotAKubeconfig {
                path,
                what: "it has no cluster or no user",
            });
        };
        let context = context_name(cluster);
        Ok(Self {
            user: context.clone(),
            context,
            cluster: cluster.to_owned(),
            cluster_body,
            user_body: Secret(user_body),
            namespace: None,
            extension,
        })
    }

    /// Returns a kubeconfig that holds this entry alone.
    pub fn document(&self) -> Value {
        let mut document = empty();
        self.write_into(&mut document);
        document["current-context"] = json!(self.context);
        document
    }

    fn context_entry(&self) -> Value {
        let mut body = json!({ "cluster": self.cluster, "user": self.user });
        if let Some(namespace) = &self.namespace {
            body["namespace"] = json!(namespace);
        }
        if let Some(extension) = &self.extension {
            body["extensions"] = json!([{ "name": EXTENSION, "extension": extension }]);
        }
        json!({ "name": self.context, "context": body })
    }

    fn parts(&self) -> [(&'static str, Value); 3] {
        [
            (
                "clusters",
                json!({ "name": self.cluster, "cluster": self.cluster_body }),
            ),
            ("contexts", self.context_entry()),
            ("users", json!({ "name": self.user, "user": self.user_body.0 })),
        ]
    }

    fn write_into(&self, document: &mut Value) {
        for (list, entry) in self.parts() {
            put(document, list, entry);
        }
    }
}

/// Returns the name of the context and user of a Cluster.
pub fn context_name(cluster: &str) -> String {
    format!("kubernetes-admin@{cluster}")
}

/// Writes an entry into the kubeconfig, where it stands already or else into the default file, and makes it current if asked.
/// Returns the file.
pub fn merge(paths: &Paths, entry: &Entry, make_current: bool) -> Result<PathBuf, KubeconfigError> {
    let default = paths.default_file()?.to_owned();
    let mut context_file = default.clone();
    for (list, part) in entry.parts() {
        let file = holder(paths, list, part["name"].as_str().unwrap_or_default())?
            .unwrap_or_else(|| default.clone());
        if list == "contexts" {
            context_file.clone_from(&file);
        }
        edit(&file, |document| put(document, list, part))?;
    }
    if make_current {
        let file = paths
            .files
            .iter()
            .find(|f| {
                read(f)
                    .ok()
                    .flatten()
                    .is_some_and(|d| d["current-context"].as_str().is_some_and(|c| !c.is_empty()))
            })
            .unwrap_or(&default);
        edit(file, |document| {
            document["current-context"] = json!(entry.context);
        })?;
    }
    Ok(context_file)
}

/// Takes a context, its cluster and its user out of the kubeconfig. Returns whether anything was there.
pub fn remove(paths: &Paths, context: &str, cluster: &str, user: &str) -> Result<bool, KubeconfigError> {
    let mut found = false;
    for file in &paths.files {
        let Some(mut document) = read(file)? else { continue };
        if !take_out(&mut document, context, cluster, user) {
            continue;
        }
        found = true;
        edit(file, |document| {
            take_out(document, context, cluster, user);
        })?;
    }
    Ok(found)
}

/// Changes what a context says to us, where it stands. A context that is not there is none to change.
pub fn set_extension(paths: &Paths, context: &str, extension: &Extension) -> Result<(), KubeconfigError> {
    let Some(file) = holder(paths, "contexts", context)? else {
        return Ok(());
    };
    edit(&file, |document| {
        let found = document["contexts"]
            .as_array_mut()
            .and_then(|all| all.iter_mut().find(|c| c["name"] == context));
        let Some(body) = found.map(|c| &mut c["context"]) else {
            return;
        };
        let ours = json!({ "name": EXTENSION, "extension": extension });
        match body["extensions"].as_array_mut() {
            Some(all) => {
                all.retain(|e| e["name"] != EXTENSION);
                all.push(ours);
            }
            None => body["extensions"] = json!([ours]),
        }
    })
}

/// Changes the cluster entries of those contexts that `which` picks and that trust the same CA as `body`. Used when the
/// embedded server's address has changed: contexts that lead to an API server of their own trust another CA.
pub fn update_clusters(
    paths: &Paths,
    which: impl Fn(&Context) -> bool,
    body: &Value,
) -> Result<(), KubeconfigError> {
    let config = Kubeconfig::load(paths)?;
    let clusters: Vec<String> = config
        .context_names()
        .into_iter()
        .filter_map(|n| config.context(n))
        .filter(|c| which(c))
        .map(|c| c.cluster)
        .collect();
    for cluster in clusters {
        let Some(file) = holder(paths, "clusters", &cluster)? else {
            continue;
        };
        let entry = json!({ "name": cluster, "cluster": body });
        let document = read(&file)?.unwrap_or_default();
        let moved = entries(&document, "clusters").any(|e| {
            e["name"] == entry["name"] && e["cluster"][CA_DATA] == entry["cluster"][CA_DATA] && *e != entry
        });
        if moved {
            edit(&file, |document| put(document, "clusters", entry))?;
        }
    }
    Ok(())
}

/// Where a cluster entry holds its CA.
const CA_DATA: &str = "certificate-authority-data";

fn take_out(document: &mut Value, context: &str, cluster: &str, user: &str) -> bool {
    let mut found = false;
    for (list, name) in [("contexts", context), ("clusters", cluster), ("users", user)] {
        if let Some(items) = document[list].as_array_mut() {
            let before = items.len();
            items.retain(|e| e["name"] != name);
            found |= items.len() != before;
        }
    }
    if document["current-context"] == context {
        document["current-context"] = json!("");
        found = true;
    }
    found
}

fn empty() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [], "contexts": [], "users": [], "current-context": "",
    })
}

fn entries<'a>(document: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    document[list].as_array().into_iter().flatten()
}

/// Puts an entry into a list, in place of one with the same name.
fn put(document: &mut Value, list: &str, entry: Value) {
    if !document[list].is_array() {
        document[list] = json!([]);
    }
    if let Some(items) = document[list].as_array_mut() {
        match items.iter_mut().find(|e| e["name"] == entry["name"]) {
            Some(old) => *old = entry,
            None => items.push(entry),
        }
    }
}

/// Finds the file that holds an entry.
fn holder(paths: &Paths, list: &str, name: &str) -> Result<Option<PathBuf>, KubeconfigError> {
    for file in &paths.files {
        if read(file)?.is_some_and(|d| entries(&d, list).any(|e| e["name"] == name)) {
            return Ok(Some(file.clone()));
        }
    }
    Ok(None)
}

/// Reads a file; `None` if it does not exist or is empty.
fn read(path: &Path) -> Result<Option<Value>, KubeconfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KubeconfigError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let value: Value = yaml::from_str(&text).map_err(|error| KubeconfigError::Syntax {
        path: path.to_owned(),
        error,
    })?;
    match value {
        Value::Null => Ok(None),
        Value::Object(_) if value["kind"].as_str().is_none_or(|k| k == "Config") => Ok(Some(value)),
        _ => Err(KubeconfigError::NotAKubeconfig {
            path: path.to_owned(),
            what: "it is not of kind Config",
        }),
    }
}

/// Changes a file under its lock.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) -> Result<(), KubeconfigError> {
    let failed = |source| KubeconfigError::Write {
        path: path.to_owned(),
        source,
    };
    // The file behind a symbolic link is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let _lock = Lock::take(path)?;
    let mut document = read(path)?.unwrap_or_else(empty);
    change(&mut document);
    let text = yaml::to_string(&document).map_err(|error| KubeconfigError::Syntax {
        path: path.clone(),
        error,
    })?;
    replace(path, &text).map_err(failed)
}

/// Replaces a file in one step; only its owner may read it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // What is left of a failed attempt serves nobody; the first error is the one that counts.
        let _ignored = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OTHER: &str = "apiVersion: v1\nkind: Config\ncurrent-context: old\nfuture: {x: 1}\nclusters:\n- name: old\n  cluster: {server: 'https://old', odd: 7}\ncontexts:\n- name: old\n  context: {cluster: old, user: old}\nusers:\n- name: old\n  user: {token: t}\n";

    fn entry(cluster: &str) -> Entry {
        let admin = "clusters:\n- name: a\n  cluster: {server: 'https://127.0.0.1:1'}\nusers:\n- name: b\n  user: {token: secret}\n";
        let extension = Extension {
            management: Management::Embedded,
            home: None,
            cluster: Some(cluster.to_owned()),
            namespace: Some("default".to_owned()),
            state: None,
        };
        Entry::for_cluster(cluster, admin, Some(extension)).unwrap()
    }

    fn one(path: &Path) -> Paths {
        Paths::choose(Some(path), None, None)
    }

    #[test]
    fn a_moved_server_takes_only_the_clusters_along_that_trust_its_ca() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = "clusters:\n- name: hollow\n  cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: QQ==}\n\
            - name: own\n  cluster: {server: 'https://127.0.0.1:2', certificate-authority-data: Qg==}\n\
            contexts:\n- name: hollow\n  context: {cluster: hollow, user: u}\n- name: own\n  context: {cluster: own, user: u}\n";
        fs::write(&path, text).unwrap();
        let body = json!({ "server": "https://127.0.0.1:9", CA_DATA: "QQ==" });
        update_clusters(&one(&path), |_| true, &body).unwrap();
        let after = read(&path).unwrap().unwrap();
        let servers: Vec<_> = entries(&after, "clusters")
            .map(|e| e["cluster"]["server"].clone())
            .collect();
        assert_eq!(servers, ["https://127.0.0.1:9", "https://127.0.0.1:2"]);
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_the_variable_over_home() {
        let home = Path::new("/h");
        let variable = OsStr::new("/a::/b");
        assert_eq!(
            Paths::choose(Some(Path::new("/f")), Some(variable), Some(home)).files,
            [Path::new("/f")]
        );
        assert_eq!(
            Paths::choose(None, Some(variable), Some(home)).files,
            [Path::new("/a"), Path::new("/b")]
        );
        assert_eq!(
            Paths::choose(None, Some(OsStr::new("")), Some(home)).files,
            [Path::new("/h/.kube/config")]
        );
    }

    #[test]
    fn merging_leaves_everything_else_alone_and_removing_restores_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, OTHER).unwrap();
        let before: Value = yaml::from_str(OTHER).unwrap();
        let paths = one(&path);
        merge(&paths, &entry("dev"), true).unwrap();
        merge(&paths, &entry("dev"), true).unwrap();
        let config = Kubeconfig::load(&paths).unwrap();
        assert_eq!(config.current_context(), Some("kubernetes-admin@dev"));
        assert_eq!(config.context_names(), ["kubernetes-admin@dev", "old"]);
        let context = config.context_of_cluster("dev").unwrap();
        assert_eq!(context.extension.unwrap().management, Management::Embedded);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let name = context_name("dev");
        assert!(remove(&paths, &name, "dev", &name).unwrap());
        assert!(!remove(&paths, &name, "dev", &name).unwrap());
        let mut after = read(&path).unwrap().unwrap();
        assert_eq!(after["current-context"], "");
        after["current-context"] = json!("old");
        assert_eq!(after, before);
    }

    #[test]
    fn an_entry_is_changed_in_the_file_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        merge(&one(&b), &entry("dev"), false).unwrap();
        fs::write(&a, OTHER).unwrap();
        let list = std::env::join_paths([&a, &b]).unwrap();
        let paths = Paths::choose(None, Some(&list), None);
        merge(&paths, &entry("dev"), true).unwrap();
        merge(&paths, &entry("new"), false).unwrap();
        let (in_a, in_b) = (
            Kubeconfig::load(&one(&a)).unwrap(),
            Kubeconfig::load(&one(&b)).unwrap(),
        );
        assert_eq!(in_a.context_names(), ["kubernetes-admin@new", "old"]);
        assert_eq!(in_a.current_context(), Some("kubernetes-admin@dev"));
        assert_eq!(in_b.context_names(), ["kubernetes-admin@dev"]);
    }

    #[test]
    fn two_clusters_share_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let paths = one(&dir.path().join("new/config"));
        merge(&paths, &entry("a"), true).unwrap();
        merge(&paths, &entry("b"), true).unwrap();
        let document = read(&paths.files[0]).unwrap().unwrap();
        for list in ["clusters", "contexts", "users"] {
            assert_eq!(document[list].as_array().unwrap().len(), 2, "{list}");
        }
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, OTHER).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        merge(&one(&link), &entry("dev"), true).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Kubeconfig::load(&one(&real)).unwrap().context_names().len(), 2);
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, "kind: Pod\n").unwrap();
        assert!(
            Kubeconfig::load(&one(&path))
                .unwrap_err()
                .to_string()
                .contains("not of kind Config")
        );
        fs::write(&path, "a: [\n").unwrap();
        assert!(matches!(
            Kubeconfig::load(&one(&path)),
            Err(KubeconfigError::Syntax { .. })
        ));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert!(!format!("{:?}", entry("dev")).contains("secret\""));
    }
}
