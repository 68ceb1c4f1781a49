//! Label and field selectors.

use serde_json::Value;

use super::{object, refusal};
use kube::core::Status;

/// Which objects are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
}

impl Selector {
    /// From the texts of a request.
    ///
    /// # Errors
    /// When one is no selector.
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = split(labels.unwrap_or_default())
            .into_iter()
            .map(|part| {
                Requirement::parse(part)
                    .ok_or_else(|| refusal::bad_request(&format!("unable to parse requirement: {part:?}")))
            })
            .collect::<Result<_, _>>()?;
        let fields = split(fields.unwrap_or_default())
            .into_iter()
            .map(|part| {
                let invalid = || refusal::bad_request(&format!("invalid field selector: {part:?}"));
                let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                    (field, value, false)
                } else if let Some((field, value)) = part.split_once("==") {
                    (field, value, true)
                } else {
                    let (field, value) = part.split_once('=').ok_or_else(invalid)?;
                    (field, value, true)
                };
                Ok((field.trim().to_owned(), value.trim().to_owned(), equal))
            })
            .collect::<Result<_, Status>>()?;
        Ok(Self { labels, fields })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => {
                label(name).is_some_and(|it| values.iter().any(|value| value == it))
            }
            Requirement::NotIn(name, values) => {
                label(name).is_none_or(|it| values.iter().all(|value| value != it))
            }
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::NotExists(name) => label(name).is_none(),
        }) && self.fields.iter().all(|(field, value, equal)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            (object::at(object, &pointer).unwrap_or_default() == value) == *equal
        })
    }
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        let values = |list: &str| -> Option<Vec<String>> {
            let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(list.split(',').map(|value| value.trim().to_owned()).collect())
        };
        let name = |name: &str| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        if let Some((label, list)) = text.split_once(" notin ") {
            return Some(Self::NotIn(name(label)?, values(list)?));
        }
        if let Some((label, list)) = text.split_once(" in ") {
            return Some(Self::In(name(label)?, values(list)?));
        }
        if let Some((label, value)) = text.split_once("!=") {
            return Some(Self::NotIn(name(label)?, vec![value.trim().into()]));
        }
        if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return Some(Self::In(name(label)?, vec![value.trim().into()]));
        }
        match text.strip_prefix('!') {
            Some(label) => Some(Self::NotExists(name(label)?)),
            None => Some(Self::Exists(name(text)?)),
        }
    }
}

/// Parts between commas that are not in brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("app=web", true)]
    #[case("app==web,tier", true)]
    #[case("app!=web", false)]
    #[case("app in (api, web),!gone", true)]
    #[case("app notin (web)", false)]
    #[case("other notin (web)", true)]
    #[case("other", false)]
    fn labels_are_selected(#[case] selector: &str, #[case] selected: bool) {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "1"}}});
        let selector = Selector::parse(Some(selector), None).unwrap();
        assert_eq!(selector.matches(&object), selected);
    }

    #[rstest]
    #[case("metadata.name=a", true)]
    #[case("metadata.name!=a", false)]
    #[case("spec.nodeName=", true)]
    #[case("status.phase=Running", false)]
    fn fields_are_selected(#[case] selector: &str, #[case] selected: bool) {
        let object = json!({"metadata": {"name": "a"}, "status": {"phase": "Pending"}});
        let selector = Selector::parse(None, Some(selector)).unwrap();
        assert_eq!(selector.matches(&object), selected);
    }
}
