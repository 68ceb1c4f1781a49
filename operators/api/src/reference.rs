//! The reference of the API as Markdown, from the schemas: what a user may write, what the default is, what is refused.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
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
        refused(&mut page, &rules(schema));
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
            cell(&meaning(field))
        );
    }
    page.push('\n');
    let mut refusals = rules(schema);
    let without_section = fields.values().filter(|field| field.properties.is_none());
    refusals.extend(without_section.flat_map(rules));
    refused(page, &refusals);
    for (name, field) in fields {
        if let Some((schema, suffix)) = below(field) {
            section(page, &format!("{path}.{name}{suffix}"), schema);
        }
    }
}

/// The object that a field holds or lists, which has a section of its own; None for everything else.
fn below(field: &JSONSchemaProps) -> Option<(&JSONSchemaProps, &'static str)> {
    let (schema, suffix) = item(field).map_or((field, ""), |item| (item, "[]"));
    schema.properties.is_some().then_some((schema, suffix))
}

/// What the API server says when a rule is broken.
fn rules(schema: &JSONSchemaProps) -> Vec<&str> {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    rules.filter_map(|rule| rule.message.as_deref()).collect()
}

fn refused(page: &mut String, rules: &[&str]) {
    if rules.is_empty() {
        return;
    }
    page.push_str("Refused at submission:\n\n");
    for rule in rules {
        let _ = writeln!(page, "- {rule}");
    }
    page.push('\n');
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

/// The description, and the form that a value must have.
fn meaning(field: &JSONSchemaProps) -> String {
    let mut parts: Vec<String> = field.description.iter().cloned().collect();
    if let Some(form) = form(field) {
        parts.push(format!("Form: {form}."));
    }
    if let Some(form) = item(field).and_then(form) {
        parts.push(format!("Each: {form}."));
    }
    parts.join(" ")
}

/// Limits and pattern of a value; of the values, when it is a map.
fn form(schema: &JSONSchemaProps) -> Option<String> {
    let mut limits = Vec::new();
    let mut range = |least: Option<i64>, most: Option<i64>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => limits.push(format!("{least} to {most}{unit}")),
        (Some(least), None) => limits.push(format!("at least {least}{unit}")),
        (None, Some(most)) => limits.push(format!("at most {most}{unit}")),
        (None, None) => {}
    };
    #[allow(clippy::cast_possible_truncation)] // limits of integers
    let integer = |limit: Option<f64>| limit.map(|limit| limit as i64);
    range(integer(schema.minimum), integer(schema.maximum), "");
    range(schema.min_length, schema.max_length, " characters");
    range(schema.min_items, schema.max_items, " entries");
    range(schema.min_properties, schema.max_properties, " entries");
    limits.extend(schema.pattern.iter().map(|pattern| format!("`{pattern}`")));
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
        limits.extend(form(value).map(|form| format!("values of {form}")));
    }
    (!limits.is_empty()).then(|| limits.join(", "))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}
