//! Kubelets: what they may see and write, and that it is only what concerns their own node. The cases act as kubelets by
//! impersonation, so they ask the same of a real server that has the Node authorizer and `NodeRestriction`, as all clusters do.

use serde_json::{Value, json};

use super::rights::send;
use super::{Place, eventually};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const STORAGE: &str = "/apis/storage.k8s.io/v1";

/// A node of this case alone, and the user that its kubelet is.
struct Kubelet<'a> {
    place: &'a Place,
    node: String,
    user: String,
}

impl<'a> Kubelet<'a> {
    fn new(place: &'a Place, name: &str) -> Self {
        let node = format!("{name}-{}", place.namespace);
        Self {
            place,
            user: format!("system:node:{node}"),
            node,
        }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let headers = [
            ("Impersonate-User", self.user.as_str()),
            ("Impersonate-Group", "system:nodes"),
            ("Impersonate-Group", "system:authenticated"),
        ];
        send(&self.place.client, &headers, method, path, body).await
    }

    async fn may(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.send(method, path, body).await;
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    /// What it is told when it may not.
    async fn may_not(&self, method: &str, path: &str, body: &Value) -> String {
        let (code, answer) = self.send(method, path, body).await;
        assert_eq!(code, 403, "{method} {path}: {answer}");
        answer["message"].as_str().unwrap().to_owned()
    }

    /// Waits until it may read something: a real server learns of pods a moment later.
    async fn until_it_reads(&self, path: &str) {
        eventually(path, || async {
            self.send("GET", path, &Value::Null).await.0 == 200
        })
        .await;
    }
}

fn in_namespace(place: &Place, rest: &str) -> String {
    format!("/api/v1/namespaces/{}/{rest}", place.namespace)
}

async fn make(place: &Place, path: &str, object: Value) -> Value {
    let (code, made) = send(&place.client, &[], "POST", path, &object).await;
    assert_eq!(code, 201, "{made}");
    made
}

async fn remove(place: &Place, path: &str) {
    let at_once = json!({"gracePeriodSeconds": 0});
    send(&place.client, &[], "DELETE", path, &at_once).await;
}

fn pod(name: &str, node: &str, volumes: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": node, "serviceAccountName": "robot", "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i"}], "volumes": volumes,
    }})
}

async fn a_kubelet_reads_what_its_pods_refer_to(place: Place) {
    let (own, other) = (Kubelet::new(&place, "a"), Kubelet::new(&place, "b"));
    let path = |rest: &str| in_namespace(&place, rest);
    make(
        &place,
        &path("serviceaccounts"),
        json!({"metadata": {"name": "robot"}}),
    )
    .await;
    for name in ["mine", "not-mine"] {
        make(&place, &path("secrets"), json!({"metadata": {"name": name}})).await;
        make(&place, &path("configmaps"), json!({"metadata": {"name": name}})).await;
    }
    let refused = own.may_not("GET", &path("secrets/mine"), &Value::Null).await;
    assert_eq!(
        refused,
        format!(
            r#"secrets "mine" is forbidden: User "{}" cannot get resource "secrets" in API group "" in the namespace "{}": no relationship found between node '{}' and this object"#,
            own.user, place.namespace, own.node
        )
    );
    let volumes = json!([
        {"name": "s", "secret": {"secretName": "mine"}}, {"name": "m", "configMap": {"name": "mine"}},
    ]);
    make(&place, &path("pods"), pod("p", &own.node, volumes)).await;
    for readable in ["secrets/mine", "configmaps/mine", "pods/p"] {
        own.until_it_reads(&path(readable)).await;
        other.may_not("GET", &path(readable), &Value::Null).await;
    }
    own.may(
        "GET",
        &path("secrets?fieldSelector=metadata.name%3Dmine"),
        &Value::Null,
    )
    .await;
    let cases = [
        ("GET", path("secrets/not-mine"), "no relationship found"),
        ("GET", path("configmaps/not-mine"), "no relationship found"),
        ("GET", path("secrets"), "No Object name found"),
        (
            "GET",
            "/api/v1/secrets".to_owned(),
            "can only read namespaced object of this type",
        ),
        (
            "DELETE",
            path("secrets/mine"),
            "can only read resources of this type",
        ),
        (
            "GET",
            path("persistentvolumeclaims"),
            "can only get individual resources of this type",
        ),
        (
            "GET",
            "/api/v1/pods".to_owned(),
            "can only list/watch pods with spec.nodeName field selector",
        ),
        (
            "POST",
            path("serviceaccounts"),
            "can only create tokens for individual service accounts",
        ),
    ];
    for (method, path, why) in cases {
        let told = own.may_not(method, &path, &json!({})).await;
        assert!(told.contains(why), "{method} {path}: {told}");
    }
    let listed = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", own.node);
    assert_eq!(
        own.may("GET", &listed, &Value::Null).await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    other.may_not("GET", &listed, &Value::Null).await;
    // With the pod its rights go.
    remove(&place, &path("pods/p")).await;
    let is_refused = || async { own.send("GET", &path("secrets/mine"), &Value::Null).await.0 == 403 };
    eventually("refused", is_refused).await;
    place.end().await;
}

async fn a_kubelet_writes_its_own_node_and_lease(place: Place) {
    let (own, other) = (Kubelet::new(&place, "a"), Kubelet::new(&place, "b"));
    let (a, b) = (&own.node, &other.node);
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let nodes = "/api/v1/nodes";
    let labels = json!({"node-role.kubernetes.io/master": "", "kubernetes.io/hostname": "h", "mine": "x"});
    let told = own.may_not("POST", nodes, &node(a, labels)).await;
    assert_eq!(
        told,
        format!(
            r#"nodes "{a}" is forbidden: node "{a}" is not allowed to set the following labels: node-role.kubernetes.io/master"#
        )
    );
    let told = own.may_not("POST", nodes, &node(b, json!({}))).await;
    assert_eq!(
        told,
        format!(r#"nodes "{b}" is forbidden: node "{a}" is not allowed to modify node "{b}""#)
    );
    own.may(
        "POST",
        nodes,
        &node(a, json!({"kubernetes.io/hostname": "h", "mine": "x"})),
    )
    .await;
    let path = format!("{nodes}/{a}");
    own.may("GET", &path, &Value::Null).await;
    own.may("PATCH", &path, &json!({"metadata": {"labels": {"mine": "y"}}}))
        .await;
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    own.may("PATCH", &format!("{path}/status"), &status).await;
    let changes = [
        (
            json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
            format!(r#"node "{a}" is not allowed to modify taints"#),
        ),
        (
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/x": "1"}}}),
            "is not allowed to modify labels: node-restriction.kubernetes.io/x".to_owned(),
        ),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "x"}]}}),
            format!(r#"node "{a}" is not allowed to modify ownerReferences"#),
        ),
    ];
    for (change, why) in changes {
        let told = own.may_not("PATCH", &path, &change).await;
        assert_eq!(told, format!(r#"nodes "{a}" is forbidden: {why}"#));
    }
    let told = other.may_not("GET", &path, &Value::Null).await;
    assert!(
        told.ends_with(&format!("node '{b}' cannot read '{a}', only its own Node object")),
        "{told}"
    );
    let told = other.may_not("GET", nodes, &Value::Null).await;
    assert!(
        told.ends_with(&format!(
            "node '{b}' cannot read all nodes, only its own Node object"
        )),
        "{told}"
    );
    other.may_not("PATCH", &format!("{path}/status"), &status).await;
    own.may_not("DELETE", &path, &Value::Null).await;

    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    own.may("POST", LEASES, &lease(a)).await;
    let same_name = "can only access node lease with the same name as the requesting node";
    let told = own.may_not("POST", LEASES, &lease(b)).await;
    assert!(told.ends_with(same_name), "{told}");
    let told = other.may_not("GET", &format!("{LEASES}/{a}"), &Value::Null).await;
    assert!(told.ends_with(same_name), "{told}");
    let elsewhere = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        place.namespace
    );
    let told = own.may_not("POST", &elsewhere, &lease(a)).await;
    assert!(
        told.ends_with(r#"can only access leases in the "kube-node-lease" system namespace"#),
        "{told}"
    );
    let drivers = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    own.may("POST", &format!("{STORAGE}/csinodes"), &drivers(a)).await;
    own.may_not("POST", &format!("{STORAGE}/csinodes"), &drivers(b))
        .await;
    for path in [path, format!("{LEASES}/{a}"), format!("{STORAGE}/csinodes/{a}")] {
        remove(&place, &path).await;
    }
    place.end().await;
}

async fn a_kubelet_makes_only_pods_that_stand_for_its_files(place: Place) {
    let (own, other) = (Kubelet::new(&place, "a"), Kubelet::new(&place, "b"));
    let a = &own.node;
    let made = make(&place, "/api/v1/nodes", json!({"metadata": {"name": a}})).await;
    let pods = in_namespace(&place, "pods");
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": a, "uid": made["metadata"]["uid"], "controller": true});
    let mirror = json!({
        "metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]},
        "spec": {"nodeName": a, "containers": [{"name": "c", "image": "i"}]},
    });
    let with = |pointer: &str, value: Value| {
        let mut changed = mirror.clone();
        let (at, field) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(at).unwrap()[field] = value;
        changed
    };
    let cases = [
        (
            with("/metadata/annotations", json!({})),
            format!(
                r#"pod does not have "kubernetes.io/config.mirror" annotation, node "{a}" can only create mirror pods"#
            ),
        ),
        (
            with("/spec/nodeName", json!("other")),
            format!(r#"node "{a}" can only create pods with spec.nodeName set to itself"#),
        ),
        (
            with("/metadata/ownerReferences", json!([])),
            format!(r#"node "{a}" can only create pods with an owner reference set to itself"#),
        ),
        (
            with("/metadata/ownerReferences/0/controller", json!(false)),
            format!(r#"node "{a}" can only create pods with a controller owner reference set to itself"#),
        ),
        (
            with("/metadata/ownerReferences/0/blockOwnerDeletion", json!(true)),
            format!(r#"node "{a}" must not set blockOwnerDeletion on an owner reference"#),
        ),
        (
            with("/metadata/ownerReferences/0/uid", json!("x")),
            format!(
                "node {a} UID mismatch: expected x got {}",
                made["metadata"]["uid"].as_str().unwrap()
            ),
        ),
        (
            with(
                "/spec/volumes",
                json!([{"name": "v", "secret": {"secretName": "s"}}]),
            ),
            format!(r#"node "{a}" can not create pods that reference secrets"#),
        ),
        (
            with(
                "/spec/volumes",
                json!([{"name": "v", "configMap": {"name": "s"}}]),
            ),
            format!(r#"node "{a}" can not create pods that reference configmaps"#),
        ),
        (
            with(
                "/spec/volumes",
                json!([{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]),
            ),
            format!(r#"node "{a}" can not create pods that reference persistentvolumeclaims"#),
        ),
        (
            with("/spec/serviceAccountName", json!("robot")),
            format!(r#"node "{a}" can not create pods that reference a service account"#),
        ),
    ];
    for (pod, why) in cases {
        let told = own.may_not("POST", &pods, &pod).await;
        assert_eq!(told, format!(r#"pods "m" is forbidden: {why}"#));
    }
    own.may("POST", &pods, &mirror).await;
    let own_pod = format!("{pods}/m");
    let running = json!({"status": {"phase": "Running"}});
    own.may("PATCH", &format!("{own_pod}/status"), &running).await;
    let told = other
        .may_not("PATCH", &format!("{own_pod}/status"), &running)
        .await;
    assert_eq!(
        told,
        format!(
            r#"pods "m" is forbidden: node "{}" can only update pod status for pods with spec.nodeName set to itself"#,
            other.node
        )
    );
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    let told = own.may_not("PATCH", &format!("{own_pod}/status"), &labels).await;
    assert!(
        told.ends_with("cannot update labels through pod status"),
        "{told}"
    );
    own.may_not("PATCH", &own_pod, &labels).await;
    let told = other.may_not("DELETE", &own_pod, &Value::Null).await;
    assert!(
        told.ends_with("can only delete pods with spec.nodeName set to itself"),
        "{told}"
    );
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "m"}});
    let told = other
        .may_not("POST", &format!("{own_pod}/eviction"), &eviction)
        .await;
    assert!(
        told.ends_with("can only evict pods with spec.nodeName set to itself"),
        "{told}"
    );
    own.may("DELETE", &own_pod, &json!({"gracePeriodSeconds": 0}))
        .await;
    remove(&place, &format!("/api/v1/nodes/{a}")).await;
    place.end().await;
}

async fn a_kubelet_gets_tokens_for_its_pods(place: Place) {
    let (own, other) = (Kubelet::new(&place, "a"), Kubelet::new(&place, "b"));
    let path = |rest: &str| in_namespace(&place, rest);
    make(
        &place,
        &path("serviceaccounts"),
        json!({"metadata": {"name": "robot"}}),
    )
    .await;
    let shown = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "a"}}, {"serviceAccountToken": {"path": "b", "audience": "vault"}},
    ]}}]);
    let made = make(&place, &path("pods"), pod("p", &own.node, shown)).await;
    own.until_it_reads(&path("pods/p")).await;
    let ask = path("serviceaccounts/robot/token");
    let bound = |uid: &Value, audiences: Value| json!({"spec": {"audiences": audiences, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}}});
    let uid = &made["metadata"]["uid"];
    for audiences in [json!([]), json!(["vault"])] {
        own.may("POST", &ask, &bound(uid, audiences)).await;
    }
    let cases = [
        (json!({"spec": {}}), "node requested token not bound to a pod".to_owned()),
        (bound(&json!(""), json!([])), "node requested token with a pod binding without a uid".to_owned()),
        (bound(&json!("x"), json!([])),
            "the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated".to_owned()),
        (bound(uid, json!(["vault", "other"])), "node may only request 0 or 1 audiences".to_owned()),
        (bound(uid, json!(["other"])),
            format!(r#"audience "other" not found in pod spec volume, {} is not authorized to request tokens for this audience"#, own.user)),
    ];
    for (request, why) in cases {
        let told = own.may_not("POST", &ask, &request).await;
        assert_eq!(told, format!(r#"serviceaccounts "robot" is forbidden: {why}"#));
    }
    let told = other.may_not("POST", &ask, &bound(uid, json!([]))).await;
    assert!(
        told.ends_with(&format!(
            "no relationship found between node '{}' and this object",
            other.node
        )),
        "{told}"
    );
    place.end().await;
}

async fn a_kubelet_asks_for_certificates_of_its_own_name(place: Place) {
    let own = Kubelet::new(&place, "a");
    let key = rcgen::KeyPair::generate().unwrap();
    let request = |name: &str| {
        let signed = super::certificates::pkcs10(name, "system:nodes", &["n"], &key);
        json!({"metadata": {"name": place.namespace}, "spec": {
            "signerName": "kubernetes.io/kubelet-serving", "request": signed,
            "usages": ["digital signature", "key encipherment", "server auth"],
        }})
    };
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let told = own.may_not("POST", requests, &request("system:node:other")).await;
    assert_eq!(
        told,
        format!(
            r#"certificatesigningrequests.certificates.k8s.io "{}" is forbidden: can only create a node CSR with CN={}"#,
            place.namespace, own.user
        )
    );
    own.may("POST", requests, &request(&own.user)).await;
    remove(&place, &format!("{requests}/{}", place.namespace)).await;
    place.end().await;
}

async fn a_user_that_only_sounds_like_a_kubelet_is_none(place: Place) {
    let own = Kubelet::new(&place, "a");
    let path = format!("/api/v1/nodes/{}", own.node);
    let headers = [("Impersonate-User", own.user.as_str())];
    let (code, answer) = send(&place.client, &headers, "GET", &path, &Value::Null).await;
    assert_eq!(code, 403, "{answer}");
    assert_eq!(own.send("GET", &path, &Value::Null).await.0, 404);
    let question = json!({"spec": {
        "user": own.user, "groups": ["system:nodes"],
        "resourceAttributes": {"verb": "get", "resource": "nodes", "name": own.node},
    }});
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let (_, answer) = send(&place.client, &[], "POST", reviews, &question).await;
    assert_eq!(answer["status"], json!({"allowed": true}));
    place.end().await;
}

super::cases!(; full:
    a_kubelet_reads_what_its_pods_refer_to,
    a_kubelet_writes_its_own_node_and_lease,
    a_kubelet_makes_only_pods_that_stand_for_its_files,
    a_kubelet_gets_tokens_for_its_pods,
    a_kubelet_asks_for_certificates_of_its_own_name,
    a_user_that_only_sounds_like_a_kubelet_is_none,
);
