//! A server that speaks the documented part of Alibaba Cloud's ECS API: it checks signatures, limits and times,
//! and really runs the commands, on a host below an overlay.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)] // shared by tests; its helpers fail the test

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::world::World;

pub(crate) const KEY_ID: &str = "LTAItest";
pub(crate) const KEY_SECRET: &str = "s3cr3t-access-key";
pub(crate) const INSTANCE: &str = "i-bp1test";

pub(crate) struct Ecs {
    pub(crate) endpoint: String,
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) world: World,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    nonces: Vec<String>,
    tokens: HashMap<String, String>,
    results: HashMap<String, Value>,
    /// Every request: action and query.
    requests: Vec<(String, String)>,
    /// Actions whose next call fails: after it was done, or instead.
    failing: Vec<(String, &'static str)>,
    agent: bool,
}

impl Ecs {
    pub(crate) async fn start() -> Self {
        let inner = Arc::new(Inner {
            world: World::new(),
            state: Mutex::new(Known {
                agent: true,
                ..Known::default()
            }),
        });
        let router = Router::new()
            .route("/", axum::routing::post(handle))
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, inner }
    }

    /// The next call of this action fails: `before` it does anything, or `after`.
    pub(crate) fn fail_next(&self, action: &str, when: &'static str) {
        self.inner
            .state
            .lock()
            .unwrap()
            .failing
            .push((action.into(), when));
    }

    pub(crate) fn stop_agent(&self) {
        self.inner.state.lock().unwrap().agent = false;
    }

    pub(crate) fn calls(&self, action: &str) -> usize {
        let state = self.inner.state.lock().unwrap();
        state.requests.iter().filter(|(name, _)| name == action).count()
    }

    pub(crate) fn requests(&self) -> String {
        let state = self.inner.state.lock().unwrap();
        state
            .requests
            .iter()
            .map(|(_, query)| query.clone() + "\n")
            .collect()
    }

    /// Directories that commands left behind.
    pub(crate) fn leftovers(&self) -> usize {
        let run = self.inner.world.path("/run/x");
        let entries = std::fs::read_dir(run.parent().unwrap()).unwrap();
        let is_ours = |name: &str| name.starts_with("kube-on-kube");
        entries
            .filter(|entry| is_ours(&entry.as_ref().unwrap().file_name().to_string_lossy()))
            .count()
    }
}

type Reply = Result<Value, (StatusCode, &'static str)>;

async fn handle(
    State(inner): State<Arc<Inner>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let query = query.unwrap_or_default();
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let action = header("x-acs-action").to_owned();
    let failing = {
        let mut state = inner.state.lock().unwrap();
        state.requests.push((action.clone(), query.clone()));
        let at = state.failing.iter().position(|(name, _)| *name == action);
        at.map(|at| state.failing.remove(at).1)
    };
    let reply = match failing {
        Some("before") => Err((StatusCode::SERVICE_UNAVAILABLE, "Throttling")),
        _ => verify(&inner, &query, &headers).and_then(|()| act(&inner, &action, &parameters(&query))),
    };
    match (reply, failing) {
        (Ok(_), Some("after")) => (StatusCode::INTERNAL_SERVER_ERROR, error("InternalError.Dispatch")),
        (Ok(value), _) => (StatusCode::OK, Json(value)),
        (Err((status, code)), _) => (status, error(code)),
    }
}

fn error(code: &str) -> Json<Value> {
    Json(json!({"RequestId": "r", "Code": code, "Message": "as the documentation says"}))
}

/// Version 3 of the signature, from what arrived.
fn verify(inner: &Inner, query: &str, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let authorization = header("authorization")
        .strip_prefix("ACS3-HMAC-SHA256 ")
        .ok_or((StatusCode::BAD_REQUEST, "MissingAuthorization"))?;
    let fields: HashMap<&str, &str> = authorization
        .split(',')
        .filter_map(|field| field.split_once('='))
        .collect();
    if fields.get("Credential") != Some(&KEY_ID) {
        return Err((StatusCode::NOT_FOUND, "InvalidAccessKeyId.NotFound"));
    }
    let date: Timestamp = header("x-acs-date")
        .parse()
        .map_err(|_| (FORBIDDEN, "InvalidTimeStamp.Format"))?;
    if Timestamp::now().duration_since(date).unsigned_abs().as_secs() > 15 * 60 {
        return Err((FORBIDDEN, "InvalidTimeStamp.Expired"));
    }
    let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    if header("x-acs-content-sha256") != hash(b"") || header("x-acs-version") != "2014-05-26" {
        return Err((StatusCode::BAD_REQUEST, "InvalidParameter"));
    }
    let mut sorted: Vec<&str> = query.split('&').collect();
    sorted.sort_unstable();
    let signed = fields.get("SignedHeaders").copied().unwrap_or_default();
    // Everything that the server relies on must be signed.
    for required in [
        "host",
        "x-acs-action",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
    ] {
        if !signed.split(';').any(|name| name == required) {
            return Err((FORBIDDEN, "IncompleteSignature"));
        }
    }
    let canonical_headers = signed.split(';').fold(String::new(), |headers, name| {
        headers + name + ":" + header(name).trim() + "\n"
    });
    let canonical = format!(
        "POST\n/\n{}\n{canonical_headers}\n{signed}\n{}",
        sorted.join("&"),
        hash(b"")
    );
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", hash(canonical.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY_SECRET.as_bytes());
    let expected = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    if fields.get("Signature") != Some(&expected.as_str()) {
        return Err((FORBIDDEN, "SignatureDoesNotMatch"));
    }
    let nonce = header("x-acs-signature-nonce").to_owned();
    let mut state = inner.state.lock().unwrap();
    if state.nonces.contains(&nonce) {
        return Err((FORBIDDEN, "SignatureNonceUsed"));
    }
    state.nonces.push(nonce);
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn parameters(query: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = vec![];
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn act(inner: &Arc<Inner>, action: &str, given: &HashMap<String, String>) -> Reply {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let get = |name: &str| given.get(name).map_or("", String::as_str);
    if get("RegionId") != "cn-hangzhou" {
        return Err((StatusCode::NOT_FOUND, "InvalidRegionId.NotFound"));
    }
    let of_instance = |name: &str| {
        if get(name) == INSTANCE {
            Ok(())
        } else {
            Err((StatusCode::NOT_FOUND, "InvalidInstance.NotFound"))
        }
    };
    match action {
        "DescribeCloudAssistantStatus" => {
            of_instance("InstanceId.1")?;
            let agent = inner.state.lock().unwrap().agent;
            Ok(
                json!({"InstanceCloudAssistantStatusSet": {"InstanceCloudAssistantStatus": [
                {"InstanceId": INSTANCE, "CloudAssistantStatus": agent.to_string()}]}}),
            )
        }
        "RunCommand" => {
            of_instance("InstanceId.1")?;
            if get("Type") != "RunShellScript" || get("ContentEncoding") != "Base64" {
                return Err((BAD, "InvalidParameter"));
            }
            if get("CommandContent").len() > 18 * 1024 {
                return Err((BAD, "CmdContent.ExceedLimit"));
            }
            let timeout: u64 = get("Timeout")
                .parse()
                .map_err(|_| (BAD, "InvalidParameter.Timeout"))?;
            let content = STANDARD
                .decode(get("CommandContent"))
                .map_err(|_| (BAD, "CmdContent.DecodeError"))?;
            let id = {
                let mut state = inner.state.lock().unwrap();
                if let Some(id) = state.tokens.get(get("ClientToken")) {
                    return Ok(json!({"RequestId": "r", "InvokeId": id}));
                }
                let id = format!("t-{}", state.tokens.len());
                state.tokens.insert(get("ClientToken").into(), id.clone());
                state
                    .results
                    .insert(id.clone(), json!({"InvocationStatus": "Running"}));
                id
            };
            let (inner, started) = (Arc::clone(inner), id.clone());
            std::thread::spawn(move || {
                let result = execute(&inner.world, &content, timeout);
                inner.state.lock().unwrap().results.insert(started, result);
            });
            Ok(json!({"RequestId": "r", "CommandId": "c-1", "InvokeId": id}))
        }
        "DescribeInvocationResults" => {
            of_instance("InstanceId")?;
            let state = inner.state.lock().unwrap();
            let result = state
                .results
                .get(get("InvokeId"))
                .ok_or((BAD, "InvalidInvokeId.NotFound"))?;
            Ok(
                json!({"RequestId": "r", "Invocation": {"TotalCount": 1, "PageSize": 1, "PageNumber": 1,
                "InvocationResults": {"InvocationResult": [result]}}}),
            )
        }
        "SendFile" => {
            of_instance("InstanceId.1")?;
            if get("Content").len() > 32 * 1024 {
                return Err((BAD, "FileContent.ExceedLimit"));
            }
            let content = STANDARD
                .decode(get("Content"))
                .map_err(|_| (BAD, "InvalidParameter.Content"))?;
            let path = inner.world.path(&format!("{}/{}", get("TargetDir"), get("Name")));
            if path.exists() && get("Overwrite") != "true" {
                return Err((BAD, "FileAlreadyExists"));
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            let mode = u32::from_str_radix(get("FileMode"), 8).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Ok(json!({"RequestId": "r", "InvokeId": "f-1"}))
        }
        "DescribeSendFileResults" => Ok(
            json!({"Invocations": {"Invocation": [{"InvokeId": get("InvokeId"),
            "InvocationStatus": "Success", "InvokeInstances": {"InvokeInstance": [
                {"InstanceId": INSTANCE, "InvocationStatus": "Success", "ErrorCode": "", "ErrorInfo": ""}]}}]}}),
        ),
        _ => Err((StatusCode::NOT_FOUND, "InvalidAction.NotFound")),
    }
}

/// As the agent does: the script in a file, killed when its time is over, the last 24 KiB of its output.
fn execute(world: &World, content: &[u8], timeout: u64) -> Value {
    let seconds = timeout.to_string();
    let mut child = world
        .enter(&["timeout", "-s", "KILL", &seconds, "sh", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let script = content.to_vec();
    let feed = std::thread::spawn(move || drop(stdin.write_all(&script)));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let code = output.status.code();
    let dropped = output.stdout.len().saturating_sub(24 * 1024);
    json!({
        "InstanceId": INSTANCE,
        "InvocationStatus": match code { Some(0) => "Success", None | Some(137) => "Timeout", _ => "Failed" },
        "InvokeRecordStatus": "Finished",
        "ExitCode": code.unwrap_or(0),
        "Output": STANDARD.encode(&output.stdout[dropped..]),
        "Dropped": dropped,
        "ErrorCode": "", "ErrorInfo": "", "Repeats": 1,
    })
}
