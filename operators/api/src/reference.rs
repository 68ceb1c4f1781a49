//! The reference of the API as Markdown, from the schemas: what a user may write, what the default is, what is refused.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

/// The page of one kind: a table for each object of its schema, with its rules.
pub(crate) fn page(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let mut page = format!(
        "# {}\n\n<!-- Generated from operators/api by `cargo run -p kok-api --example crdgen`. Do not edit. -->\n\n",
        names.kind
    );
    for version in &crd.spec.versions {
        let _ = writeln!(
            page,
            "`apiVersion: {}/{}`, `kind: {}`, {}. `kubectl get {}`.\n",
            crd.spec.group,
            version.name,
            names.kind,
            if crd.spec.scope == "Cluster" {
                "not namespaced"
            } else {
                "namespaced"
            },
            names.plural
        );
        let Some(schema) = version
            .schema
            .as_ref()
            .and_then(|it| it.open_api_v3_schema.as_ref())
        else {
            continue;
        };
        for part in ["spec", "status"] {
            if let Some(schema) = schema.properties.as_ref().and_then(|fields| fields.get(part)) {
                section(&mut page, part, schema);
            }
        }
    }
    page
}

/// A heading, the description, the fields and the rules of an object, then the objects below it.
fn section(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let _ = writeln!(page, "## {path}\n");
    if let Some(description) = &schema.description {
        let _ = writeln!(page, "{}\n", one_line(description));
    }
    let Some(fields) = &schema.properties else {
        return;
    };
    let required = schema.required.clone().unwrap_or_default();
    page.push_str("| Field | Type | Default | Meaning |\n|---|---|---|---|\n");
    for (name, field) in fields {
        let mark = if required.contains(name) {
            " (required)"
        } else {
            ""
        };
        let default = field
            .default
            .as_ref()
            .map_or_else(String::new, |value| format!("`{}`", value.0));
        let _ = writeln!(
            page,
            "| `{name}`{mark} | {} | {} | {} |",
            type_of(field),
            cell(&default),
            cell(field.description.as_deref().unwrap_or_default())
        );
    }
    page.push('\n');
    let rules: Vec<&str> = schema
        .x_kubernetes_validations
        .iter()
        .flatten()
        .filter_map(|rule| rule.message.as_deref())
        .collect();
    if !rules.is_empty() {
        page.push_str("Refused at submission:\n\n");
        for rule in rules {
            let _ = writeln!(page, "- {rule}");
        }
        page.push('\n');
    }
    for (name, field) in fields {
        let (below, suffix) = match item(field) {
            Some(item) => (item, "[]"),
            None => (field, ""),
        };
        if below.properties.is_some() {
            section(page, &format!("{path}.{name}{suffix}"), below);
        }
    }
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(items) => items.first(),
    }
}

fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        let values: Vec<String> = values
            .iter()
            .filter(|value| !value.0.is_null())
            .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
            .collect();
        return values.join(", ");
    }
    let type_ = schema.type_.clone().unwrap_or_else(|| "any".into());
    match item(schema) {
        Some(item) => format!("list of {}", type_of(item)),
        None => type_,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}
