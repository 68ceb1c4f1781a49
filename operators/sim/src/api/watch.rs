//! Watches: what changed since a resourceVersion, as it comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use http_body::Frame;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::read::{Form, Written};
use super::request::Query;
use super::resource::Resource;
use super::selector::Selector;
use super::state::{Record, State};
use super::{ApiServer, Verb};

/// Without a word for so long, a watch hears of the latest resourceVersion.
const BOOKMARK: Duration = Duration::from_mins(1);
/// A watch that does not say how long it lasts ends after this.
const LONGEST: Duration = Duration::from_mins(30);

/// A watch that was asked for.
pub(super) struct Watch {
    server: ApiServer,
    resource: Arc<Resource>,
    namespace: Option<String>,
    selector: Selector,
    form: Form,
    bookmarks: bool,
    ends: Instant,
    next_bookmark: Instant,
    epoch: u64,
    /// Everything up to this revision was told.
    seen: u64,
    /// Lines that are ready to be sent.
    ready: VecDeque<Bytes>,
    /// Nothing comes after what is ready.
    over: bool,
}

impl Watch {
    /// Begins a watch.
    ///
    /// # Errors
    /// When a selector is none.
    pub(super) fn begin(
        server: &ApiServer,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
        query: &Query,
        metadata_only: bool,
    ) -> Result<Self, Status> {
        let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
        let now = Instant::now();
        let seconds = query.number("timeoutSeconds").map(Duration::from_secs);
        let mut watch = Self {
            server: server.clone(),
            resource: resource.clone(),
            namespace: namespace.map(str::to_owned),
            selector,
            form: if metadata_only {
                Form::Metadata
            } else {
                Form::Whole
            },
            bookmarks: query.flag("allowWatchBookmarks"),
            ends: now + seconds.filter(|seconds| !seconds.is_zero()).unwrap_or(LONGEST),
            next_bookmark: now + BOOKMARK,
            epoch: 0,
            seen: 0,
            ready: VecDeque::new(),
            over: false,
        };
        server.read(|state| watch.start(state, query));
        Ok(watch)
    }

    fn start(&mut self, state: &State, query: &Query) {
        self.epoch = state.epoch();
        let since = query.number("resourceVersion").unwrap_or(0);
        let initial = query.flag("sendInitialEvents");
        if since > 0 && since < state.compacted() {
            let why = format!("too old resource version: {since} ({})", state.compacted());
            self.error(&super::refusal::expired(&why));
            return;
        }
        if since > 0 && !initial {
            self.seen = since;
            return;
        }
        // What is there already comes first.
        self.seen = state.revision();
        let objects = state.list_of(&self.resource, self.namespace.as_deref());
        for object in objects
            .filter(|object| self.selector.matches(object))
            .collect::<Vec<_>>()
        {
            self.event(Verb::Create, &object, None);
        }
        if initial && self.bookmarks {
            self.bookmark(&json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    /// The lines of the watch.
    pub(super) fn frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
        let changes = self.server.changes();
        unfold((self, changes), |(mut watch, mut changes)| async move {
            loop {
                if let Some(line) = watch.ready.pop_front() {
                    return Some((Ok(Frame::data(line)), (watch, changes)));
                }
                if watch.over {
                    return None;
                }
                changes.mark_unchanged();
                watch.advance();
                if !watch.ready.is_empty() || watch.over {
                    continue;
                }
                let until = if watch.bookmarks {
                    watch.next_bookmark.min(watch.ends)
                } else {
                    watch.ends
                };
                tokio::select! {
                    biased;
                    changed = changes.changed() => watch.over |= changed.is_err(),
                    () = tokio::time::sleep_until(until) => watch.tick(),
                }
            }
        })
    }

    /// Tells what happened since it was told last.
    fn advance(&mut self) {
        let server = self.server.clone();
        server.read(|state| {
            if state.epoch() != self.epoch {
                self.over = true;
                return;
            }
            let name = self.resource.name();
            for record in state.since(self.seen) {
                let elsewhere = self.namespace.is_some() && record.key.namespace != self.namespace;
                if record.key.resource == name && !elsewhere {
                    self.tell(record);
                }
            }
            self.seen = state.revision();
        });
    }

    /// To a watch with a selector an object comes and goes when it begins and ceases to be selected.
    fn tell(&mut self, record: &Record) {
        let selected = |object: &Option<Arc<Value>>| {
            let object = object.as_ref();
            object.is_some_and(|object| self.selector.matches(object))
        };
        let version = record.revision.to_string();
        match (selected(&record.before), selected(&record.after)) {
            (false, false) => {}
            (false, true) => self.object_event(Verb::Create, record.after.as_deref(), None),
            (true, true) => self.object_event(Verb::Update, record.after.as_deref(), None),
            (true, false) => self.object_event(Verb::Delete, record.before.as_deref(), Some(&version)),
        }
    }

    fn object_event(&mut self, verb: Verb, object: Option<&Value>, version: Option<&str>) {
        if let Some(object) = object {
            self.event(verb, object, version);
        }
    }

    fn event(&mut self, verb: Verb, object: &Value, version: Option<&str>) {
        let object = Written {
            object,
            form: self.form,
            version,
        };
        let line = format!("{{\"type\":\"{}\",\"object\":{object}}}\n", verb.event());
        self.ready.push_back(line.into());
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.bookmarks && (now >= self.next_bookmark || now >= self.ends) {
            self.bookmark(&Value::Null);
            self.next_bookmark = now + BOOKMARK;
        }
        self.over |= now >= self.ends;
    }

    fn bookmark(&mut self, annotations: &Value) {
        let (kind, version) = match self.form {
            Form::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Whole | Form::Item => (self.resource.kind.clone(), self.resource.api_version()),
        };
        let mut metadata = json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        if annotations.is_object() {
            metadata["annotations"] = annotations.clone();
        }
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        let line = json!({"type": "BOOKMARK", "object": object});
        self.ready.push_back(format!("{line}\n").into());
    }

    fn error(&mut self, status: &Status) {
        let mut status = serde_json::to_value(status).unwrap_or_default();
        status["kind"] = json!("Status");
        status["apiVersion"] = json!("v1");
        let line = json!({"type": "ERROR", "object": status});
        self.ready.push_back(format!("{line}\n").into());
        self.over = true;
    }
}

impl State {
    fn list_of(&self, resource: &Resource, namespace: Option<&str>) -> impl Iterator<Item = Arc<Value>> {
        let name = resource.name();
        let objects: Vec<Arc<Value>> = self
            .list(&name, namespace)
            .map(|(_, object)| object.clone())
            .collect();
        objects.into_iter()
    }
}
