//! Objects as we want them, objects as they are, and whether the two agree.

use std::collections::BTreeMap;

use kok_api::names;
use kok_render::sha256_hex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::kind::Kind;

/// What tells one object from all others of an API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace; None for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{} {namespace}/{}", self.kind.kind, self.name),
            None => write!(formatter, "{} {}", self.kind.kind, self.name),
        }
    }
}

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Live {
    /// Its uid: the precondition of destructive calls.
    pub uid: String,
    /// Its resource version when it was read.
    pub resource_version: String,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Hash of the manifest whose application gave exactly this resource version. The server may have
    /// normalized what we sent; applying it again would change nothing.
    pub settled: Option<String>,
    /// The object without its managed fields.
    pub body: Value,
}

impl Live {
    /// The value at a JSON pointer as text.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer).and_then(Value::as_str)
    }

    /// The value at a JSON pointer as a number; zero when absent, as Kubernetes leaves zeros out.
    pub fn number(&self, pointer: &str) -> i64 {
        self.body
            .pointer(pointer)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// A label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.body.get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.body.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }

    /// Whether a controller owns the object.
    pub fn has_controller(&self) -> bool {
        self.body
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .is_some_and(|owners| {
                owners
                    .iter()
                    .any(|owner| owner.get("controller") == Some(&json!(true)))
            })
    }

    /// Whether an owner reference names `uid`.
    pub fn owned_by(&self, uid: &str) -> bool {
        self.body
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .is_some_and(|owners| owners.iter().any(|owner| owner.get("uid") == Some(&json!(uid))))
    }
}

/// An object as we want it, ready for server-side apply.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Which object.
    pub key: ObjectKey,
    /// What we send: only fields that we own.
    #[serde(serialize_with = "without_secrets")]
    pub body: Value,
}

/// Plans are shown to people; what a Secret holds is not.
fn without_secrets<S: serde::Serializer>(body: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    let mut shown = body.clone();
    if shown.get("kind") == Some(&json!("Secret"))
        && let Some(fields) = shown.as_object_mut()
    {
        fields.remove("data");
        fields.remove("stringData");
    }
    shown.serialize(serializer)
}

/// Why a rendered document is no object that we may write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The kind is on no list.
    #[error("{kind} ({api_version}) is not among the kinds that a template may name: {allowed}")]
    Kind {
        /// `apiVersion` of the document.
        api_version: String,
        /// `kind` of the document.
        kind: String,
        /// The kinds that may be named.
        allowed: String,
    },
    /// The namespace is not the one that it may be in.
    #[error("{kind} {name} names namespace {namespace}; only {allowed} is allowed here")]
    Namespace {
        /// Kind of the document.
        kind: String,
        /// Name of the document.
        name: String,
        /// Namespace that it names.
        namespace: String,
        /// The one that is allowed.
        allowed: String,
    },
    /// Its metadata is not of the form that every object has.
    #[error("{kind} {name:?}: {field} must be {wanted}")]
    Metadata {
        /// Kind of the document.
        kind: String,
        /// Name of the document.
        name: String,
        /// The field.
        field: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
}

impl Manifest {
    /// A rendered document as an object of one of the kinds `allowed`; `namespace` is given to it when it names none.
    ///
    /// # Errors
    /// When its kind is not allowed.
    pub fn of(mut body: Value, allowed: &[Kind], namespace: &str) -> Result<Self, Refused> {
        let text = |pointer: &str| {
            body.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind_name, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let Some(kind) = allowed
            .iter()
            .find(|kind| kind.kind == kind_name && kind.api_version() == api_version)
            .copied()
        else {
            let allowed: Vec<_> = allowed.iter().map(|kind| kind.kind).collect();
            return Err(Refused::Kind {
                api_version,
                kind: kind_name,
                allowed: allowed.join(", "),
            });
        };
        if let Some((field, wanted)) = malformed_metadata(&body) {
            return Err(Refused::Metadata {
                kind: kind_name,
                name,
                field,
                wanted,
            });
        }
        let named = text("/metadata/namespace");
        let namespace = kind.namespaced.then(|| {
            if named.is_empty() {
                namespace.to_owned()
            } else {
                named
            }
        });
        if let (Some(namespace), Some(metadata)) = (&namespace, body.get_mut("metadata")) {
            metadata["namespace"] = json!(namespace);
        }
        Ok(Self {
            key: ObjectKey {
                kind,
                namespace,
                name,
            },
            body: without_nulls(body),
        })
    }

    /// Adds labels to the object.
    pub fn label(&mut self, labels: &BTreeMap<&str, &str>) {
        for (name, value) in labels {
            self.body["metadata"]["labels"][*name] = json!(value);
        }
    }

    /// The extension that it is an object of; None for the control plane's own.
    pub fn extension(&self) -> Option<&str> {
        self.body
            .get("metadata")?
            .get("labels")?
            .get(names::EXTENSION_LABEL)?
            .as_str()
    }

    /// A manifest of the same object that says nothing but its labels.
    #[must_use]
    pub fn labels_alone(&self) -> Self {
        let metadata = &self.body["metadata"];
        Self {
            key: self.key.clone(),
            body: json!({
                "apiVersion": self.body["apiVersion"],
                "kind": self.body["kind"],
                "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": metadata["labels"]},
            }),
        }
    }

    /// The same under another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        let mut manifest = self.clone();
        name.clone_into(&mut manifest.key.name);
        manifest.body["metadata"]["name"] = json!(name);
        manifest
    }

    /// Makes `owner`, an owner reference, the object's owner.
    pub fn own(&mut self, owner: &Value) {
        self.body["metadata"]["ownerReferences"] = json!([owner]);
    }

    /// Digest of the manifest as it stands.
    pub fn hash(&self) -> String {
        sha256_hex(self.body.to_string().as_bytes())
    }

    /// Writes `hash` on the object, so that the next pass sees what was applied last.
    #[must_use]
    pub fn sealed(mut self, hash: &str) -> Self {
        self.body["metadata"]["annotations"][names::APPLIED_HASH] = json!(hash);
        self
    }

    /// The hash that [`Manifest::sealed`] wrote.
    pub fn seal(&self) -> Option<&str> {
        self.body
            .get("metadata")?
            .get("annotations")?
            .get(names::APPLIED_HASH)?
            .as_str()
    }

    /// Whether `live` is as this manifest wants it.
    pub fn agrees_with(&self, live: &Live) -> bool {
        self.difference(Some(live)).is_none()
    }

    /// Why this manifest must be applied: `Missing`, or the first field that differs (its path, never its value).
    /// None when there is nothing to do.
    pub fn difference(&self, live: Option<&Live>) -> Option<String> {
        let Some(live) = live else {
            return Some("Missing".into());
        };
        if live.settled.is_some() && live.settled.as_deref() == self.seal() {
            return None;
        }
        // Items of a list come without their own kind; the key has it.
        self.body
            .as_object()?
            .iter()
            .filter(|(field, _)| !["apiVersion", "kind"].contains(&field.as_str()))
            .find_map(|(field, wanted)| {
                let live = live.body.get(field).unwrap_or(&Value::Null);
                Some(joined(field, &difference(live, wanted)?))
            })
            .map(|path| format!("{path} differs"))
    }
}

/// The first field of `metadata` that is not as every object has it, and what it must be. Labels and annotations are
/// written to later, so they must be maps.
fn malformed_metadata(body: &Value) -> Option<(&'static str, &'static str)> {
    let is_map_of_texts = |value: &Value| {
        value
            .as_object()
            .is_some_and(|map| map.values().all(Value::is_string))
    };
    let text = |pointer: &str| body.pointer(pointer).is_none_or(Value::is_string);
    let map = |pointer: &str| {
        body.pointer(pointer)
            .is_none_or(|value| value.is_null() || is_map_of_texts(value))
    };
    let name = body.pointer("/metadata/name").and_then(Value::as_str);
    if name.is_none_or(str::is_empty) {
        Some(("metadata.name", "a name"))
    } else if !text("/metadata/namespace") {
        Some(("metadata.namespace", "a name"))
    } else if !map("/metadata/labels") {
        Some(("metadata.labels", "a map of texts"))
    } else if !map("/metadata/annotations") {
        Some(("metadata.annotations", "a map of texts"))
    } else {
        None
    }
}

/// The document without nulls, which templates give for what is not set: a field that is not sent is not owned. Empty
/// maps and lists stay, since they have a meaning (`emptyDir: {}`, `ingress: []`).
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Path of the first thing in `wanted` that is not in `live`. Lists must have the same length; quantities are compared
/// by value; what is empty may be absent, as the API server leaves it out.
pub fn difference(live: &Value, wanted: &Value) -> Option<String> {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().find_map(|(key, wanted)| {
            let below = match live.get(key) {
                Some(live) => difference(live, wanted)?,
                None if is_empty(wanted) => return None,
                None => String::new(),
            };
            Some(joined(key, &below))
        }),
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => live
            .iter()
            .zip(wanted)
            .enumerate()
            .find_map(|(index, (live, wanted))| {
                let below = difference(live, wanted)?;
                Some(joined(&index.to_string(), &below))
            }),
        (Value::String(live), Value::String(wanted)) => {
            let same = live == wanted || quantity(live).is_some_and(|live| quantity(wanted) == Some(live));
            (!same).then(String::new)
        }
        _ => (live != wanted).then(String::new),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn joined(key: &str, below: &str) -> String {
    if below.is_empty() {
        key.into()
    } else {
        format!("{key}.{below}")
    }
}

/// A Kubernetes quantity in thousandths: `100m`, `1`, `1.5Gi`. None when the text is none.
pub fn quantity(text: &str) -> Option<i128> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 3 || whole.is_empty() || whole.len() > 18 {
        return None;
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse::<i128>().ok()?;
    let factor = match suffix {
        "m" => return (thousandths % 1000 == 0).then_some(thousandths / 1000),
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    Some(thousandths * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1", "1000m", true)]
    #[case("1Gi", "1024Mi", true)]
    #[case("0.5", "500m", true)]
    #[case("1G", "1Gi", false)]
    #[case("abc", "abd", false)]
    fn quantities_are_compared_by_value(#[case] live: &str, #[case] wanted: &str, #[case] same: bool) {
        assert_eq!(difference(&json!(live), &json!(wanted)).is_none(), same);
    }

    #[test]
    fn defaults_of_the_server_are_no_difference_but_an_added_list_item_is() {
        let wanted = json!({"spec": {"ports": [{"port": 1}]}});
        let found = |live: Value| difference(&live, &wanted);
        let defaulted = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "x": 1}});
        assert_eq!(found(defaulted), None);
        let longer = json!({"spec": {"ports": [{"port": 1}, {"port": 2}]}});
        assert_eq!(found(longer).as_deref(), Some("spec.ports"));
        let other = json!({"spec": {"ports": [{"port": 2}]}});
        assert_eq!(found(other).as_deref(), Some("spec.ports.0.port"));
        assert_eq!(found(json!({})).as_deref(), Some("spec"));
    }

    #[test]
    fn a_plan_that_is_shown_holds_no_secret() {
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "n"},
            "data": {"token": "c2VjcmV0"}, "stringData": {"token": "secret"}});
        let key = ObjectKey {
            kind: crate::kind::SECRET,
            namespace: None,
            name: "n".into(),
        };
        let shown = serde_json::to_string(&Manifest { key, body }).unwrap();
        assert!(shown.contains("metadata") && !shown.contains("token"), "{shown}");
    }

    #[test]
    fn only_listed_kinds_become_manifests() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
        let refused = Manifest::of(node, crate::kind::BUSINESS, "kube-system").unwrap_err();
        assert!(refused.to_string().contains("Node"));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": null});
        let manifest = Manifest::of(map, crate::kind::BUSINESS, "kube-system").unwrap();
        assert_eq!(manifest.key.namespace.as_deref(), Some("kube-system"));
        assert_eq!(manifest.body.get("data"), None);
    }

    #[rstest]
    #[case(json!({"name": "n", "labels": "oops"}), "metadata.labels")]
    #[case(json!({"name": "n", "labels": {"a": 1}}), "metadata.labels")]
    #[case(json!({"name": "n", "annotations": [1]}), "metadata.annotations")]
    #[case(json!({"name": "n", "namespace": 7}), "metadata.namespace")]
    #[case(json!({"name": ["n"]}), "metadata.name")]
    #[case(json!({}), "metadata.name")]
    #[case(json!("oops"), "metadata.name")]
    fn metadata_that_no_object_has_is_refused(#[case] metadata: Value, #[case] field: &str) {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        let refused = Manifest::of(map, crate::kind::BUSINESS, "kube-system").unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
    }

    /// A CustomResourceDefinition means something by an empty map: `subresources: {status: {}}`.
    #[test]
    fn what_is_empty_is_sent_and_need_not_come_back() {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": {"a": {}, "b": []}});
        let manifest = Manifest::of(body, crate::kind::BUSINESS, "kube-system").unwrap();
        assert_eq!(manifest.body["data"], json!({"a": {}, "b": []}));
        assert_eq!(difference(&json!({}), &json!({"a": {}, "b": []})), None);
        let added = difference(&json!({"b": [1]}), &json!({"b": []}));
        assert_eq!(added.as_deref(), Some("b"));
    }
}
