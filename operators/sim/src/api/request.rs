//! What an HTTP request asks for.

use std::collections::HashMap;

use http::request::Parts;
use http::{Method, header};

/// A request as its method, URL and headers say it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) query: Query,
    /// Only the metadata of objects is wanted.
    pub(super) metadata_only: bool,
    pub(super) content_type: String,
    /// First part of the user agent: the field manager of who names none.
    pub(super) agent: String,
}

/// What a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/version`.
    Version,
    /// Objects of a kind.
    Resource {
        group: String,
        version: String,
        plural: String,
        namespace: Option<String>,
        name: Option<String>,
        subresource: String,
    },
    /// Nothing that is served.
    Other,
}

/// Parameters of a URL.
#[derive(Debug, Default)]
pub(super) struct Query(HashMap<String, String>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode(name), decode(value)))
        });
        Self(pairs.collect())
    }

    /// A parameter that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.extend(u8::from_str_radix(&digits, 16));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ask {
    pub(super) fn of(parts: &Parts) -> Self {
        let header = |name: header::HeaderName| {
            let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let agent = header(header::USER_AGENT);
        Self {
            method: parts.method.clone(),
            target: Target::of(parts.uri.path()),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            metadata_only: header(header::ACCEPT).contains("as=PartialObjectMetadata"),
            content_type: header(header::CONTENT_TYPE),
            agent: agent.split('/').next().unwrap_or_default().to_owned(),
        }
    }
}

impl Target {
    fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match &segments[..] {
            ["version"] => return Self::Version,
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Self::Other,
        };
        let (namespace, rest) = match rest {
            // A namespace itself has at most a subresource behind its name.
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
                (Some(*namespace), rest)
            }
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, ""),
            [plural, name] => (*plural, Some(*name), ""),
            [plural, name, subresource] => (*plural, Some(*name), *subresource),
            _ => return Self::Other,
        };
        Self::Resource {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/api/v1/pods", "", "pods", None, None, "")]
    #[case("/api/v1/namespaces/a", "", "namespaces", None, Some("a"), "")]
    #[case("/api/v1/namespaces/a/status", "", "namespaces", None, Some("a"), "status")]
    #[case("/api/v1/namespaces/a/pods", "", "pods", Some("a"), None, "")]
    #[case(
        "/apis/apps/v1/namespaces/a/deployments/b/status",
        "apps",
        "deployments",
        Some("a"),
        Some("b"),
        "status"
    )]
    fn urls_name_objects(
        #[case] path: &str,
        #[case] group: &str,
        #[case] plural: &str,
        #[case] namespace: Option<&str>,
        #[case] name: Option<&str>,
        #[case] subresource: &str,
    ) {
        let expected = Target::Resource {
            group: group.into(),
            version: "v1".into(),
            plural: plural.into(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.into(),
        };
        assert_eq!(Target::of(path), expected);
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("&labelSelector=a%3Db%2Cc&watch=true&limit=5&continue=");
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert!(query.flag("watch"));
        assert_eq!((query.number("limit"), query.get("continue")), (Some(5), None));
    }
}
