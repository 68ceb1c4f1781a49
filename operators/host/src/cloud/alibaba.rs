//! Alibaba Cloud: ECS with Cloud Assistant.
//!
//! `RunCommand` and `SendFile` begin, `DescribeInvocationResults` and `DescribeSendFileResults` tell the end. For
//! one instance `DescribeInvocations` tells the same.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use kok_plan::host::Secret;
use serde::Deserialize;

use super::sign::Request;
use super::{ApiError, ApiLimits, CommandApi, Ended};
use crate::runner::random_nonce;
use crate::target::CloudInstance;

const VERSION: &str = "2014-05-26";
/// Longest of a request's parts; a command or a file in base64, and the rest.
const MOST_ANSWER: usize = 1024 * 1024;
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// The ECS API.
pub struct Alibaba {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    /// Scheme and host; None for the region's own.
    endpoint: Option<String>,
}

impl Alibaba {
    /// `endpoint` is `https://host[:port]`, where it is not the public one of the region: a VPC endpoint, a proxy.
    pub fn new(endpoint: Option<String>) -> std::io::Result<Self> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            endpoint,
        })
    }

    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        instance: &CloudInstance,
        action: &'static str,
        mut parameters: BTreeMap<&str, String>,
    ) -> Result<T, ApiError> {
        parameters.insert("RegionId", instance.region.clone());
        let endpoint = self
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://ecs.{}.aliyuncs.com", instance.region));
        let host = endpoint.split_once("://").map_or("", |(_, host)| host);
        let signed = Request {
            host,
            action,
            version: VERSION,
            date: &Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            nonce: &random_nonce(),
            parameters: &parameters,
        }
        .sign(&instance.access_key_id, instance.access_key_secret.expose());
        let mut request = hyper::Request::builder()
            .method(Method::POST)
            .uri(format!("{endpoint}/?{}", signed.query))
            .header("host", host)
            .header("accept", "application/json");
        for (name, value) in &signed.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|_| local("InvalidRequest", "the request cannot be built", false))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| local("Unreachable", &causes(&error), true))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_ANSWER)
                .collect()
                .await
                .map_err(|error| local("Unreachable", &error.to_string(), true))?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(REQUEST, exchange)
            .await
            .unwrap_or_else(|_| Err(local("Unreachable", "no answer in time", true)))?;
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        serde_json::from_slice(&body)
            .map_err(|error| local("InvalidAnswer", &format!("{action}: {error}"), true))
    }
}

/// An error with all its causes: the outermost says only that there was one.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn local(code: &str, message: &str, may_pass: bool) -> ApiError {
    ApiError {
        code: code.into(),
        message: message.into(),
        may_pass,
    }
}

/// What the API says when it refuses.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Refused {
    code: String,
    message: String,
}

fn refused(status: StatusCode, body: &[u8]) -> ApiError {
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    ApiError {
        may_pass: status.is_server_error() || refused.code.starts_with("Throttling"),
        code: if refused.code.is_empty() {
            status.to_string()
        } else {
            refused.code
        },
        message: refused.message,
    }
}

#[derive(Deserialize)]
struct Started {
    #[serde(rename = "InvokeId")]
    invoke_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InvocationResults {
    invocation: Results,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    invocation_results: ResultList,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResultList {
    #[serde(default)]
    invocation_result: Vec<InvocationResult>,
}

/// How a command ended on one instance.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InvocationResult {
    invocation_status: String,
    output: String,
    dropped: u64,
    error_code: String,
    error_info: String,
}

impl InvocationResult {
    fn ended(self) -> Result<Option<Ended>, ApiError> {
        let why = || Ended::Failed(format!("{}: {}", self.error_code, self.error_info));
        Ok(Some(match self.invocation_status.as_str() {
            "Pending" | "Scheduled" | "Running" | "Stopping" => return Ok(None),
            // Failed: the script ended with another code than 0.
            "Success" | "Failed" if self.dropped > 0 => Ended::Failed("the output was cut off".into()),
            "Success" | "Failed" => Ended::Finished(
                STANDARD
                    .decode(self.output)
                    .map_err(|_| local("InvalidAnswer", "the output is no base64", false))?,
            ),
            "Timeout" => Ended::TimedOut,
            _ => why(),
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendFileResults {
    invocations: SendList,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendList {
    #[serde(default)]
    invocation: Vec<SendInvocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendInvocation {
    invoke_instances: SendInstances,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendInstances {
    #[serde(default)]
    invoke_instance: Vec<InvocationResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssistantStatus {
    instance_cloud_assistant_status_set: StatusList,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatusList {
    #[serde(default)]
    instance_cloud_assistant_status: Vec<StatusOfInstance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatusOfInstance {
    cloud_assistant_status: String,
}

impl CommandApi for Alibaba {
    fn limits(&self) -> ApiLimits {
        ApiLimits {
            // 18 KiB in base64.
            command: 18 * 1024 / 4 * 3,
            // 32 KiB in base64.
            file: 32 * 1024 / 4 * 3,
            output: 24 * 1024,
        }
    }

    fn is_listening<'a>(&'a self, instance: &'a CloudInstance) -> BoxFuture<'a, Result<bool, ApiError>> {
        async move {
            let parameters = BTreeMap::from([("InstanceId.1", instance.instance.clone())]);
            let status: AssistantStatus = self
                .call(instance, "DescribeCloudAssistantStatus", parameters)
                .await?;
            let statuses = status
                .instance_cloud_assistant_status_set
                .instance_cloud_assistant_status;
            Ok(statuses
                .iter()
                .any(|status| status.cloud_assistant_status == "true"))
        }
        .boxed()
    }

    fn send_file<'a>(
        &'a self,
        instance: &'a CloudInstance,
        directory: &'a str,
        name: &'a str,
        content: &'a [u8],
    ) -> BoxFuture<'a, Result<String, ApiError>> {
        async move {
            let parameters = BTreeMap::from([
                ("InstanceId.1", instance.instance.clone()),
                ("Name", name.into()),
                ("TargetDir", directory.into()),
                ("ContentType", "Base64".into()),
                ("Content", STANDARD.encode(content)),
                ("FileOwner", "root".into()),
                ("FileGroup", "root".into()),
                ("FileMode", "0600".into()),
                ("Overwrite", "true".into()),
            ]);
            let started: Started = self.call(instance, "SendFile", parameters).await?;
            Ok(started.invoke_id)
        }
        .boxed()
    }

    fn file_sent<'a>(
        &'a self,
        instance: &'a CloudInstance,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Result<(), String>>, ApiError>> {
        async move {
            let parameters = BTreeMap::from([("InvokeId", id.to_owned())]);
            let results: SendFileResults = self.call(instance, "DescribeSendFileResults", parameters).await?;
            let instances = results
                .invocations
                .invocation
                .into_iter()
                .flat_map(|invocation| invocation.invoke_instances.invoke_instance);
            Ok(match instances.last() {
                None => None,
                Some(result) => match result.invocation_status.as_str() {
                    "Pending" | "Running" => None,
                    "Success" => Some(Ok(())),
                    _ => Some(Err(format!("{}: {}", result.error_code, result.error_info))),
                },
            })
        }
        .boxed()
    }

    fn start<'a>(
        &'a self,
        instance: &'a CloudInstance,
        script: &'a Secret,
        limit: Duration,
        token: &'a str,
    ) -> BoxFuture<'a, Result<String, ApiError>> {
        async move {
            let parameters = BTreeMap::from([
                ("InstanceId.1", instance.instance.clone()),
                ("Name", "kube-on-kube".into()),
                ("Type", "RunShellScript".into()),
                ("ContentEncoding", "Base64".into()),
                ("CommandContent", STANDARD.encode(script.expose())),
                ("Timeout", limit.as_secs().max(10).to_string()),
                ("KeepCommand", "false".into()),
                ("ClientToken", token.into()),
            ]);
            let started: Started = self.call(instance, "RunCommand", parameters).await?;
            Ok(started.invoke_id)
        }
        .boxed()
    }

    fn ended<'a>(
        &'a self,
        instance: &'a CloudInstance,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Ended>, ApiError>> {
        async move {
            let parameters = BTreeMap::from([
                ("InvokeId", id.to_owned()),
                ("InstanceId", instance.instance.clone()),
                ("ContentEncoding", "Base64".into()),
            ]);
            let results: InvocationResults = self
                .call(instance, "DescribeInvocationResults", parameters)
                .await?;
            let result = results
                .invocation
                .invocation_results
                .invocation_result
                .into_iter()
                .last();
            result.map_or(Ok(None), InvocationResult::ended)
        }
        .boxed()
    }
}
