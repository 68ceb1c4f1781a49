//! A call as a person reads it: who, of which server, what, of which object.

use std::fmt;

use http::Method;

use crate::api::Key;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read all of them.
    List,
    /// Be told of changes.
    Watch,
    /// Make an object.
    Create,
    /// Server-side apply.
    Apply,
    /// Another patch.
    Patch,
    /// Write an object over another.
    Replace,
    /// Delete an object.
    Delete,
    /// Ask etcd's members who they are.
    AskEtcd,
}

impl Verb {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Apply | Self::Patch | Self::Replace | Self::Delete
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Patch => "patch",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::AskEtcd => "ask etcd",
        }
    }
}

/// One call. Ordered, so that calls that are due at once are served in an order that no hash decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Who calls: a replica of the operator.
    pub actor: String,
    /// Whose reconcile makes it; empty outside of reconciles.
    pub cluster: String,
    /// Which server: `meta`, or the namespace of a business cluster.
    pub server: String,
    /// What is asked for.
    pub verb: Verb,
    /// Plural and group of the resource.
    pub resource: String,
    /// Namespace, if one is named.
    pub namespace: Option<String>,
    /// Name, if one is named.
    pub name: String,
    /// `status` and the like.
    pub subresource: String,
    /// What is asked of a list: selectors.
    pub selector: String,
}

/// Name of the meta cluster's server.
pub const META: &str = "meta";

impl Call {
    /// The call that a request is. The name of a created object is only in its body: `named`.
    pub fn of(
        actor: &str,
        cluster: &str,
        server: &str,
        request: &http::request::Parts,
        named: Option<&str>,
    ) -> Self {
        let query = request.uri.query().unwrap_or_default();
        let path = Path::of(request.uri.path());
        let watches = query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1");
        let apply = request
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
        let verb = match request.method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Replace,
            Method::PATCH if apply => Verb::Apply,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if watches => Verb::Watch,
            _ if path.name.is_empty() && !path.resource.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        let selector = query
            .split('&')
            .filter(|pair| pair.starts_with("labelSelector=") || pair.starts_with("fieldSelector="))
            .collect::<Vec<_>>()
            .join("&");
        Self {
            actor: actor.into(),
            cluster: cluster.into(),
            server: server.into(),
            verb,
            name: timeless(&path.resource, named.unwrap_or(&path.name)),
            resource: path.resource,
            namespace: path.namespace,
            subresource: path.subresource,
            selector,
        }
    }

    /// Text that tells this call from others of the same moment.
    pub fn purpose(&self) -> String {
        format!(
            "{} {} {} {:?} {} {:?} {} {} {}",
            self.actor,
            self.cluster,
            self.server,
            self.verb,
            self.resource,
            self.namespace,
            self.name,
            self.subresource,
            self.selector
        )
    }

    /// The call without who makes it: two calls of one kind do the same.
    pub fn kind(&self) -> (String, Verb, String, String) {
        let target = format!(
            "{}/{}/{}",
            self.resource,
            self.namespace.as_deref().unwrap_or_default(),
            self.name
        );
        (
            self.server.clone(),
            self.verb,
            target,
            format!("{} {}", self.subresource, self.selector),
        )
    }

    /// The object that is named.
    pub fn key(&self) -> Key {
        Key::new(&self.resource, self.namespace.as_deref(), &self.name)
    }

    /// Whether it is about the lease of the leader election.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases.coordination.k8s.io"
    }

    /// Whether it is an event for people.
    pub fn is_event(&self) -> bool {
        self.resource == "events.events.k8s.io"
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.verb.name())?;
        if self.verb == Verb::AskEtcd {
            return write!(formatter, " of {}", self.server);
        }
        if !self.resource.is_empty() {
            write!(formatter, " {}", self.resource)?;
        }
        match (&self.namespace, self.name.as_str()) {
            (Some(namespace), "") => write!(formatter, " in {namespace}")?,
            (Some(namespace), name) => write!(formatter, " {namespace}/{name}")?,
            (None, "") => {}
            (None, name) => write!(formatter, " {name}")?,
        }
        if !self.subresource.is_empty() {
            write!(formatter, " ({})", self.subresource)?;
        }
        if self.server != META {
            write!(formatter, " inside {}", self.server)?;
        }
        Ok(())
    }
}

/// Names of events carry the machine's real time, which is no part of a run.
fn timeless(resource: &str, name: &str) -> String {
    match name.rsplit_once('.') {
        Some((object, _)) if resource == "events.events.k8s.io" => object.to_owned(),
        _ => name.to_owned(),
    }
}

/// A path of the API: `/api/v1/namespaces/n/pods/p/status`.
#[derive(Default)]
struct Path {
    resource: String,
    namespace: Option<String>,
    name: String,
    subresource: String,
}

impl Path {
    fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, rest) = match segments.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => {
                return Self {
                    name: path.to_owned(),
                    ..Self::default()
                };
            }
        };
        let (namespace, rest) = match rest {
            // `namespaces/n` alone is the namespace itself.
            ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
                (Some((*namespace).to_owned()), [&[*plural], rest].concat())
            }
            _ => (None, rest.to_vec()),
        };
        let segment = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        let plural = segment(0);
        Self {
            resource: if group.is_empty() {
                plural
            } else {
                format!("{plural}.{group}")
            },
            namespace,
            name: segment(1),
            subresource: segment(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> Call {
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        Call::of("operator-0", "a", META, &request.into_parts().0, None)
    }

    #[test]
    fn calls_read_as_sentences() {
        let cases = [
            ("GET", "/api/v1/namespaces/n", "get namespaces n"),
            (
                "GET",
                "/api/v1/namespaces/n/pods?labelSelector=a%3Db",
                "list pods in n",
            ),
            ("GET", "/api/v1/pods?watch=true", "watch pods"),
            ("GET", "/version", "get /version"),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/n/deployments/d",
                "delete deployments.apps n/d",
            ),
            (
                "PATCH",
                "/apis/kubeonkube.io/v1alpha1/clusters/c/status",
                "patch clusters.kubeonkube.io c (status)",
            ),
            (
                "PATCH",
                "/apis/events.k8s.io/v1/namespaces/default/events/c.18af2",
                "patch events.events.k8s.io default/c",
            ),
        ];
        for (method, uri, text) in cases {
            assert_eq!(call(method, uri).to_string(), text);
        }
    }
}
