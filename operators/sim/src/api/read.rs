//! Lists: selected, paged, and only the metadata if that is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube::core::Status;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize as DeriveSerialize};
use serde_json::{Value, json};

use super::request::Query;
use super::resource::Resource;
use super::selector::Selector;
use super::state::State;
use super::{Key, refusal};

/// How objects are written for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Whole,
    /// Without their own kind, as in a list of built-in objects.
    Item,
    /// Only the metadata.
    Metadata,
}

/// An object in a form.
pub(super) struct Written<'a> {
    pub(super) object: &'a Value,
    pub(super) form: Form,
    /// In place of the object's own resourceVersion.
    pub(super) version: Option<&'a str>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.form == Form::Metadata {
            map.serialize_entry("kind", "PartialObjectMetadata")?;
            map.serialize_entry("apiVersion", "meta.k8s.io/v1")?;
        }
        for (name, value) in self.object.as_object().into_iter().flatten() {
            match (name.as_str(), self.form) {
                ("metadata", _) => match self.version {
                    Some(version) => {
                        let mut metadata = value.clone();
                        metadata["resourceVersion"] = json!(version);
                        map.serialize_entry(name, &metadata)?;
                    }
                    None => map.serialize_entry(name, value)?,
                },
                (_, Form::Metadata) | ("apiVersion" | "kind", Form::Item) => {}
                _ => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

/// A page of a list.
#[derive(DeriveSerialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    kind: String,
    api_version: String,
    metadata: PageMetadata,
    items: Items<'a>,
}

#[derive(DeriveSerialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<usize>,
}

struct Items<'a> {
    objects: Vec<&'a Value>,
    form: Form,
}

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(Some(self.objects.len()))?;
        for object in &self.objects {
            items.serialize_element(&Written {
                object,
                form: self.form,
                version: None,
            })?;
        }
        items.end()
    }
}

/// Where the next page begins, and what it is a page of.
#[derive(DeriveSerialize, Deserialize)]
struct Continue {
    #[serde(rename = "rv")]
    revision: u64,
    /// Namespace and name of the last object that was given.
    after: (Option<String>, String),
}

impl State {
    /// A list, as JSON.
    ///
    /// # Errors
    /// When it is asked for as it was at a time that is forgotten, or that has not come yet.
    pub(super) fn page(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        query: &Query,
        metadata_only: bool,
    ) -> Result<Vec<u8>, Status> {
        let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
        let name = resource.name();
        let token = query.get("continue").map(parse_continue).transpose()?;
        let exact = query.get("resourceVersionMatch") == Some("Exact");
        let asked = query.number("resourceVersion");
        if let Some(asked) = asked.filter(|asked| *asked > self.revision()) {
            let why = format!(
                "Too large resource version: {asked}, current: {}",
                self.revision()
            );
            return Err(Status::failure(&why, "Timeout").with_code(504));
        }
        let revision = match &token {
            Some(token) => token.revision,
            None => asked.filter(|_| exact).unwrap_or(self.revision()),
        };
        if revision < self.compacted() {
            return Err(refusal::expired(match token {
                Some(_) => {
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
                }
                None => "The resourceVersion for the provided list is too old.",
            }));
        }
        let past: BTreeMap<Key, Arc<Value>>;
        let all: Vec<(&Key, &Arc<Value>)> = if revision == self.revision() {
            self.list(&name, namespace).collect()
        } else {
            past = self.list_at(&name, namespace, revision);
            past.iter().collect()
        };
        let rest = all.into_iter().filter(|(key, object)| {
            let seen = token
                .as_ref()
                .is_some_and(|token| (&key.namespace, &key.name) <= (&token.after.0, &token.after.1));
            !seen && selector.matches(object)
        });
        let mut rest: Vec<(&Key, &Arc<Value>)> = rest.collect();
        let limit = query
            .number("limit")
            .and_then(|limit| usize::try_from(limit).ok());
        let (mut next, mut remaining) = (None, None);
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit < rest.len()) {
            remaining = selector.is_empty().then_some(rest.len() - limit);
            rest.truncate(limit);
            next = rest.last().map(|(key, _)| {
                let token = Continue {
                    revision,
                    after: (key.namespace.clone(), key.name.clone()),
                };
                URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
            });
        }
        let (kind, api_version, form) = if metadata_only {
            (
                "PartialObjectMetadataList".into(),
                "meta.k8s.io/v1".into(),
                Form::Metadata,
            )
        } else {
            let form = if resource.is_custom() {
                Form::Whole
            } else {
                Form::Item
            };
            (format!("{}List", resource.kind), resource.api_version(), form)
        };
        let page = Page {
            kind,
            api_version,
            metadata: PageMetadata {
                resource_version: revision.to_string(),
                next,
                remaining_item_count: remaining,
            },
            items: Items {
                objects: rest.into_iter().map(|(_, object)| &**object).collect(),
                form,
            },
        };
        serde_json::to_vec(&page).map_err(|error| refusal::internal(&error.to_string()))
    }
}

fn parse_continue(token: &str) -> Result<Continue, Status> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| refusal::bad_request("continue key is not valid"))
}
