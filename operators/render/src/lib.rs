//! Pure rendering: templates and a context in, Kubernetes objects out.
//!
//! Templates are strict (an undefined variable is an error) and every value is emitted as JSON, or by the rules of the
//! file's own format, so no text from a user can change the shape of an object or a file.

pub mod builtin;
pub mod format;
pub mod package;
pub mod params;

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

/// One template: a name for error messages and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// File name.
    pub name: String,
    /// Text of the template.
    pub text: String,
}

impl Template {
    /// A template from name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// Why a template gave no objects.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template itself is wrong, or names something that the context does not have.
    #[error("template {template} does not render: {message}")]
    Template {
        /// File name of the template.
        template: String,
        /// What is wrong and where.
        message: String,
    },
    /// The rendered text is no YAML, or not of the expected form.
    #[error("template {template} renders to something that is no Kubernetes object: {message}")]
    Output {
        /// File name of the template.
        template: String,
        /// What is wrong and where.
        message: String,
    },
}

/// Renders `template` to its YAML documents; empty ones are left out.
///
/// # Errors
/// When the template does not render or its output is not YAML.
pub fn documents(template: &Template, context: &impl Serialize) -> Result<Vec<Value>, RenderError> {
    let text = text(template, context)?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| RenderError::Output {
        template: template.name.clone(),
        message: error.to_string(),
    })?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// Renders `template` to Kubernetes objects: documents with `apiVersion`, `kind` and `metadata.name`.
///
/// # Errors
/// When the template does not render or a document is no Kubernetes object.
pub fn objects(template: &Template, context: &impl Serialize) -> Result<Vec<Value>, RenderError> {
    let documents = documents(template, context)?;
    for document in &documents {
        for field in ["/apiVersion", "/kind", "/metadata/name"] {
            if document
                .pointer(field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                return Err(RenderError::Output {
                    template: template.name.clone(),
                    message: format!(
                        "a document has no {}",
                        field.trim_start_matches('/').replace('/', ".")
                    ),
                });
            }
        }
    }
    Ok(documents)
}

/// Renders a `*.flags.yaml.j2` template: a map from flag name to value.
///
/// # Errors
/// When the template does not render or is no map of strings.
pub fn flags(template: &Template, context: &impl Serialize) -> Result<BTreeMap<String, String>, RenderError> {
    let text = text(template, context)?;
    serde_saphyr::from_str(&text).map_err(|error| RenderError::Output {
        template: template.name.clone(),
        message: error.to_string(),
    })
}

/// Parses YAML into a map, for an extension's `defaults.yaml`.
///
/// # Errors
/// When `text` is no YAML map.
pub fn yaml_map(name: &str, text: &str) -> Result<serde_json::Map<String, Value>, RenderError> {
    serde_saphyr::from_str(text).map_err(|error| RenderError::Output {
        template: name.into(),
        message: error.to_string(),
    })
}

/// `value` as YAML text.
///
/// # Errors
/// When `value` cannot be written as YAML.
pub fn to_yaml(value: &impl Serialize) -> Result<String, RenderError> {
    serde_saphyr::to_string(value).map_err(|error| RenderError::Output {
        template: String::new(),
        message: error.to_string(),
    })
}

fn text(template: &Template, context: &impl Serialize) -> Result<String, RenderError> {
    let wrong = |error: minijinja::Error| template_error(&template.name, &error);
    let mut environment = environment();
    environment.set_auto_escape_callback(|_| AutoEscape::Json);
    environment.add_filter("sha256", |text: String| sha256_hex(text.as_bytes()));
    environment.add_filter("base64", |text: String| {
        base64::engine::general_purpose::STANDARD.encode(text)
    });
    environment
        .add_template(&template.name, &template.text)
        .map_err(wrong)?;
    environment
        .get_template(&template.name)
        .and_then(|loaded| loaded.render(minijinja::value::Serde(context)))
        .map_err(wrong)
}

fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // A template that never ends must not stop the operator.
    environment.set_fuel(Some(200_000));
    environment
}

fn template_error(template: &str, error: &minijinja::Error) -> RenderError {
    RenderError::Template {
        template: template.into(),
        message: format!(
            "{error}{}",
            error
                .line()
                .map(|line| format!(" (line {line})"))
                .unwrap_or_default()
        ),
    }
}

/// SHA-256 of `bytes`, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_from_a_user_stays_one_value() {
        let template = Template::new(
            "t",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ name }}}\n",
        );
        for evil in [
            "a\nb: c",
            "\"}",
            "{{ name }}",
            "---\nkind: Secret",
            "- x",
            "${PATH}",
            "'",
        ] {
            let rendered = objects(&template, &json!({"name": evil})).unwrap();
            assert_eq!(rendered.len(), 1);
            assert_eq!(rendered[0].pointer("/metadata/name"), Some(&json!(evil)));
        }
    }

    #[test]
    fn an_undefined_variable_is_an_error_that_names_the_template() {
        let error = documents(&Template::new("my.yaml.j2", "a: {{ nothing }}"), &json!({})).unwrap_err();
        assert!(error.to_string().contains("my.yaml.j2"), "{error}");
    }

    #[test]
    fn an_endless_template_ends() {
        let template = Template::new("loop", "{% for i in range(100000000) %}{{ i }}{% endfor %}");
        assert!(documents(&template, &json!({})).is_err());
    }

    #[test]
    fn a_document_without_a_name_is_refused() {
        let template = Template::new("t", "apiVersion: v1\nkind: ConfigMap\n");
        assert!(
            objects(&template, &json!({}))
                .unwrap_err()
                .to_string()
                .contains("metadata.name")
        );
    }
}
