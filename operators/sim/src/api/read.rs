//! Lists: selected, paged, and only the metadata if that is wanted.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube::core::Status;
use serde::{Deserialize, Serialize};
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

impl Display for Written<'_> {
    // By hand: most of a run's bytes are written here, and serde_json's own writing of values is compiled for speed.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_char('{')?;
        let mut separator = "";
        if self.form == Form::Metadata {
            formatter.write_str(r#""kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1""#)?;
            separator = ",";
        }
        for (name, value) in self.object.as_object().into_iter().flatten() {
            let left_out = match name.as_str() {
                "metadata" => false,
                "apiVersion" | "kind" => self.form != Form::Whole,
                _ => self.form == Form::Metadata,
            };
            if left_out {
                continue;
            }
            match self.version.filter(|_| name == "metadata") {
                Some(version) => {
                    let mut metadata = value.clone();
                    metadata["resourceVersion"] = json!(version);
                    write!(formatter, "{separator}\"{name}\":{metadata}")?;
                }
                None => write!(formatter, "{separator}\"{name}\":{value}")?,
            }
            separator = ",";
        }
        formatter.write_char('}')
    }
}

/// What is said of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<usize>,
}

/// Where the next page begins, and what it is a page of.
#[derive(Serialize, Deserialize)]
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
    ) -> Result<String, Status> {
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
        let metadata = PageMetadata {
            resource_version: revision.to_string(),
            next,
            remaining_item_count: remaining,
        };
        let metadata = json!(metadata);
        let mut page =
            format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
        let mut separator = "";
        for (_, object) in rest {
            let item = Written {
                object,
                form,
                version: None,
            };
            let _ = write!(page, "{separator}{item}");
            separator = ",";
        }
        page.push_str("]}");
        Ok(page)
    }
}

fn parse_continue(token: &str) -> Result<Continue, Status> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| refusal::bad_request("continue key is not valid"))
}
