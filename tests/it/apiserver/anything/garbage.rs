//! Requests that make no sense: whatever they are, they get an answer, and the server goes on.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use machinectl::apiserver::Server;
use machinectl::time::SystemClock;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{RUNTIME, ask};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The words that requests consist of: between them are the paths that most is behind.
const WORDS: [&str; 44] = [
    "metadata",
    "name",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "uid",
    "spec",
    "status",
    "data",
    "template",
    "containers",
    "image",
    "ports",
    "env",
    "selector",
    "matchLabels",
    "replicas",
    "strategy",
    "volumes",
    "apiVersion",
    "kind",
    "v1",
    "ConfigMap",
    "fieldsV1",
    "f:data",
    "k:{\"name\":\"a\"}",
    "v:1",
    ".",
    "$patch",
    "delete",
    "replace",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "op",
    "path",
    "value",
    "a",
    "\u{0}",
    "\u{fffd}é",
    "resourceVersion",
    "deletionTimestamp",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Any JSON, mostly of known words.
fn anything() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        Just(json!("2026-01-01T00:00:00Z")),
    ];
    scalar.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(word(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Sensible objects in which one place says anything.
fn bent() -> impl Strategy<Value = (&'static str, Value)> {
    let pod = json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}], "env": [{"name": "e", "value": "v"}]}]});
    let whole = [
        (
            CONFIGMAPS,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a": "b"}}, "data": {"a": "b"}}),
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "a"}, "type": "Opaque", "data": {"a": "YQ=="}}),
        ),
        (
            "/api/v1/namespaces/default/pods",
            json!({"metadata": {"name": "a"}, "spec": pod}),
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
        ),
        (
            "/api/v1/namespaces/default/events",
            json!({"metadata": {"name": "a"}, "involvedObject": {"namespace": "default"}, "eventTime": null}),
        ),
        (
            "/api/v1/nodes",
            json!({"metadata": {"name": "a"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
        ),
        (
            DEPLOYMENTS,
            json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}}),
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            json!({"metadata": {"name": "a"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({"metadata": {"name": "a"}, "rules": [{"verbs": ["get"], "resources": ["a"], "apiGroups": [""]}], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"metadata": {"name": "a"}, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}),
        ),
        (
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            json!({"metadata": {"name": "a"}, "spec": {"request": "YQ==", "signerName": "a/b", "usages": ["client auth"]}}),
        ),
        (
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
        ),
    ];
    (
        prop::sample::select(whole.to_vec()),
        any::<prop::sample::Index>(),
        anything(),
    )
        .prop_map(|((path, mut object), at, anything)| {
            let mut places = Vec::new();
            pointers(&object, String::new(), &mut places);
            if let Some(place) = object.pointer_mut(at.get::<String>(&places)) {
                *place = anything;
            }
            (path, object)
        })
}

fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                pointers(
                    inner,
                    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    out,
                );
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                pointers(inner, format!("{at}/{i}"), out);
            }
        }
        _ => {}
    }
    out.push(at);
}

/// Any expression, mostly one that could mean something.
fn expression() -> impl Strategy<Value = String> {
    const TOKENS: [&str; 30] = [
        "self",
        "oldSelf",
        ".",
        "a",
        "[",
        "]",
        "(",
        ")",
        "==",
        "&&",
        "||",
        "!",
        "?",
        ":",
        "1",
        "-1",
        "1.5",
        "'x'",
        "size",
        "has",
        ".all(x, x",
        ".map(x, x)",
        "matches('(a+)+$')",
        "in",
        "+",
        "*",
        "/ 0",
        "{",
        "}",
        "duration('1h')",
    ];
    let tokens = prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..12);
    prop_oneof![4 => tokens.prop_map(|all| all.join("")), 1 => any::<String>()]
}

/// Any schema, mostly a structural one.
fn schema() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "object", "array", "string", "integer", "number", "boolean", "null",
    ]);
    let leaf = (kind, expression(), anything(), any::<u8>()).prop_map(|(kind, rule, any, more)| {
        let mut schema = json!({"type": kind});
        match more % 12 {
            0 => schema["x-kubernetes-validations"] = json!([{"rule": rule, "message": "m"}]),
            1 => schema["default"] = any,
            2 => schema["enum"] = json!([any]),
            3 => schema["pattern"] = json!(rule),
            4 => schema["x-kubernetes-preserve-unknown-fields"] = json!(true),
            5 => schema["x-kubernetes-int-or-string"] = json!(true),
            6 => schema["nullable"] = json!(true),
            7 => schema["maximum"] = any,
            8 => schema["x-kubernetes-embedded-resource"] = json!(true),
            9 => schema["format"] = json!("date-time"),
            10 => schema["x-kubernetes-validations"] = any,
            _ => {}
        }
        schema
    });
    leaf.prop_recursive(4, 24, 4, |inner| {
        let fields = prop::collection::btree_map(prop::sample::select(vec!["a", "b", "name", "spec", "status"]), inner.clone(), 0..4);
        prop_oneof![
            (fields, expression(), any::<bool>()).prop_map(|(fields, rule, ruled)| {
                let mut schema = json!({"type": "object", "properties": fields});
                if ruled {
                    schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
                }
                schema
            }),
            inner.clone().prop_map(|inner| json!({"type": "object", "additionalProperties": inner})),
            (inner.clone(), any::<u8>()).prop_map(|(inner, kind)| {
                let mut schema = json!({"type": "array", "items": inner});
                match kind % 4 {
                    0 => schema["x-kubernetes-list-type"] = json!("set"),
                    1 => {
                        schema["x-kubernetes-list-type"] = json!("map");
                        schema["x-kubernetes-list-map-keys"] = json!(["name"]);
                    }
                    2 => schema["x-kubernetes-list-type"] = json!("atomic"),
                    _ => {}
                }
                schema
            }),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"type": "object", "properties": {"a": a}, "anyOf": [b], "not": {"required": ["a"]}})),
        ]
    })
}

fn request(method: &str, uri: &str, content: &str, body: impl Into<Body>) -> Option<Request<Body>> {
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let request = Request::builder().method(method).uri(uri);
    request.header("Content-Type", content).body(body.into()).ok()
}

/// Sends a request; the answer must be one. What is done behind an answer tells of a panic by 503.
async fn answered(
    server: &Server,
    method: &str,
    uri: &str,
    content: &str,
    body: impl Into<Body>,
) -> Result<(u16, Value), TestCaseError> {
    let Some(request) = request(method, uri, content, body) else {
        return Ok((0, Value::Null));
    };
    let (code, told) = ask(server, request).await;
    prop_assert!((200..600).contains(&code) && code != 503, "{code} {told}");
    if code >= 400 && told.is_object() {
        prop_assert_eq!(&told["code"], code);
        prop_assert_eq!(&told["kind"], "Status");
    }
    Ok((code, told))
}

thread_local! {
    /// The server of a test: to make one takes longer than to ask it.
    static SERVER: Server = RUNTIME.block_on(async { Server::in_memory(Arc::new(SystemClock)) });
}

fn server() -> Server {
    SERVER.with(Server::clone)
}

/// Removes what an earlier case may have left.
async fn clear(server: &Server, one: &str) -> Result<(), TestCaseError> {
    let free = r#"{"metadata":{"finalizers":null}}"#;
    answered(
        server,
        "DELETE",
        &format!("{one}?gracePeriodSeconds=0"),
        "",
        Body::empty(),
    )
    .await?;
    answered(server, "PATCH", one, PATCHES[1], free).await?;
    Ok(())
}

/// The server still does what it should.
async fn goes_on(server: &Server) -> Result<(), TestCaseError> {
    let (code, _) = answered(server, "GET", "/api/v1/namespaces/default", "", Body::empty()).await?;
    prop_assert_eq!(code, 200);
    Ok(())
}

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn any_path_is_answered(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "X"]),
        parts in prop::collection::vec(prop_oneof![
            3 => prop::sample::select(vec!["api", "apis", "v1", "apps", "namespaces", "default", "configmaps", "pods", "status", "scale", "watch", "a", "", "..", "%2f", "%", "openapi", "v3", "healthz"]).prop_map(str::to_owned),
            1 => "[ -~]{0,8}",
        ], 0..8),
        query in "[ -~]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..40),
        content in "[ -~]{0,20}",
    ) {
        let uri = format!("/{}?{query}&timeoutSeconds=0", parts.join("/").replace(' ', "%20"));
        let server = server();
        RUNTIME.block_on(async {
            // A watch has no end that could be waited for.
            if !uri.contains("watch") {
                answered(&server, method, &uri.replace(' ', "%20"), &content, body).await?;
            }
            goes_on(&server).await
        })?;
    }

    #[test]
    fn any_bytes_are_answered(
        content in prop::sample::select(vec!["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/apply-patch+yaml", "application/json-patch+json", "application/strategic-merge-patch+json"]),
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), "[\\[\\]{}\":,&*!|> a-c0-9\n-]{0,60}".prop_map(String::into_bytes)],
        magic in any::<bool>(),
    ) {
        let mut body = if magic { b"k8s\0".to_vec() } else { Vec::new() };
        body.extend(bytes);
        let server = server();
        RUNTIME.block_on(async {
            clear(&server, &format!("{CONFIGMAPS}/a")).await?;
            answered(&server, "POST", CONFIGMAPS, content, body.clone()).await?;
            answered(&server, "PATCH", &format!("{CONFIGMAPS}/a?fieldManager=m"), content, body.clone()).await?;
            answered(&server, "DELETE", &format!("{CONFIGMAPS}/a"), content, body).await?;
            goes_on(&server).await
        })?;
    }

    #[test]
    fn any_selector_is_answered(labels in "[ -~]{0,30}", fields in "[ -~]{0,30}", more in "[a-z=!<>(),. ]{0,30}", resume in "[A-Za-z0-9_=-]{0,30}") {
        let encode = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<Vec<_>>().concat();
        let server = server();
        RUNTIME.block_on(async {
            answered(&server, "POST", CONFIGMAPS, "application/json", r#"{"metadata":{"name":"a","labels":{"a":"b"}}}"#).await?;
            for query in [format!("labelSelector={}", encode(&labels)), format!("fieldSelector={}", encode(&fields)), format!("labelSelector={0}&fieldSelector={0}", encode(&more)), format!("limit=1&continue={resume}"), format!("resourceVersion={}&limit={}&timeoutSeconds={}", encode(&more), encode(&labels), encode(&fields))] {
                answered(&server, "GET", &format!("{CONFIGMAPS}?{query}"), "", Body::empty()).await?;
            }
            goes_on(&server).await
        })?;
    }

    #[test]
    fn any_object_is_answered((path, object) in bent(), again in anything(), kind in 0..4usize) {
        let server = server();
        RUNTIME.block_on(async {
            clear(&server, &format!("{path}/a")).await?;
            answered(&server, "POST", path, "application/json", object.to_string()).await?;
            answered(&server, "PUT", &format!("{path}/a"), "application/json", object.to_string()).await?;
            answered(&server, "PATCH", &format!("{path}/a?fieldManager=m&force=true"), PATCHES[3], object.to_string()).await?;
            answered(&server, "PATCH", &format!("{path}/a?fieldManager=m"), PATCHES[kind], again.to_string()).await?;
            answered(&server, "GET", path, "", Body::empty()).await?;
            goes_on(&server).await
        })?;
    }

    #[test]
    fn any_patch_is_answered(
        patch in anything(),
        pointers in prop::collection::vec(prop_oneof![prop::collection::vec(word(), 0..6).prop_map(|w| format!("/{}", w.join("/"))), any::<String>()], 2),
        op in prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "sing"]),
        fields in anything(),
    ) {
        let server = server();
        RUNTIME.block_on(async {
            let deployment = json!({"metadata": {"name": "a", "finalizers": ["x.test/a"]}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
            clear(&server, &format!("{DEPLOYMENTS}/a")).await?;
            answered(&server, "POST", DEPLOYMENTS, "application/json", deployment.to_string()).await?;
            let one = format!("{DEPLOYMENTS}/a");
            let step = json!([{"op": op, "path": pointers[0], "from": pointers[1], "value": patch}]);
            answered(&server, "PATCH", &one, PATCHES[0], step.to_string()).await?;
            answered(&server, "PATCH", &format!("{one}/scale"), PATCHES[0], step.to_string()).await?;
            let spec = json!({"spec": {"template": {"spec": {"containers": patch.clone()}}}});
            answered(&server, "PATCH", &one, PATCHES[2], spec.to_string()).await?;
            answered(&server, "PATCH", &one, PATCHES[2], patch.to_string()).await?;
            let managed = json!({"metadata": {"managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields}]}});
            answered(&server, "PATCH", &one, PATCHES[1], managed.to_string()).await?;
            let applied = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 3}});
            answered(&server, "PATCH", &format!("{one}?fieldManager=m&force=true"), PATCHES[3], applied.to_string()).await?;
            goes_on(&server).await
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_definition_is_answered(schema in schema(), instances in prop::collection::vec(anything(), 3), columns in expression()) {
        let server = server();
        RUNTIME.block_on(async {
            answered(&server, "DELETE", &format!("{CRDS}/things.x.test"), "", Body::empty()).await?;
            let root = json!({"type": "object", "properties": {"spec": schema}});
            let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": root}, "additionalPrinterColumns": [{"name": "c", "type": "string", "jsonPath": format!(".spec{columns}")}]});
            let mut definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.x.test"},
                "spec": {"group": "x.test", "scope": "Cluster", "versions": [version], "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}},
            });
            let (code, _) = answered(&server, "POST", CRDS, "application/json", definition.to_string()).await?;
            if code != 201 {
                // Most fail for their columns; the schema is to be tried, too.
                definition["spec"]["versions"][0].as_object_mut().unwrap().remove("additionalPrinterColumns");
                answered(&server, "POST", CRDS, "application/json", definition.to_string()).await?;
            }
            let things = "/apis/x.test/v1/things";
            for spec in instances {
                let thing = json!({"apiVersion": "x.test/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec});
                answered(&server, "POST", things, "application/json", thing.to_string()).await?;
                answered(&server, "PATCH", &format!("{things}/a"), PATCHES[1], thing.to_string()).await?;
                answered(&server, "PATCH", &format!("{things}/a?fieldManager=m&force=true"), PATCHES[3], thing.to_string()).await?;
            }
            answered(&server, "GET", things, "", Body::empty()).await?;
            answered(&server, "GET", "/openapi/v3/apis/x.test/v1", "", Body::empty()).await?;
            goes_on(&server).await
        })?;
    }
}

#[tokio::test]
async fn what_is_very_deep_or_grows_when_it_is_read_is_refused() {
    let server = Server::in_memory(Arc::new(SystemClock));
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    // Each line names the one before ten times.
    let mut growing = "a0: &a0 x\n".to_owned();
    for n in 1..20 {
        let all = vec![format!("*a{}", n - 1); 10].join(", ");
        growing = format!("{growing}a{n}: &a{n} [{all}]\n");
    }
    let bodies = [
        ("application/json", deep("[", "]")),
        ("application/json", deep("{\"a\":", "}")),
        ("application/yaml", deep("[", "]")),
        ("application/yaml", deep("{a: ", "}")),
        ("application/yaml", growing.clone()),
        ("application/apply-patch+yaml", growing),
        ("application/merge-patch+json", deep("{\"a\":", "}")),
        ("application/json-patch+json", deep("[", "]")),
    ];
    for (content, body) in bodies {
        for (method, path) in [
            ("POST", CONFIGMAPS.to_owned()),
            ("PATCH", format!("{CONFIGMAPS}/a?fieldManager=m")),
        ] {
            let (code, told) = ask(&server, request(method, &path, content, body.clone()).unwrap()).await;
            assert!((400..500).contains(&code), "{content} {code} {told}");
        }
    }
}
