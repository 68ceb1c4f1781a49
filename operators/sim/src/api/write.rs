//! Create, replace, patch, apply: how a request becomes a new version of an object.

use std::sync::Arc;

use kube::core::Status;
use kube::core::response::StatusCause;
use serde_json::{Value, json};

use super::admission::{self, Unknown};
use super::managed::{self, Write};
use super::managers;
use super::resource::Resource;
use super::state::{Caller, State};
use super::{Key, object, refusal, seconds, typed};

/// A write request, but for what it writes.
pub(super) struct Request<'a> {
    pub(super) caller: Caller,
    /// The field manager.
    pub(super) manager: &'a str,
    pub(super) unknown: Unknown,
    pub(super) dry_run: bool,
    /// `status`, or empty.
    pub(super) subresource: &'a str,
}

/// What a write led to.
pub(super) struct Written {
    pub(super) object: Arc<Value>,
    pub(super) created: bool,
}

impl<'a> Request<'a> {
    /// A request of a controller of the server, or of a model.
    pub(super) fn of(caller: &'a Caller) -> Self {
        Self {
            caller: caller.clone(),
            manager: &caller.actor,
            unknown: Unknown::Refuse,
            dry_run: false,
            subresource: "",
        }
    }

    fn write<'r>(&'r self, resource: &'r Resource, version: &'r str) -> Write<'r> {
        Write {
            manager: self.manager,
            version,
            subresource: self.subresource,
            now: self.caller.now,
            at: resource.schema.root(),
            has_status: resource.status,
            is_custom: resource.is_custom(),
        }
    }
}

impl State {
    /// The kind of a key.
    pub(super) fn resource(&self, name: &str) -> Result<Arc<Resource>, Status> {
        let resource = self.resources.get(name).cloned();
        resource.ok_or_else(|| {
            Status::failure("the server could not find the requested resource", "NotFound").with_code(404)
        })
    }

    /// The kind of an object.
    pub(super) fn resource_of(&self, object: &Value) -> Result<Arc<Resource>, Status> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let resource = self.resources.of_kind(text("apiVersion"), text("kind")).cloned();
        resource.ok_or_else(|| {
            let what = format!(
                "no matches for kind {:?} in version {:?}",
                text("kind"),
                text("apiVersion")
            );
            Status::failure(&what, "NotFound").with_code(404)
        })
    }

    /// Creates an object for a controller of the server, or for a model.
    pub(super) fn create_as(&mut self, caller: &Caller, object: Value) -> Result<Arc<Value>, Status> {
        let resource = self.resource_of(&object)?;
        let namespace = object::namespace(&object).map(str::to_owned);
        self.create(&Request::of(caller), &resource, namespace.as_deref(), object)
    }

    pub(super) fn create(
        &mut self,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        identify(resource, namespace, None, &mut object)?;
        if !object::resource_version(&object).is_empty() {
            return Err(refusal::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        admission::decode(resource, &mut object, request.unknown)?;
        self.name(&mut object);
        self.begin(request, &mut object);
        let version = resource.api_version();
        managed::update(&Value::Null, &mut object, request.write(resource, &version));
        self.store_new(request, resource, object)
    }

    /// What the server alone sets on a new object.
    fn begin(&mut self, request: &Request<'_>, object: &mut Value) {
        let uid = self.new_uid();
        if let Some(metadata) = object::metadata(object) {
            for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
                metadata.remove(field);
            }
            metadata.insert("uid".into(), json!(uid));
            metadata.insert("creationTimestamp".into(), json!(seconds(request.caller.now)));
        }
    }

    /// Makes up a name after `generateName`.
    fn name(&mut self, object: &mut Value) {
        let prefix = object::text(object, "generateName").to_owned();
        if object::name(object).is_empty() && !prefix.is_empty() {
            object["metadata"]["name"] = json!(format!("{prefix}{:05x}", self.revision() + 1));
        }
    }

    fn store_new(
        &mut self,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        let key = Key::new(
            &resource.name(),
            object::namespace(&object),
            object::name(&object),
        );
        self.accepts(resource, &key)?;
        self.admit_new(resource, &mut object)?;
        self.validate(resource, None, &object)?;
        if self.get(&key).is_some() {
            return Err(refusal::already_exists(resource, &key.name));
        }
        if request.dry_run {
            return Ok(Arc::new(object));
        }
        Ok(self.store(&request.caller, &key, object))
    }

    /// Whether the namespace takes new objects.
    fn accepts(&self, resource: &Resource, key: &Key) -> Result<(), Status> {
        let Some(namespace) = &key.namespace else {
            return Ok(());
        };
        let found = self.get(&Key::new("namespaces", None, namespace));
        let Some(found) = found else {
            let namespaces = self.resource("namespaces")?;
            return Err(refusal::not_found(&namespaces, namespace));
        };
        if !object::is_deleting(found) {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = StatusCause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        };
        Err(refusal::forbidden(resource, &key.name, &why, vec![cause]))
    }

    /// Puts `object` in the place of the one that is there; some kinds are created when there is none.
    pub(super) fn replace(
        &mut self,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        key: &Key,
        mut object: Value,
    ) -> Result<Written, Status> {
        identify(resource, key.namespace.as_deref(), Some(&key.name), &mut object)?;
        admission::decode(resource, &mut object, request.unknown)?;
        let Some(live) = self.get(key).cloned() else {
            if !is_created_by_replace(resource) || request.subresource == "status" {
                return Err(refusal::not_found(resource, &key.name));
            }
            let uid = object::uid(&object).to_owned();
            if !uid.is_empty() {
                return Err(refusal::conflict(
                    resource,
                    &key.name,
                    &precondition_failed(&uid, ""),
                ));
            }
            if let Some(metadata) = object::metadata(&mut object) {
                metadata.remove("resourceVersion");
            }
            let object = self.create(request, resource, key.namespace.as_deref(), object)?;
            return Ok(Written {
                object,
                created: true,
            });
        };
        let (uid, wanted) = (object::uid(&live), object::uid(&object));
        if !wanted.is_empty() && wanted != uid {
            return Err(refusal::conflict(
                resource,
                &key.name,
                &precondition_failed(wanted, uid),
            ));
        }
        let version = resource.api_version();
        managed::update(&live, &mut object, request.write(resource, &version));
        self.store_changed(request, resource, key, &live, object)
    }

    /// Merges a JSON merge patch into an object.
    pub(super) fn patch(
        &mut self,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        key: &Key,
        patch: &Value,
    ) -> Result<Written, Status> {
        let Some(live) = self.get(key).cloned() else {
            return Err(refusal::not_found(resource, &key.name));
        };
        let mut object = (*live).clone();
        merge(&mut object, patch);
        identify(resource, key.namespace.as_deref(), Some(&key.name), &mut object)?;
        admission::decode(resource, &mut object, request.unknown)?;
        let version = resource.api_version();
        managed::update(&live, &mut object, request.write(resource, &version));
        self.store_changed(request, resource, key, &live, object)
    }

    /// Server-side apply.
    pub(super) fn apply(
        &mut self,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        key: &Key,
        mut config: Value,
        force: bool,
    ) -> Result<Written, Status> {
        identify(resource, key.namespace.as_deref(), Some(&key.name), &mut config)?;
        if config.pointer("/metadata/managedFields").is_some() {
            return Err(refusal::bad_request("metadata.managedFields must be nil"));
        }
        check_config(resource, key, &config)?;
        let version = resource.api_version();
        let live = self.get(key).cloned();
        if live.is_none() && request.subresource == "status" {
            return Err(refusal::not_found(resource, &key.name));
        }
        let base = live.as_deref().unwrap_or(&Value::Null);
        let write = request.write(resource, &version);
        let mut object = managed::apply(base, &config, write, force)
            .map_err(|conflicts| refusal::apply_conflict(&conflicts))?;
        admission::decode(resource, &mut object, Unknown::Drop)?;
        if let Some(live) = live {
            return self.store_changed(request, resource, key, &live, object);
        }
        let uid = object::uid(&object);
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(refusal::conflict(resource, &key.name, &why));
        }
        if let Some(metadata) = object::metadata(&mut object) {
            metadata.remove("resourceVersion");
        }
        self.begin(request, &mut object);
        let object = self.store_new(request, resource, object)?;
        Ok(Written {
            object,
            created: true,
        })
    }

    /// Puts a pod on a node.
    pub(super) fn bind(&mut self, request: &Request<'_>, key: &Key, binding: &Value) -> Result<(), Status> {
        let node = binding.pointer("/target/name").cloned().unwrap_or_default();
        self.change(request, key, |pod| pod["spec"]["nodeName"] = node)
            .map(|_| ())
    }

    /// Changes an object in place, or its status, for a model.
    pub(super) fn change(
        &mut self,
        request: &Request<'_>,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Status> {
        let resource = self.resource(&key.resource)?;
        let Some(live) = self.get(key).cloned() else {
            return Err(refusal::not_found(&resource, &key.name));
        };
        let mut object = (*live).clone();
        change(&mut object);
        if object == *live {
            return Ok(live);
        }
        admission::decode(&resource, &mut object, request.unknown)?;
        let version = resource.api_version();
        managed::update(&live, &mut object, request.write(&resource, &version));
        let written = self.store_changed(request, &resource, key, &live, object)?;
        Ok(written.object)
    }

    fn store_changed(
        &mut self,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        key: &Key,
        live: &Arc<Value>,
        mut object: Value,
    ) -> Result<Written, Status> {
        let (seen, latest) = (object::resource_version(&object), object::resource_version(live));
        if seen.is_empty() {
            if !is_replaced_unseen(resource) {
                let why = "must be specified for an update";
                let error = refusal::FieldError::invalid("metadata.resourceVersion", "0", why);
                return Err(refusal::invalid(resource, &key.name, &[error]));
            }
        } else if seen != latest {
            return Err(refusal::modified(resource, &key.name));
        }
        keep_system_fields(live, &mut object);
        if request.subresource == "status" {
            object = with_status(live, object);
        } else {
            self.admit_update(resource, live, &mut object)?;
        }
        self.validate(resource, Some(live), &object)?;
        if same(live, &object) && !(is_stored_short(resource) && self.is_new(live)) {
            return Ok(Written {
                object: live.clone(),
                created: false,
            });
        }
        if request.dry_run {
            return Ok(Written {
                object: Arc::new(object),
                created: false,
            });
        }
        let finished = object::is_deleting(live)
            && object::finalizers(&object).is_empty()
            && object::grace(live).is_none()
            && key.resource != "namespaces";
        if finished {
            self.remove(&request.caller, key);
            return Ok(Written {
                object: Arc::new(object),
                created: false,
            });
        }
        let object = self.store(&request.caller, key, object);
        Ok(Written {
            object,
            created: false,
        })
    }
}

/// Checks that an object is what the request says, and completes it.
fn identify(
    resource: &Resource,
    namespace: Option<&str>,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), Status> {
    let version = resource.api_version();
    let text = |object: &Value, field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (given_version, given_kind) = (text(object, "apiVersion"), text(object, "kind"));
    if !given_version.is_empty() && given_version != version {
        return Err(refusal::bad_request(&format!(
            "the API version in the data ({given_version}) does not match the expected API version ({version})"
        )));
    }
    if !given_kind.is_empty() && given_kind != resource.kind {
        let expected = &resource.kind;
        return Err(refusal::bad_request(&format!(
            "the kind in the data ({given_kind}) does not match the expected kind ({expected})"
        )));
    }
    if !object.is_object() {
        return Err(refusal::bad_request("the body of the request is no object"));
    }
    object["apiVersion"] = json!(version);
    object["kind"] = json!(resource.kind);
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match (object::namespace(object), namespace) {
        (Some(given), Some(wanted)) if given != wanted => {
            return Err(refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        (_, Some(namespace)) => object["metadata"]["namespace"] = json!(namespace),
        (_, None) => {
            if let Some(metadata) = object::metadata(object) {
                metadata.remove("namespace");
            }
        }
    }
    if let Some(name) = name {
        let given = object::name(object);
        if !given.is_empty() && given != name {
            return Err(refusal::bad_request(&format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        object["metadata"]["name"] = json!(name);
    }
    Ok(())
}

/// What is applied must fit the schema field by field.
fn check_config(resource: &Resource, key: &Key, config: &Value) -> Result<(), Status> {
    let Some(why) = typed::unfit(config, resource.schema.root()) else {
        return Ok(());
    };
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let version = resource.api_version();
    let version = if resource.group.is_empty() {
        format!("/{version}")
    } else {
        version
    };
    Err(refusal::unfit(&format!(
        "failed to create typed patch object ({namespace}/{}; {version}, Kind={}): {why}",
        key.name, resource.kind
    )))
}

fn precondition_failed(wanted: &str, found: &str) -> String {
    format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}")
}

/// What an update cannot change, whatever it says.
fn keep_system_fields(live: &Value, object: &mut Value) {
    let had_uid = !object::uid(object).is_empty();
    let kept = |field: &str| {
        live.get("metadata")
            .and_then(|metadata| metadata.get(field))
            .cloned()
    };
    let Some(metadata) = object::metadata(object) else {
        return;
    };
    let mut keep = |field: &str| {
        match kept(field) {
            Some(value) => metadata.insert(field.into(), value),
            None => metadata.remove(field),
        };
    };
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ] {
        keep(field);
    }
    if !had_uid {
        keep("uid");
    }
}

/// A write of the status changes the status, and who owns it.
fn with_status(live: &Value, object: Value) -> Value {
    let mut kept = live.clone();
    admission::set(&mut kept, "status", object.get("status").cloned());
    managers::clear(&mut kept);
    if let Some(fields) = object.pointer("/metadata/managedFields") {
        kept["metadata"]["managedFields"] = fields.clone();
    }
    kept
}

/// Kinds of which the server stores a new object without defaults that it adds when it reads it: the first write after
/// the creation is one, whatever it says.
fn is_stored_short(resource: &Resource) -> bool {
    matches!(
        resource.name().as_str(),
        "namespaces" | "persistentvolumeclaims" | "jobs.batch"
    )
}

/// Whether two versions of an object differ in nothing but when somebody came to own fields.
fn same(one: &Value, other: &Value) -> bool {
    same_but(one, other, "metadata", |one, other| {
        same_but(one, other, "managedFields", |one, other| {
            let entries = |value: &'_ Value| value.as_array().map(Vec::len);
            entries(one) == entries(other)
                && one
                    .as_array()
                    .into_iter()
                    .flatten()
                    .zip(other.as_array().into_iter().flatten())
                    .all(|(one, other)| same_but(one, other, "time", |_, _| true))
        })
    })
}

/// Whether two maps are the same but for one field, which is compared in its own way.
fn same_but(one: &Value, other: &Value, field: &str, compare: impl Fn(&Value, &Value) -> bool) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
        return one == other;
    };
    let rest = |map: &'_ serde_json::Map<String, Value>| map.len() - usize::from(map.contains_key(field));
    let absent = Value::Null;
    rest(one) == rest(other)
        && one
            .iter()
            .all(|(name, value)| name == field || other.get(name) == Some(value))
        && compare(
            one.get(field).unwrap_or(&absent),
            other.get(field).unwrap_or(&absent),
        )
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Kinds that a PUT creates when there is none.
fn is_created_by_replace(resource: &Resource) -> bool {
    matches!(
        resource.plural.as_str(),
        "services"
            | "leases"
            | "events"
            | "endpoints"
            | "limitranges"
            | "roles"
            | "rolebindings"
            | "clusterroles"
            | "clusterrolebindings"
    )
}

/// Kinds that a PUT without resourceVersion replaces.
fn is_replaced_unseen(resource: &Resource) -> bool {
    !resource.is_custom()
        && !matches!(
            resource.plural.as_str(),
            "leases" | "poddisruptionbudgets" | "customresourcedefinitions" | "runtimeclasses" | "csidrivers"
        )
}
