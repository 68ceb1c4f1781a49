//! The HTTP face: a tower service for [`kube::Client`].

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use kube::core::Status;
use serde_json::{Value, json};

use super::admission::Unknown;
use super::delete::{Deletion, Outcome};
use super::read::{Form, Written};
use super::request::{Ask, Target};
use super::resource::Resource;
use super::watch::Watch;
use super::{ApiServer, Key, refusal, write};

/// Body of an answer.
pub type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// Serves the requests of one caller.
#[derive(Clone)]
pub struct Service {
    server: ApiServer,
    actor: String,
}

impl Service {
    pub(super) fn new(server: ApiServer, actor: &str) -> Self {
        Self {
            server,
            actor: actor.into(),
        }
    }

    fn serve(&self, ask: &Ask, body: &[u8]) -> Response<Answer> {
        self.answer(ask, body).unwrap_or_else(|status| refused(&status))
    }

    fn answer(&self, ask: &Ask, body: &[u8]) -> Result<Response<Answer>, Status> {
        let (group, version, plural, namespace, name, subresource) = match &ask.target {
            Target::Version => return Ok(document(StatusCode::OK, &version_info())),
            Target::Other => return Ok(not_served()),
            Target::Resource {
                group,
                version,
                plural,
                namespace,
                name,
                subresource,
            } => (
                group,
                version,
                plural,
                namespace.as_deref(),
                name.as_deref(),
                subresource.as_str(),
            ),
        };
        let resource = self
            .server
            .read(|state| state.resources.find(group, version, plural).cloned());
        let Some(resource) = resource else {
            return Ok(not_served());
        };
        let known = match subresource {
            "" => true,
            "status" => resource.status,
            "binding" => resource.name() == "pods",
            _ => false,
        };
        if !known || (namespace.is_some() && !resource.namespaced) {
            return Ok(not_served());
        }
        let call = Call {
            service: self,
            ask,
            resource: &resource,
            namespace,
            subresource,
        };
        match (ask.method.clone(), name) {
            (Method::GET, None) if ask.query.flag("watch") => call.watch(),
            (Method::GET, None) => call.list(),
            (Method::GET, Some(name)) => call.get(name),
            (Method::POST, None) => call.create(body),
            (Method::POST, Some(name)) if subresource == "binding" => call.bind(name, body),
            (Method::PUT, Some(name)) => call.replace(name, body),
            (Method::PATCH, Some(name)) => call.patch(name, body),
            (Method::DELETE, Some(name)) => call.delete(name, body),
            (method, _) => {
                let why =
                    format!("the server does not allow this method on the requested resource: {method}");
                Err(refusal::method_not_allowed(&why))
            }
        }
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        async move {
            let (parts, body) = request.into_parts();
            let ask = Ask::of(&parts);
            // A client's body is in memory already.
            let body = body.collect_bytes().await.unwrap_or_default();
            Ok(service.serve(&ask, &body))
        }
        .boxed()
    }
}

/// A request to objects of a kind.
struct Call<'a> {
    service: &'a Service,
    ask: &'a Ask,
    resource: &'a std::sync::Arc<Resource>,
    namespace: Option<&'a str>,
    subresource: &'a str,
}

impl Call<'_> {
    fn key(&self, name: &str) -> Key {
        Key::new(&self.resource.name(), self.namespace, name)
    }

    fn watch(&self) -> Result<Response<Answer>, Status> {
        let (server, query) = (&self.service.server, &self.ask.query);
        let watch = Watch::begin(
            server,
            self.resource,
            self.namespace,
            query,
            self.ask.metadata_only,
        )?;
        let body = StreamBody::new(watch.frames()).boxed_unsync();
        Ok(response(StatusCode::OK, body))
    }

    fn list(&self) -> Result<Response<Answer>, Status> {
        let page = self.service.server.read(|state| {
            state.page(
                self.resource,
                self.namespace,
                &self.ask.query,
                self.ask.metadata_only,
            )
        })?;
        Ok(response(StatusCode::OK, Full::new(page.into()).boxed_unsync()))
    }

    fn get(&self, name: &str) -> Result<Response<Answer>, Status> {
        let found = self
            .service
            .server
            .read(|state| state.get(&self.key(name)).cloned());
        let found = found.ok_or_else(|| refusal::not_found(self.resource, name))?;
        Ok(self.object(StatusCode::OK, &found))
    }

    fn create(&self, body: &[u8]) -> Result<Response<Answer>, Status> {
        let object = parse(body)?;
        let created = self.service.server.write(&self.service.actor, |state, caller| {
            state.create(&self.request(caller), self.resource, self.namespace, object)
        })?;
        Ok(self.object(StatusCode::CREATED, &created))
    }

    fn bind(&self, name: &str, body: &[u8]) -> Result<Response<Answer>, Status> {
        let binding = parse(body)?;
        self.service.server.write(&self.service.actor, |state, caller| {
            state.bind(&write::Request::of(caller), &self.key(name), &binding)
        })?;
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(document(StatusCode::CREATED, &status))
    }

    fn replace(&self, name: &str, body: &[u8]) -> Result<Response<Answer>, Status> {
        let object = parse(body)?;
        let written = self.service.server.write(&self.service.actor, |state, caller| {
            state.replace(&self.request(caller), self.resource, &self.key(name), object)
        })?;
        Ok(self.written(&written))
    }

    fn patch(&self, name: &str, body: &[u8]) -> Result<Response<Answer>, Status> {
        let patch = parse(body)?;
        let form = self.ask.content_type.split(';').next().unwrap_or_default();
        let written = self.service.server.write(&self.service.actor, |state, caller| {
            let (request, key) = (self.request(caller), self.key(name));
            match form {
                "application/apply-patch+yaml" => {
                    if self.ask.query.get("fieldManager").is_none() {
                        let why = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
                        return Err(Status::failure(why, "Invalid").with_code(422));
                    }
                    let force = self.ask.query.flag("force");
                    state.apply(&request, self.resource, &key, patch, force)
                }
                "application/merge-patch+json" => state.patch(&request, self.resource, &key, &patch),
                _ => {
                    let why = format!("the body of the request was in an unknown format - accepted media types include: application/merge-patch+json, application/apply-patch+yaml; got {form}");
                    Err(Status::failure(&why, "UnsupportedMediaType").with_code(415))
                }
            }
        })?;
        Ok(self.written(&written))
    }

    fn delete(&self, name: &str, body: &[u8]) -> Result<Response<Answer>, Status> {
        let deletion: Deletion = if body.is_empty() {
            Deletion::default()
        } else {
            serde_json::from_slice(body).map_err(|error| refusal::bad_request(&error.to_string()))?
        };
        let outcome = self.service.server.write(&self.service.actor, |state, caller| {
            state.delete(caller, &self.key(name), &deletion)
        })?;
        Ok(match outcome {
            Outcome::Waits(object) => self.object(StatusCode::OK, &object),
            Outcome::Gone(object) if returns_deleted(self.resource) => self.object(StatusCode::OK, &object),
            Outcome::Gone(object) => {
                let details = json!({"name": name, "group": self.resource.group, "kind": self.resource.plural,
                    "uid": super::object::uid(&object)});
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": details});
                document(StatusCode::OK, &status)
            }
        })
    }

    fn request<'r>(&'r self, caller: &super::Caller) -> write::Request<'r> {
        let query = &self.ask.query;
        write::Request {
            caller: caller.clone(),
            manager: query.get("fieldManager").unwrap_or(&self.ask.agent),
            unknown: if query.get("fieldValidation") == Some("Strict") {
                Unknown::Refuse
            } else {
                Unknown::Drop
            },
            dry_run: query.get("dryRun").is_some(),
            subresource: self.subresource,
        }
    }

    fn written(&self, written: &write::Written) -> Response<Answer> {
        let code = if written.created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        self.object(code, &written.object)
    }

    fn object(&self, code: StatusCode, object: &Value) -> Response<Answer> {
        let form = if self.ask.metadata_only {
            Form::Metadata
        } else {
            Form::Whole
        };
        let written = Written {
            object,
            form,
            version: None,
        };
        let body = written.to_string();
        response(code, Full::new(body.into()).boxed_unsync())
    }
}

fn parse(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| refusal::bad_request(&error.to_string()))
}

/// Kinds whose deletion answers with the object, and not with a Status.
fn returns_deleted(resource: &Resource) -> bool {
    matches!(
        resource.plural.as_str(),
        "pods"
            | "services"
            | "namespaces"
            | "persistentvolumes"
            | "persistentvolumeclaims"
            | "serviceaccounts"
            | "resourcequotas"
    )
}

fn response(code: StatusCode, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn document(code: StatusCode, body: &Value) -> Response<Answer> {
    response(code, Full::new(body.to_string().into()).boxed_unsync())
}

fn refused(status: &Status) -> Response<Answer> {
    let mut body = serde_json::to_value(status).unwrap_or_default();
    body["kind"] = json!("Status");
    body["apiVersion"] = json!("v1");
    body["metadata"] = json!({});
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    document(code, &body)
}

/// The answer for a path that is not served is no Status.
fn not_served() -> Response<Answer> {
    let text = Full::new(Bytes::from_static(b"404 page not found\n"));
    let mut response = response(StatusCode::NOT_FOUND, text.boxed_unsync());
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn version_info() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "gc", "platform": "linux/amd64"})
}
