//! What a behaviour is checked with: a client, a namespace of its own, and words for what is expected.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::io::Lines;
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::core::Status;
use kube::core::response::StatusDetails;
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Longest wait for what a controller does in its own time.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a behaviour was not found.
#[derive(Debug)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self(format!("{error:?}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Makes the server forget what was before, if it does not by itself.
pub(super) type Forget = Arc<dyn Fn() + Send + Sync>;

/// A server, and a place in it that no other behaviour uses.
#[derive(Clone)]
pub struct Stage {
    /// A client with all rights.
    pub client: Client,
    /// Namespace of this behaviour.
    pub namespace: String,
    /// Makes the server forget its history.
    pub forget: Forget,
}

/// The answer to a request.
pub(super) type Answer = Result<Value, kube::Error>;

impl Stage {
    /// A stage in a server.
    pub fn new(client: Client, forget: Forget) -> Self {
        Self {
            client,
            namespace: "default".into(),
            forget,
        }
    }

    /// The stage of one behaviour: a namespace with everything that pods need.
    pub(super) async fn of(&self, behaviour: &str) -> Result<Self, Failure> {
        let mut name: String = behaviour.replace('_', "-");
        name.truncate(50);
        let namespace = name.trim_end_matches('-').to_owned();
        let stage = Self {
            namespace,
            ..self.clone()
        };
        stage.namespace(&stage.namespace).await?;
        Ok(stage)
    }

    /// Makes a namespace with everything that pods need, if there is none.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn namespace(&self, name: &str) -> Result<(), Failure> {
        let stage = Self {
            namespace: name.into(),
            ..self.clone()
        };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        stage
            .apply(&format!("namespaces/{name}"), "contract", &object)
            .await?;
        stage
            .eventually("serviceaccounts/default", |found| found.is_some())
            .await?;
        Ok(())
    }

    /// Makes a PriorityClass, if there is none.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn priority_class(&self, name: &str) -> Result<(), Failure> {
        let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": 1000});
        let what = format!("priorityclasses.scheduling.k8s.io/{name}");
        self.apply(&what, "contract", &object).await?;
        Ok(())
    }

    /// URL of `resource[/name[/subresource]]`, where a resource is a plural with its group.
    pub(super) fn url(&self, what: &str) -> String {
        let (resource, rest) = what.split_once('/').unwrap_or((what, ""));
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let version = if group == "kubeonkube.io" {
            "v1alpha1"
        } else {
            "v1"
        };
        let of_cluster = [
            "namespaces",
            "clusters",
            "customresourcedefinitions",
            "priorityclasses",
            "storageclasses",
        ];
        let namespace = (!of_cluster.contains(&plural)).then_some(self.namespace.as_str());
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let kind = ApiResource {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            api_version,
            kind: String::new(),
        };
        let url = DynamicObject::url_path(&kind, namespace);
        if rest.is_empty() {
            url
        } else {
            format!("{url}/{rest}")
        }
    }

    /// URL of an object of a kind that the operators write; one that names no namespace is in this stage's.
    pub(super) fn url_of(&self, object: &Value) -> Result<String, Failure> {
        let kinds = kok_plan::kind::META.iter().chain(kok_plan::kind::BUSINESS);
        let kind = kinds.into_iter().find(|kind| {
            object["kind"] == json!(kind.kind) && object["apiVersion"] == json!(kind.api_version())
        });
        let kind =
            kind.ok_or_else(|| Failure(format!("{} is none of the operators' kinds", object["kind"])))?;
        let namespace = match meta(object, "namespace") {
            "" => self.namespace.as_str(),
            namespace => namespace,
        };
        let resource = ApiResource {
            group: kind.group.into(),
            version: kind.version.into(),
            plural: kind.plural.into(),
            api_version: kind.api_version(),
            kind: kind.kind.into(),
        };
        let url = DynamicObject::url_path(&resource, kind.namespaced.then_some(namespace));
        Ok(format!("{url}/{}", meta(object, "name")))
    }

    /// Sends a request.
    pub(super) async fn send(&self, method: &str, url: &str, form: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(url)
            .header(http::header::CONTENT_TYPE, form)
            .body(body)
            .map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    pub(super) async fn get(&self, what: &str) -> Answer {
        self.send("GET", &self.url(what), JSON, &Value::Null).await
    }

    pub(super) async fn post(&self, what: &str, body: &Value) -> Answer {
        self.send("POST", &self.url(what), JSON, body).await
    }

    pub(super) async fn put(&self, what: &str, body: &Value) -> Answer {
        self.send("PUT", &self.url(what), JSON, body).await
    }

    /// JSON merge patch.
    pub(super) async fn patch(&self, what: &str, body: &Value) -> Answer {
        self.send("PATCH", &self.url(what), "application/merge-patch+json", body)
            .await
    }

    /// Deletes with options.
    pub(super) async fn delete(&self, what: &str, options: &Value) -> Answer {
        self.send("DELETE", &self.url(what), JSON, options).await
    }

    /// Server-side apply by `manager`; more parameters may follow its name.
    pub(super) async fn apply(&self, what: &str, manager: &str, body: &Value) -> Answer {
        let url = format!("{}?fieldManager={manager}", self.url(what));
        self.send("PATCH", &url, "application/apply-patch+yaml", body)
            .await
    }

    /// Waits until an object, or its absence, is as wanted.
    pub(super) async fn eventually(
        &self,
        what: &str,
        wanted: impl Fn(Option<&Value>) -> bool,
    ) -> Result<Option<Value>, Failure> {
        let started = tokio::time::Instant::now();
        loop {
            let found = match self.get(what).await {
                Ok(found) => Some(found),
                Err(kube::Error::Api(status)) if status.code == 404 => None,
                Err(error) => return Err(error.into()),
            };
            if wanted(found.as_ref()) {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                let found = found.map(|found| found.to_string());
                return Err(Failure(format!(
                    "{what} stays {}",
                    found.as_deref().unwrap_or("absent")
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an object is gone.
    pub(super) async fn gone(&self, what: &str) -> Result<(), Failure> {
        self.eventually(what, |found| found.is_none()).await.map(|_| ())
    }

    /// Begins a watch; `query` are its parameters.
    pub(super) async fn watch(&self, resource: &str, query: &str) -> Result<Events, Failure> {
        self.watch_as(resource, query, JSON).await
    }

    /// Begins a watch with a header Accept.
    pub(super) async fn watch_as(
        &self,
        resource: &str,
        query: &str,
        accept: &str,
    ) -> Result<Events, Failure> {
        let url = format!("{}?watch=true&{query}", self.url(resource));
        self.watch_url(&url, accept).await
    }

    /// Begins a watch by its URL.
    pub(super) async fn watch_url(&self, url: &str, accept: &str) -> Result<Events, Failure> {
        let request = http::Request::get(url)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let stream: Reader = Box::pin(self.client.request_stream(request).await?);
        Ok(Events {
            lines: stream.lines(),
        })
    }

    /// A ConfigMap of this stage.
    pub(super) fn config(&self, name: &str, data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace}, "data": data})
    }

    /// A pod of this stage.
    pub(super) fn pod(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "example.org/main:1"}]}})
    }

    /// Puts a pod on a node, as the scheduler does.
    pub(super) async fn bind(&self, pod: &str) -> Result<(), Failure> {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"}});
        self.post(&format!("pods/{pod}/binding"), &binding).await?;
        Ok(())
    }
}

/// Media type of most requests.
pub(super) const JSON: &str = "application/json";

type Reader = Pin<Box<dyn AsyncBufRead + Send>>;

/// What a watch tells.
pub(super) struct Events {
    lines: Lines<Reader>,
}

impl Events {
    /// The next event: its type and its object. None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Value)>, Failure> {
        let line = timeout(PATIENCE, self.lines.next()).await;
        let line = line.map_err(|_| Failure("the watch tells nothing more".into()))?;
        let Some(line) = line.transpose().map_err(|error| Failure(error.to_string()))? else {
            return Ok(None);
        };
        let event: Value = serde_json::from_str(&line)?;
        let type_ = event["type"].as_str().unwrap_or_default().to_owned();
        Ok(Some((type_, event["object"].clone())))
    }

    /// The next event, which must be of this type, about an object of this name.
    pub(super) async fn expect(&mut self, type_: &str, name: &str) -> Result<Value, Failure> {
        loop {
            match self.next().await? {
                Some((bookmark, _)) if bookmark == "BOOKMARK" && type_ != "BOOKMARK" => {}
                Some((found, object)) if found == type_ && object["metadata"]["name"] == json!(name) => {
                    return Ok(object);
                }
                Some((found, object)) if found == type_ && type_ == "BOOKMARK" => return Ok(object),
                other => {
                    return Err(Failure(format!(
                        "{type_} of {name} expected, but there was {other:?}"
                    )));
                }
            }
        }
    }
}

/// What is expected of an answer.
pub(super) trait Expect {
    /// That the request is refused with this code and reason, and with a message that has `text` in it.
    fn refused(self, code: u16, reason: &str, text: &str) -> Result<Status, Failure>;
}

impl Expect for Answer {
    fn refused(self, code: u16, reason: &str, text: &str) -> Result<Status, Failure> {
        match self {
            Err(kube::Error::Api(status)) => {
                let fits = status.code == code && status.reason == reason && status.message.contains(text);
                if fits {
                    Ok(*status)
                } else {
                    Err(Failure(format!(
                        "{code} {reason} with {text:?} expected, but there was {status:?}"
                    )))
                }
            }
            other => Err(Failure(format!(
                "{code} {reason} expected, but there was {other:?}"
            ))),
        }
    }
}

/// What a refusal is about.
pub(super) fn details(status: Status) -> Result<StatusDetails, Failure> {
    status
        .details
        .ok_or_else(|| Failure("the refusal has no details".into()))
}

/// That something holds.
pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure(what())) }
}

/// That two values are the same.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failure> {
    ensure(found == expected, || {
        format!("{expected:?} expected, but there was {found:?}")
    })
}

/// A text of the metadata.
pub(super) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}
