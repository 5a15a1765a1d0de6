//! What kubelets may do: their own Node, Lease and `CSINode`, the pods that are bound to it, and what those pods refer to. As
//! kube-apiserver's Node authorizer decides (`plugin/pkg/auth/authorizer/node`). What a kubelet may write into the objects that it
//! may write, `restriction` says.

mod graph;
pub(crate) mod references;
pub(crate) mod restriction;

pub(crate) use self::graph::Graph;
use self::graph::Vertex;
use super::super::Server;
use super::super::auth::UserInfo;
use super::super::request::RequestInfo;
use super::default_policy;

/// The group of all kubelets.
const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";
/// The namespace of their leases.
pub(super) const LEASES: &str = "kube-node-lease";

/// Returns the name of the node whose kubelet a user is; `None` if it is no kubelet.
pub(crate) fn name_of(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(PREFIX)?;
    user.groups.iter().any(|group| group == GROUP).then_some(name)
}

/// Yes, or why not: nothing, if there is nothing to say.
type Answer = Result<(), String>;

fn no(why: impl Into<String>) -> Answer {
    Err(why.into())
}

/// One question of one kubelet.
struct Asked<'a> {
    server: &'a Server,
    node: &'a str,
    what: &'a RequestInfo,
}

impl Server {
    /// Says whether a kubelet may do something, as far as that follows from its being one. `None`: it is no kubelet.
    pub(super) fn decide_for_node(&self, user: &UserInfo, what: &RequestInfo) -> Option<Answer> {
        let node = name_of(user)?;
        if node.is_empty() {
            return Some(no(format!("unknown node for user {:?}", user.name)));
        }
        let asked = Asked {
            server: self,
            node,
            what,
        };
        Some(asked.answer())
    }
}

impl Asked<'_> {
    fn answer(&self) -> Answer {
        let what = self.what;
        if what.is_resource {
            match (what.group.as_str(), what.resource.as_str()) {
                ("", "secrets") => return self.read(Vertex::Secret),
                ("", "configmaps") => return self.read(Vertex::ConfigMap),
                ("", "persistentvolumeclaims") if what.subresource == "status" => return self.change_claim(),
                ("", "persistentvolumeclaims") => return self.get(Vertex::Claim),
                ("", "persistentvolumes") => return self.get(Vertex::Volume),
                ("storage.k8s.io", "volumeattachments") => return self.get(Vertex::Attachment),
                ("", "serviceaccounts") => return self.make_token(),
                ("coordination.k8s.io", "leases") => return self.lease(),
                ("storage.k8s.io", "csinodes") => return self.csi_node(),
                ("", "nodes") => return self.own_node(),
                ("", "pods") => return self.pods(),
                _ => {}
            }
        }
        if default_policy::node_rules().iter().any(|rule| rule.allows(what)) {
            return Ok(());
        }
        no("")
    }

    fn is_verb(&self, verbs: &[&str]) -> bool {
        verbs.contains(&self.what.verb.as_str())
    }

    fn related(&self, vertex: Vertex) -> Answer {
        let (namespace, name) = (&self.what.namespace, &self.what.name);
        if self
            .server
            .0
            .nodes
            .leads_to(self.server.store(), self.node, vertex, namespace, name)
        {
            return Ok(());
        }
        no(format!(
            "no relationship found between node '{}' and this object",
            self.node
        ))
    }

    fn one(&self, vertex: Vertex) -> Answer {
        if self.what.name.is_empty() {
            return no("No Object name found");
        }
        self.related(vertex)
    }

    fn get(&self, vertex: Vertex) -> Answer {
        if self.what.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !self.what.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.one(vertex)
    }

    fn read(&self, vertex: Vertex) -> Answer {
        if !self.is_verb(&["get", "list", "watch"]) {
            return no("can only read resources of this type");
        }
        if !self.what.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.what.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.one(vertex)
    }

    fn change_claim(&self) -> Answer {
        if !self.is_verb(&["update", "patch"]) {
            return no("can only get/update/patch this type");
        }
        self.one(Vertex::Claim)
    }

    fn make_token(&self) -> Answer {
        if self.what.verb != "create" || self.what.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if self.what.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(Vertex::Account)
    }

    fn lease(&self) -> Answer {
        if !self.is_verb(&["get", "create", "update", "patch", "delete"]) {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.what.namespace != LEASES {
            return no(format!(
                "can only access leases in the {LEASES:?} system namespace"
            ));
        }
        // The name of a new one is not known here: what is written is looked at again.
        if self.what.verb != "create" && self.what.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn csi_node(&self) -> Answer {
        if !self.is_verb(&["get", "create", "update", "patch", "delete"]) {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.what.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if self.what.verb != "create" && self.what.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        Ok(())
    }

    fn own_node(&self) -> Answer {
        let (node, name) = (self.node, self.what.name.as_str());
        match (self.what.subresource.as_str(), self.what.verb.as_str()) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            // By its name: a kubelet looks for its Node before there is one.
            ("", "get" | "list" | "watch") if name == node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => no(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            )),
            ("", "get" | "list" | "watch") => no(format!(
                "node '{node}' cannot read '{name}', only its own Node object"
            )),
            _ => no(""),
        }
    }

    fn pods(&self) -> Answer {
        match (self.what.subresource.as_str(), self.what.verb.as_str()) {
            ("", "get") => self.get(Vertex::Pod),
            ("", "list" | "watch") => self.list_pods(),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => no(""),
        }
    }

    fn list_pods(&self) -> Answer {
        let mut selected = self.what.selected.iter();
        if selected.any(|(field, value)| field == "spec.nodeName" && value == self.node) {
            return Ok(());
        }
        if !self.what.name.is_empty() {
            return self.one(Vertex::Pod);
        }
        no("can only list/watch pods with spec.nodeName field selector")
    }
}
