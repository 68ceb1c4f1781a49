//! Answers as a fault makes them.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::api::{ApiServer, Key};
use crate::call::{Call, Verb};
use crate::fault::Fault;
use crate::gate::{AnswerBody, HttpAnswer};

/// The answer to a call that never reaches its server.
pub(crate) fn refusal(fault: &Fault) -> Option<HttpAnswer> {
    match fault {
        Fault::Reset { .. } => Some(Err(lost())),
        // A gateway that gave up: the server may well have done it.
        Fault::Refused { code: 504, .. } => None,
        Fault::Refused { code, .. } => {
            let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = status(code, reason(code));
            if code == StatusCode::TOO_MANY_REQUESTS {
                let one = http::HeaderValue::from_static("1");
                response.headers_mut().insert(http::header::RETRY_AFTER, one);
            }
            Some(Ok(response))
        }
        _ => None,
    }
}

/// What arrives of an answer that a server gave.
pub(crate) async fn answer(fault: &Fault, response: HttpAnswer) -> HttpAnswer {
    match fault {
        Fault::Lost { .. } => Err(lost()),
        Fault::Refused { code: 504, .. } => Ok(status(StatusCode::GATEWAY_TIMEOUT, "Timeout")),
        Fault::Empty { .. } => Ok(shortened(response?, |_| 0).await?),
        Fault::Half { .. } => Ok(shortened(response?, |length| length / 2).await?),
        _ => response,
    }
}

fn lost() -> tower::BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer").into()
}

fn reason(code: StatusCode) -> &'static str {
    match code.as_u16() {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    }
}

/// A list with fewer items.
async fn shortened(
    response: Response<AnswerBody>,
    keep: impl Fn(usize) -> usize,
) -> Result<Response<AnswerBody>, tower::BoxError> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let body = match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut list) if list.get("items").is_some_and(Value::is_array) => {
            if let Some(items) = list["items"].as_array_mut() {
                items.truncate(keep(items.len()));
            }
            list.to_string().into_bytes()
        }
        _ => bytes.to_vec(),
    };
    Ok(Response::from_parts(head, document(body)))
}

/// A `Status` that says no.
pub(crate) fn status(code: StatusCode, reason: &str) -> Response<AnswerBody> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the simulator says {reason}"), "reason": reason, "code": code.as_u16(),
    });
    let mut response = json(&body);
    *response.status_mut() = code;
    response
}

/// A JSON document.
pub(crate) fn json(body: &Value) -> Response<AnswerBody> {
    let mut response = Response::new(document(body.to_string().into_bytes()));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn document(bytes: Vec<u8>) -> AnswerBody {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// What a read would have given at an earlier revision.
pub(crate) fn stale(server: &ApiServer, revision: u64, call: &Call) -> Response<AnswerBody> {
    let mut objects: BTreeMap<Key, Value> = BTreeMap::new();
    for change in server.history() {
        if change.revision > revision {
            break;
        }
        match change.after {
            Some(object) => objects.insert(change.key, object),
            None => objects.remove(&change.key),
        };
    }
    if call.verb == Verb::Get {
        return match objects.remove(&call.key()) {
            Some(object) => json(&object),
            None => status(StatusCode::NOT_FOUND, "NotFound"),
        };
    }
    let items: Vec<Value> = objects
        .into_iter()
        .filter(|(key, object)| {
            key.resource == call.resource
                && (call.namespace.is_none() || key.namespace == call.namespace)
                && selected(&call.selector, object)
        })
        .map(|(_, object)| object)
        .collect();
    let like = items.first();
    let text = |field: &str| {
        like.and_then(|it| it.get(field)?.as_str())
            .unwrap_or("v1")
            .to_owned()
    };
    json(&json!({
        "apiVersion": text("apiVersion"),
        "kind": format!("{}List", text("kind")),
        "metadata": {"resourceVersion": revision.to_string()},
        "items": items,
    }))
}

/// Whether an object has the labels that a query asks for.
fn selected(query: &str, object: &Value) -> bool {
    let wanted = query.strip_prefix("labelSelector=").unwrap_or_default();
    let wanted = wanted.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    wanted.split(',').filter(|pair| !pair.is_empty()).all(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let labels = object.pointer("/metadata/labels");
        labels.and_then(|labels| labels.get(name)?.as_str()) == Some(value)
    })
}
