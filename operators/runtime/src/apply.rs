//! Writes to an API server: server-side apply, and deletes that name exactly which object they mean. Each ends within
//! [`deadline::REQUEST`].

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::deadline::{self, within};

/// Access to objects of a kind that is only known at run time; `namespace` is `None` for cluster-scoped kinds.
pub fn api(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Makes the fields of `object` true on the server and returns what the server then has.
///
/// - `manager` owns exactly the fields sent; those it sent before and no longer sends are removed.
/// - Force: we only send fields that are ours, so whoever else set one of them is corrected.
/// - Strict: a field that the server does not know is an error instead of being dropped silently. This is
///   what kubectl does too.
/// - A `uid` or `resourceVersion` inside `object` is a precondition; if it does not hold, that is a 409.
pub async fn apply(
    client: &Client,
    manager: &str,
    resource: &ApiResource,
    namespace: Option<&str>,
    object: &DynamicObject,
) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams::apply(manager).force().validation_strict();
    let (api, name) = (api(client, resource, namespace), object.name_any());
    within(
        deadline::REQUEST,
        api.patch(&name, &params, &Patch::Apply(object)),
    )
    .await
}

/// Tries [`apply`] without changing anything, and gives what the server would say against it.
///
/// # Errors
/// When the server could not be asked, or has no opinion (overload, for example).
pub async fn refusal(
    client: &Client,
    manager: &str,
    resource: &ApiResource,
    namespace: Option<&str>,
    object: &DynamicObject,
) -> Result<Option<String>, kube::Error> {
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::apply(manager).force().validation_strict()
    };
    let (api, name) = (api(client, resource, namespace), object.name_any());
    match within(
        deadline::REQUEST,
        api.patch(&name, &params, &Patch::Apply(object)),
    )
    .await
    {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if is_refusal(status.code, &status.message) => {
            Ok(Some(status.message.clone()))
        }
        Err(error) => Err(error),
    }
}

/// Malformed, forbidden by an admission rule or a quota, invalid. A value that has no place in the type of its field, such
/// as `cpu: abc`, is told as an internal error.
fn is_refusal(code: u16, message: &str) -> bool {
    [400, 403, 422].contains(&code)
        || code == 500 && message.contains("unable to convert unstructured object")
}

/// Makes `status` the status of `object` and returns the object as the server then has it.
///
/// The uid of `object` is sent along, so that an object deleted and created again meanwhile does not inherit
/// the status of its predecessor (409).
pub async fn apply_status<K, S>(api: &Api<K>, manager: &str, object: &K, status: &S) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    S: Serialize,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(manager).force().validation_strict();
    let name = object.name_any();
    within(
        deadline::REQUEST,
        api.patch_status(&name, &params, &Patch::Apply(patch)),
    )
    .await
}

/// How a delete ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The server accepted it. The object may stay for a while: grace period, finalizers.
    Accepted,
    /// There was no such object.
    AlreadyGone,
}

/// Deletes the object with this name *and* `uid`, and with `resource_version` too if given: then only if
/// nobody changed it since it was read. Dependants are collected in the background.
///
/// A precondition that does not hold is an error of class [`Conflict`](crate::error::ErrorClass::Conflict):
/// read again and decide again.
pub async fn delete(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: &str,
    uid: &str,
    resource_version: Option<&str>,
) -> Result<Deleted, kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: resource_version.map(str::to_owned),
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let api = api(client, resource, namespace);
    match within(deadline::REQUEST, api.delete(name, &params)).await {
        Ok(_) => Ok(Deleted::Accepted),
        // By code: the answer for a kind that is not served has no reason, and kube 5.0.0's `is_not_found`
        // then says no (its `reason_or_code` asks whether the wanted reason is known, not the received one).
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Deleted::AlreadyGone),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Bytes, http::StatusCode};
    use kube::core::GroupVersionKind;
    use rstest::rstest;
    use serde_json::Value;

    use super::*;
    use crate::error::{ErrorClass, classify};

    fn thing() -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("example.org", "v1", "Thing"))
    }

    /// Deletes from a server that gives this one answer.
    async fn delete_answered(code: u16, body: &'static str) -> Result<Deleted, kube::Error> {
        let code = StatusCode::from_u16(code).unwrap();
        let client = Client::new(Router::new().fallback(async move || (code, body)), "ns");
        delete(&client, &thing(), Some("ns"), "a", "uid-1", None).await
    }

    #[rstest]
    #[case::object(r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#)]
    #[case::no_reason(r#"{"kind":"Status","status":"Failure","code":404}"#)]
    #[case::kind_not_served("404 page not found\n")]
    #[tokio::test]
    async fn what_is_gone_counts_as_deleted(#[case] body: &'static str) {
        assert_eq!(delete_answered(404, body).await.unwrap(), Deleted::AlreadyGone);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_holds_nobody_up() {
        let router = Router::new().fallback(async || std::future::pending::<()>().await);
        let client = Client::new(router, "ns");
        let error = delete(&client, &thing(), Some("ns"), "a", "uid-1", None)
            .await
            .unwrap_err();
        assert_eq!(classify(&error), ErrorClass::Transient);
    }

    #[rstest]
    #[case(422, "Invalid value", true)]
    #[case(403, "violates PodSecurity", true)]
    #[case(
        500,
        "failed to convert new object (a/b; /v1, Kind=Pod) to proper version: unable to convert unstructured object to /v1, Kind=Pod: quantities must match",
        true
    )]
    #[case(500, "etcdserver: request timed out", false)]
    #[case(429, "too many requests", false)]
    fn what_a_server_says_against_an_object(#[case] code: u16, #[case] message: &str, #[case] refused: bool) {
        assert_eq!(is_refusal(code, message), refused);
    }

    #[tokio::test]
    async fn another_object_of_that_name_is_a_conflict() {
        let body = r#"{"kind":"Status","status":"Failure","reason":"Conflict","code":409}"#;
        let error = delete_answered(409, body).await.unwrap_err();
        assert_eq!(classify(&error), ErrorClass::Conflict);
    }

    #[tokio::test]
    async fn a_delete_names_the_uid_and_version_that_it_means() {
        let router = Router::new().fallback(async |body: Bytes| {
            let sent: Value = serde_json::from_slice(&body).unwrap();
            let wanted = json!({"uid": "uid-1", "resourceVersion": "7"});
            assert_eq!(sent["preconditions"], wanted);
            r#"{"kind":"Status","status":"Success"}"#
        });
        let client = Client::new(router, "ns");
        let deleted = delete(&client, &thing(), None, "a", "uid-1", Some("7")).await;
        assert_eq!(deleted.unwrap(), Deleted::Accepted);
    }
}
