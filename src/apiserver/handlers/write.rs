//! Making and changing objects. One loop for all writes: take the object as it is, make the new one, check, store,
//! and start over if somebody else came first.

use std::sync::Arc;

use axum::response::Response;
use serde_json::Value;

use super::super::admission::{Asked, Operation};
use super::super::authorize::nodes::restriction::{self, Write};
use super::super::authorize::{escalation, signers};
use super::super::builtin::{Part, ResourceInfo, ScalePaths};
use super::super::certificates;
use super::super::conversion::is_stored_as_it_should;
use super::super::front::visit::Named;
use super::super::object::meta;
use super::super::request::RequestInfo;
use super::super::schema::FieldError;
use super::super::ssa::{self, Manager};
use super::super::status::ApiError;
use super::super::store::{Change, Expect, Key, Stored};
use super::super::{CRDS, Server};
use super::options::{WriteKind, WriteOptions};
use super::{ATTEMPTS, Call, body, delete, load, render, scale, to_stored, write_error};

/// Certificate requests, in the store.
pub(crate) const SIGNING_REQUESTS: &str = "certificatesigningrequests.certificates.k8s.io";
/// Tries to find a free generated name.
const NAME_ATTEMPTS: usize = 8;

/// What a write left.
pub(crate) struct Written {
    pub(crate) left: Left,
    pub(crate) created: bool,
}

/// An object after a write.
pub(crate) enum Left {
    /// As it is stored.
    Stored(Arc<Stored>),
    /// As it would be, or would have been.
    Value(Value),
}

impl Left {
    /// Returns the object in the form of `info`'s version.
    pub(crate) fn value(&self, info: &ResourceInfo) -> Value {
        match self {
            Self::Stored(stored) => load(info, stored),
            Self::Value(object) => object.clone(),
        }
    }
}

/// Which part of an object a write is for, as field managers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) part: Part,
    /// Empty, `status` or `scale`.
    pub(crate) subresource: &'static str,
    /// Whether the server itself has put the new state together: then nothing is taken back from the old one.
    pub(crate) as_is: bool,
}

impl Target {
    pub(crate) const MAIN: Self = Self {
        part: Part::Main,
        subresource: "",
        as_is: false,
    };
    pub(crate) const STATUS: Self = Self {
        part: Part::Status,
        subresource: "status",
        as_is: false,
    };
    pub(crate) const SCALE: Self = Self {
        part: Part::Main,
        subresource: "scale",
        as_is: false,
    };

    pub(crate) const AS_IS: Self = Self {
        part: Part::Main,
        subresource: "",
        as_is: true,
    };

    /// The conditions of a certificate request; nothing outside of the status.
    pub(crate) const APPROVAL: Self = Self {
        part: Part::Approval,
        subresource: "approval",
        as_is: false,
    };

    /// The request for a token; nothing of it is stored.
    pub(crate) const TOKEN: Self = Self {
        part: Part::Main,
        subresource: "token",
        as_is: false,
    };

    /// Returns the target of a path's subresource, if it is one of those.
    pub(crate) fn of(subresource: &str) -> Self {
        match subresource {
            "status" => Self::STATUS,
            "approval" => Self::APPROVAL,
            _ => Self::MAIN,
        }
    }
}

/// Records in `new` who manages which of its fields.
pub(crate) fn track(call: &Call, target: Target, given: &str, live: Option<&Value>, new: &mut Value) {
    track_of(call, &call.info, target, given, live, new);
}

/// The same for an object of another kind than that of the path.
pub(crate) fn track_of(
    call: &Call,
    info: &ResourceInfo,
    target: Target,
    given: &str,
    live: Option<&Value>,
    new: &mut Value,
) {
    let (name, api_version) = (call.manager(given), info.api_version());
    let manager = Manager {
        name: &name,
        api_version: &api_version,
        subresource: target.subresource,
    };
    let reset = info.reset_fields(target.part);
    let reset: Vec<&[&str]> = reset.iter().map(Vec::as_slice).collect();
    let zero;
    let live = if let Some(live) = live {
        live
    } else {
        zero = info.zero_object();
        &zero
    };
    ssa::track_update(
        Some(live),
        new,
        &manager,
        info.schema(),
        &reset,
        call.server.now(),
    );
}

/// POST on a collection.
pub(crate) async fn create(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let mut object = body::object(call, options.validation)?;
    check_namespace(call, &mut object)?;
    track(call, Target::MAIN, &options.manager, None, &mut object);
    let made = create_object(call, object, &options).await?;
    let mut response = render::answer_left(call, 201, &made, form);
    if let Left::Stored(stored) = &made {
        let name = Named(stored.key.name.to_string());
        response.extensions_mut().insert(name);
    }
    Ok(response)
}

/// Makes an object that has been read and whose fields have their managers.
pub(crate) async fn create_object(
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Left, ApiError> {
    let (server, info) = (&call.server, &*call.info);
    server.admit_to_namespace(info, &call.path.namespace, meta::name(&object))?;
    restriction::check(call, Write::Create(&object))?;
    let given = meta::name(&object).to_owned();
    let asked = Asked {
        call,
        operation: Operation::Create,
        options,
        name: &given,
    };
    object = asked.mutate(object, None).await?;
    check_namespace(call, &mut object)?;
    escalation::check(call, &object, None)?;
    if !matches!(meta::text(&object, "resourceVersion"), "" | "0") {
        return Err(ApiError::plain_500(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    meta::of_mut(&mut object).remove("resourceVersion");
    let prefix = meta::text(&object, "generateName").to_owned();
    let generate = meta::name(&object).is_empty() && !prefix.is_empty();
    let mut tries = if generate { NAME_ATTEMPTS } else { 1 };
    loop {
        let mut new = if tries > 1 {
            object.clone()
        } else {
            std::mem::take(&mut object)
        };
        if generate {
            meta::set(
                &mut new,
                "name",
                &meta::generated_name(&prefix, rand::random::<u32>),
            );
        }
        if info.storage_group_resource == SIGNING_REQUESTS {
            say_who_asks(call, &mut new);
        }
        prepare(server, info, &mut new)?;
        signers::check_subject(call, &new)?;
        let name = meta::name(&new).to_owned();
        // Now a name that had to be made is there.
        Asked { name: &name, ..asked }.validate(&new, None).await?;
        if options.dry_run {
            return match server
                .store()
                .get(&info.storage_group_resource, &call.path.namespace, &name)
            {
                Some(there) => Err(ApiError::already_exists(info, &name, there.deleting)),
                None => Ok(Left::Value(new)),
            };
        }
        let key = Key::new(&info.storage_group_resource, &call.path.namespace, &name);
        match server
            .commit(
                key,
                Expect::Absent,
                Change::Put(to_stored(server, info, new).await?),
            )
            .await
        {
            Ok(stored) => return Ok(Left::Stored(server.present(info, stored).await?)),
            Err(error) => write_error(error)?,
        }
        tries -= 1;
        let there = server
            .store()
            .get(&info.storage_group_resource, &call.path.namespace, &name);
        if tries == 0 {
            return Err(ApiError::already_exists(
                info,
                &name,
                there.is_some_and(|t| t.deleting),
            ));
        }
    }
}

/// A certificate request says who made it, whatever its maker says.
fn say_who_asks(call: &Call, object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        let user = &call.user;
        spec.insert("username".to_owned(), user.name.clone().into());
        spec.insert("groups".to_owned(), user.groups.clone().into());
        if !user.uid.is_empty() {
            spec.insert("uid".to_owned(), user.uid.clone().into());
        }
        if !user.extra.is_empty() {
            spec.insert("extra".to_owned(), serde_json::json!(user.extra));
        }
    }
}

/// Brings a new object into its first state and checks it.
fn prepare(server: &Server, info: &ResourceInfo, object: &mut Value) -> Result<(), ApiError> {
    if info.custom
        && let Some(name) = &info.crd_name
        && server.store().get(CRDS, "", name).is_some_and(|d| d.deleting)
    {
        return Err(ApiError::method_not_allowed());
    }
    meta::prepare_new(object, server.now(), &uuid::Uuid::new_v4().to_string());
    info.prepare_create(object);
    let mut errors = type_errors(info, object);
    errors.extend(info.validate_create(object));
    if errors.is_empty() {
        Ok(())
    } else {
        Err(invalid(info, object, &errors))
    }
}

/// A custom resource may come with any kind: this says which it must have.
fn type_errors(info: &ResourceInfo, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if info.custom {
        let (kind, version) = (
            object["kind"].as_str().unwrap_or_default(),
            object["apiVersion"].as_str().unwrap_or_default(),
        );
        if kind != info.kind {
            errors.push(FieldError::invalid(
                "kind",
                kind,
                format!("must be {}", info.kind),
            ));
        }
        if version != info.api_version() {
            errors.push(FieldError::invalid(
                "apiVersion",
                version,
                format!("must be {}", info.api_version()),
            ));
        }
    }
    errors
}

fn invalid(info: &ResourceInfo, object: &Value, errors: &[FieldError]) -> ApiError {
    let kind = object["kind"].as_str().unwrap_or(&info.kind);
    ApiError::invalid_kind(&info.group, kind, meta::name(object), errors)
}

/// Checks that the namespace in an object is that of the path, and fills it in.
pub(crate) fn check_namespace(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let wanted = &call.path.namespace;
    let given = meta::namespace(object);
    if !given.is_empty() && given != wanted && call.info.namespaced {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    if call.info.namespaced {
        meta::set(object, "namespace", wanted);
    }
    Ok(())
}

/// Checks that the name and namespace in an object are those of the path.
pub(crate) fn check_name(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let wanted = &call.path.name;
    let given = meta::name(object);
    if given.is_empty() {
        let message = format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        );
        return Err(ApiError::bad_request(message));
    }
    if given != wanted {
        let message =
            format!("the name of the object ({given}) does not match the name on the URL ({wanted})");
        return Err(ApiError::bad_request(message));
    }
    check_namespace(call, object)
}

/// PUT on an object or its status.
pub(crate) async fn update(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let options = WriteOptions::parse(&call.query, WriteKind::Update)?;
    let mut object = body::object(call, options.validation)?;
    check_name(call, &mut object)?;
    let target = Target::of(&call.path.subresource);
    let uid = meta::text(&object, "uid").to_owned();
    let may_create = call.info.create_on_update && target == Target::MAIN;
    let written = guaranteed(call, target, &options, may_create, &uid, |live| {
        let mut new = object.clone();
        track(call, target, &options.manager, live, &mut new);
        Ok(new)
    })
    .await?;
    let code = if written.created { 201 } else { 200 };
    Ok(render::answer_left(call, code, &written.left, form))
}

/// Changes an object until that has happened on its newest version. `make` gets the object as it is (nothing if it is
/// not there) and returns the new one with its managed fields; `uid`, if not empty, is that of the object meant.
pub(crate) async fn guaranteed(
    call: &Call,
    target: Target,
    options: &WriteOptions,
    may_create: bool,
    uid: &str,
    make: impl Fn(Option<&Value>) -> Result<Value, ApiError> + Send + Sync,
) -> Result<Written, ApiError> {
    let (server, info, path) = (&call.server, &*call.info, &call.path);
    for _ in 0..ATTEMPTS {
        let stored = server
            .store()
            .get(&info.storage_group_resource, &path.namespace, &path.name);
        let as_it_should = stored.as_deref().is_none_or(|s| is_stored_as_it_should(info, s));
        let stored = match stored {
            Some(stored) => Some(server.present(info, stored).await?),
            None => None,
        };
        let live = stored.as_ref().map(|s| load(info, s));
        if live.is_some() || may_create {
            check_uid(call, uid, live.as_ref(), options.dry_run)?;
        }
        let (Some(stored), Some(live)) = (stored, live) else {
            if !may_create {
                return Err(ApiError::not_found(info, &path.name));
            }
            let mut object = make(None)?;
            parse_version(meta::text(&object, "resourceVersion"))?;
            meta::of_mut(&mut object).remove("resourceVersion");
            check_may_create(call)?;
            let object = create_object(call, object, options).await;
            match object {
                // Somebody made it meanwhile: then it is an update.
                Err(error)
                    if error.code() == 409
                        && server
                            .store()
                            .get(&info.storage_group_resource, &path.namespace, &path.name)
                            .is_some() =>
                {
                    continue;
                }
                left => {
                    return Ok(Written {
                        left: left?,
                        created: true,
                    });
                }
            }
        };
        let mut new = make(Some(&live))?;
        restriction::check(call, Write::Update(&new, &live))?;
        let subject = Subject::of(call, target);
        let asked = Asked {
            call,
            operation: Operation::Update,
            options,
            name: &path.name,
        };
        new = subject.mutate(asked, new, &live).await?;
        escalation::check(call, &new, Some(&live))?;
        signers::check(call, &new, &live)?;
        check_version(info, &path.name, &mut new, stored.version)?;
        if info.storage_group_resource == SIGNING_REQUESTS && target.part != Part::Main {
            certificates::fill_times(&mut new, &live, server.now());
        }
        for forgiven in finish(info, target, &mut new, &live)? {
            call.warn_also(&forgiven.to_string());
        }
        subject.validate(asked, &new, &live).await?;
        if options.dry_run || (as_it_should && is_unchanged(&new, &live, stored.empties())) {
            let left = if options.dry_run {
                Left::Value(new)
            } else {
                Left::Stored(stored)
            };
            return Ok(Written { left, created: false });
        }
        // Who watches sees what is removed as it was stored last; who writes sees what was written.
        let (change, removed) = if delete::is_done(&new) {
            (Change::Delete(to_stored(server, info, live).await?), Some(new))
        } else {
            (Change::Put(to_stored(server, info, new).await?), None)
        };
        match server
            .commit(stored.key.clone(), Expect::Version(stored.version), change)
            .await
        {
            Ok(stored) => {
                let left = match removed {
                    Some(object) => Left::Value(object),
                    None => Left::Stored(server.present(info, stored).await?),
                };
                return Ok(Written { left, created: false });
            }
            Err(error) => write_error(error)?,
        }
    }
    Err(ApiError::modified(info, &path.name))
}

/// Who may change an object needs the right to make it, too, where it is not there.
fn check_may_create(call: &Call) -> Result<(), ApiError> {
    let path = &call.path;
    let what = RequestInfo {
        is_resource: true,
        verb: "create".to_owned(),
        group: path.group.clone(),
        version: path.version.clone(),
        namespace: path.namespace.clone(),
        resource: path.resource.clone(),
        name: path.name.clone(),
        ..RequestInfo::default()
    };
    call.server.authorize(&call.user, &what)
}

/// What is asked about when an object is changed.
enum Subject<'a> {
    /// The object.
    Object,
    /// Its scale.
    Scale(&'a ScalePaths),
    /// Nothing: what the request brought has been asked about.
    Nothing,
}

impl<'a> Subject<'a> {
    fn of(call: &'a Call, target: Target) -> Self {
        match (
            &call.info.scale,
            target.subresource,
            call.path.subresource.as_str(),
        ) {
            (Some(paths), "scale", _) => Self::Scale(paths),
            (_, _, "binding") => Self::Nothing,
            _ => Self::Object,
        }
    }

    async fn mutate(&self, asked: Asked<'_>, new: Value, live: &Value) -> Result<Value, ApiError> {
        match self {
            Self::Nothing => Ok(new),
            Self::Object => asked.mutate(new, Some(live)).await,
            Self::Scale(paths) => {
                let info = &asked.call.info;
                if !asked.mutates() {
                    return Ok(new);
                }
                let (shown, before) = (scale::show(info, paths, &new)?, scale::show(info, paths, live)?);
                let changed = asked.mutate(shown.clone(), Some(&before)).await?;
                let mut new = new;
                if changed["spec"] != shown["spec"] {
                    scale::put(
                        &mut new,
                        &paths.spec_replicas,
                        scale::replicas_of(&changed).into(),
                    );
                }
                Ok(new)
            }
        }
    }

    async fn validate(&self, asked: Asked<'_>, new: &Value, live: &Value) -> Result<(), ApiError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Object => asked.validate(new, Some(live)).await,
            Self::Scale(paths) => {
                let info = &asked.call.info;
                if !asked.validates() {
                    return Ok(());
                }
                let (shown, before) = (scale::show(info, paths, new)?, scale::show(info, paths, live)?);
                asked.validate(&shown, Some(&before)).await
            }
        }
    }
}

fn check_uid(call: &Call, uid: &str, live: Option<&Value>, dry_run: bool) -> Result<(), ApiError> {
    let found = live.map_or("", |l| meta::text(l, "uid"));
    if uid.is_empty() || uid == found {
        return Ok(());
    }
    let (info, path) = (&*call.info, &call.path);
    // Where the object would be in etcd; what only tries a write out leaves the root away.
    let root = if dry_run { "" } else { "/registry" };
    let group = if info.custom {
        format!("/{}", info.group)
    } else {
        String::new()
    };
    let namespace = if path.namespace.is_empty() {
        String::new()
    } else {
        format!("/{}", path.namespace)
    };
    let key = format!("{root}{group}/{}{namespace}/{}", info.plural, path.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
    );
    Err(ApiError::resource_conflict(info, &path.name, &why))
}

/// Says whether nothing needs to be written. `empties` are the empty maps that the last write had.
fn is_unchanged(new: &Value, live: &Value, empties: &[&str]) -> bool {
    if empties.is_empty() {
        return meta::same_content(new, live);
    }
    let mut live = live.clone();
    for field in empties {
        meta::of_mut(&mut live).insert((*field).to_owned(), Value::Object(serde_json::Map::new()));
    }
    meta::same_content(new, &live)
}

/// Returns the number of a resourceVersion, 0 if there is none.
fn parse_version(given: &str) -> Result<u64, ApiError> {
    if given.is_empty() {
        return Ok(0);
    }
    let message = || ApiError::plain_500(format!("strconv.ParseUint: parsing {given:?}: invalid syntax"));
    given.parse().map_err(|_| message())
}

/// Checks the resourceVersion that a new state comes with, and replaces it by the current one.
fn check_version(info: &ResourceInfo, name: &str, new: &mut Value, current: u64) -> Result<(), ApiError> {
    let version = parse_version(meta::text(new, "resourceVersion"))?;
    if version == 0 && !info.unconditional_update {
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(ApiError::invalid_kind(&info.group, &info.plural, name, &[error]));
    }
    if version != 0 && version != current {
        return Err(ApiError::modified(info, name));
    }
    meta::set(new, "resourceVersion", &current.to_string());
    Ok(())
}

/// Brings a changed object in line with what it was and checks it. Returns what is wrong with it as before.
fn finish(
    info: &ResourceInfo,
    target: Target,
    new: &mut Value,
    live: &Value,
) -> Result<Vec<FieldError>, ApiError> {
    let uid = meta::text(new, "uid").to_owned();
    if !target.as_is {
        info.prepare_update(new, live, target.part);
    }
    meta::keep_system_fields(new, live);
    if target.as_is {
        return Ok(Vec::new());
    }
    let mut errors = type_errors(info, new);
    // Status writes of custom resources take no metadata at all.
    if !uid.is_empty() && uid != meta::text(live, "uid") && !(info.custom && target.part == Part::Status) {
        errors.push(FieldError::invalid("metadata.uid", uid, "field is immutable"));
    }
    let verdict = info.judge_update(new, live, target.part);
    errors.extend(verdict.errors);
    if errors.is_empty() {
        Ok(verdict.forgiven)
    } else {
        Err(invalid(info, new, &errors))
    }
}
