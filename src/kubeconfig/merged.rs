//! All files of a kubeconfig as one document, for who makes connections of it.

use std::path::Path;

use serde_json::{Value, json};

use super::{CA_DATA, Kubeconfig, entries};

impl Kubeconfig {
    /// Returns all files as one document, with entries and paths as kubectl understands them. It holds secrets.
    pub fn merged(&self) -> Value {
        merged(&self.documents)
    }

    /// Finds what a context leads to: the bodies of its cluster and of its user. The latter holds secrets.
    pub fn bodies(&self, context: &str) -> Option<(&Value, &Value)> {
        let named = |list: &'static str, name: &Value| {
            let mut all = self.documents.iter().flat_map(move |d| entries(d, list));
            all.find(|entry| entry["name"] == *name)
        };
        let context = &named("contexts", &context.into())?["context"];
        let (cluster, user) = (
            named("clusters", &context["cluster"])?,
            named("users", &context["user"])?,
        );
        Some((&cluster["cluster"], &user["user"]))
    }

    /// Finds the CA that a context trusts, in base64, if it stands in the kubeconfig itself.
    pub fn authority(&self, context: &str) -> Option<&str> {
        self.bodies(context)?.0[CA_DATA].as_str()
    }
}

/// Makes the paths in a file absolute: there they count from the folder of that file. A bare command is looked for in `PATH`.
pub(super) fn anchor(document: &mut Value, file: &Path) {
    let Some(folder) = file.parent() else { return };
    let absolute = |value: &mut Value| {
        if let Some(path) = value.as_str().filter(|p| !p.is_empty())
            && let Some(path) = folder.join(path).to_str()
        {
            *value = path.into();
        }
    };
    for (list, body) in [("clusters", "cluster"), ("users", "user")] {
        let list = document.get_mut(list).and_then(Value::as_array_mut);
        for entry in list.into_iter().flatten() {
            let Some(body) = entry.get_mut(body).and_then(Value::as_object_mut) else {
                continue;
            };
            for key in [
                "certificate-authority",
                "client-certificate",
                "client-key",
                "tokenFile",
            ] {
                body.get_mut(key).map(absolute);
            }
            let command = body.get_mut("exec").and_then(|exec| exec.get_mut("command"));
            command
                .filter(|c| c.as_str().is_some_and(|c| c.contains(std::path::MAIN_SEPARATOR)))
                .map(absolute);
        }
    }
}

/// Merges documents as kubectl does: of entries with one name the first counts.
fn merged(documents: &[Value]) -> Value {
    let mut whole = json!({"apiVersion": "v1", "kind": "Config"});
    for list in ["clusters", "contexts", "users"] {
        let mut names = std::collections::HashSet::new();
        let all = documents.iter().flat_map(|d| entries(d, list));
        let first: Vec<&Value> = all.filter(|e| names.insert(e["name"].as_str())).collect();
        whole[list] = json!(first);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_file_that_names_them() {
        let mut document = json!({
            "clusters": [{"name": "a", "cluster": {"certificate-authority": "ca.pem"}}, {"name": "b", "cluster": null}],
            "users": [
                {"name": "a", "user": {"client-certificate": "/etc/a.pem", "client-key": "keys/a.pem", "tokenFile": ""}},
                {"name": "b", "user": {"exec": {"command": "aws"}}},
                {"name": "c", "user": {"exec": {"command": "./login"}}},
            ],
        });
        anchor(&mut document, Path::new("/home/me/config"));
        assert_eq!(
            document["clusters"][0]["cluster"]["certificate-authority"],
            "/home/me/ca.pem"
        );
        assert_eq!(
            document["users"][0]["user"],
            json!({"client-certificate": "/etc/a.pem", "client-key": "/home/me/keys/a.pem", "tokenFile": ""})
        );
        assert_eq!(document["users"][1]["user"]["exec"]["command"], "aws");
        assert_eq!(
            document["users"][2]["user"]["exec"]["command"],
            "/home/me/./login"
        );
    }

    #[test]
    fn what_is_no_kubeconfig_is_left_alone() {
        for mut document in [
            json!(null),
            json!({"clusters": "x"}),
            json!({"users": [1, {"user": {"exec": 5}}]}),
        ] {
            let before = document.clone();
            anchor(&mut document, Path::new("/home/me/config"));
            assert_eq!(document, before);
            merged(&[document]);
        }
    }

    #[test]
    fn a_context_leads_to_a_cluster_and_a_user() {
        let one = json!({"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}, {"name": "y", "context": {"cluster": "none"}}]});
        let two = json!({"clusters": [{"name": "c", "cluster": {CA_DATA: "Y2E="}}], "users": [{"name": "u", "user": {"token": "t"}}]});
        let config = Kubeconfig {
            documents: vec![one, two],
        };
        assert_eq!(
            config.bodies("x"),
            Some((&json!({CA_DATA: "Y2E="}), &json!({"token": "t"})))
        );
        assert_eq!(config.authority("x"), Some("Y2E="));
        assert_eq!((config.authority("y"), config.authority("z")), (None, None));
    }

    #[test]
    fn of_entries_with_one_name_the_first_counts() {
        let one = json!({"users": [{"name": "a", "user": {"token": "1"}}]});
        let two = json!({"users": [{"name": "a", "user": {"token": "2"}}, {"name": "b", "user": {}}]});
        let whole = merged(&[one, two]);
        assert_eq!(
            whole["users"],
            json!([{"name": "a", "user": {"token": "1"}}, {"name": "b", "user": {}}])
        );
        assert_eq!(whole["clusters"], json!([]));
    }
}
