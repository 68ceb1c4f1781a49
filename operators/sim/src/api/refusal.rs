//! How an API server says no: codes, reasons and messages.

use std::fmt::{self, Display};

use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails};

use serde_json::Value;

use super::managers::Conflict;
use super::resource::Resource;

fn status(code: u16, reason: &str, message: &str) -> Status {
    Status::failure(message, reason).with_code(code)
}

fn about(resource: &Resource, name: &str, causes: Vec<StatusCause>) -> StatusDetails {
    StatusDetails {
        name: name.into(),
        group: resource.group.clone(),
        kind: resource.plural.clone(),
        uid: String::new(),
        causes,
        retry_after_seconds: 0,
    }
}

pub(super) fn not_found(resource: &Resource, name: &str) -> Status {
    status(
        404,
        "NotFound",
        &format!("{} {name:?} not found", resource.name()),
    )
    .with_details(about(resource, name, Vec::new()))
}

pub(super) fn already_exists(resource: &Resource, name: &str) -> Status {
    status(
        409,
        "AlreadyExists",
        &format!("{} {name:?} already exists", resource.name()),
    )
    .with_details(about(resource, name, Vec::new()))
}

pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Status {
    let message = format!(
        "Operation cannot be fulfilled on {} {name:?}: {why}",
        resource.name()
    );
    status(409, "Conflict", &message).with_details(about(resource, name, Vec::new()))
}

/// The resourceVersion is not the latest.
pub(super) fn modified(resource: &Resource, name: &str) -> Status {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(resource, name, why)
}

/// Other managers own fields that are applied.
pub(super) fn apply_conflict(conflicts: &[Conflict]) -> Status {
    let count: usize = conflicts.iter().map(|conflict| conflict.fields.len()).sum();
    let described: Vec<String> = conflicts
        .iter()
        .map(|conflict| match &conflict.fields[..] {
            [field] => format!("conflict with {}: {field}", conflict.manager),
            fields => format!("conflicts with {}:\n- {}", conflict.manager, fields.join("\n- ")),
        })
        .collect();
    let plural = if count == 1 { "" } else { "s" };
    let message = format!(
        "Apply failed with {count} conflict{plural}: {}",
        described.join("\n")
    );
    let causes = conflicts.iter().flat_map(|conflict| {
        conflict.fields.iter().map(|field| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.manager),
            field: field.clone(),
        })
    });
    status(409, "Conflict", &message).with_details(StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: causes.collect(),
        retry_after_seconds: 0,
    })
}

/// The object is refused: each error with the path of its field.
pub(super) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Status {
    let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
    let texts = match &texts[..] {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let kind = if resource.group.is_empty() {
        resource.kind.clone()
    } else {
        format!("{}.{}", resource.kind, resource.group)
    };
    let causes = errors.iter().map(|error| StatusCause {
        reason: error.reason.into(),
        message: error.message.clone(),
        field: error.field.clone(),
    });
    let details = StatusDetails {
        kind: resource.kind.clone(),
        ..about(resource, name, causes.collect())
    };
    status(422, "Invalid", &format!("{kind} {name:?} is invalid: {texts}")).with_details(details)
}

pub(super) fn bad_request(message: &str) -> Status {
    status(400, "BadRequest", message)
}

pub(super) fn forbidden(resource: &Resource, name: &str, why: &str, causes: Vec<StatusCause>) -> Status {
    let message = format!("{} {name:?} is forbidden: {why}", resource.name());
    status(403, "Forbidden", &message).with_details(about(resource, name, causes))
}

/// The resourceVersion or continue token is from before what is remembered.
pub(super) fn expired(message: &str) -> Status {
    status(410, "Expired", message)
}

/// What is applied does not fit the schema. The server gives no reason for it, and calls it its own failure.
pub(super) fn unfit(message: &str) -> Status {
    status(500, "", message)
}

pub(super) fn method_not_allowed(message: &str) -> Status {
    status(405, "MethodNotAllowed", message)
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldError {
    pub(super) reason: &'static str,
    pub(super) field: String,
    pub(super) message: String,
}

impl FieldError {
    fn new(reason: &'static str, field: impl Display, message: String) -> Self {
        Self {
            reason,
            field: field.to_string(),
            message,
        }
    }

    /// A value that is wrong, as it is shown, and why.
    pub(super) fn invalid(field: impl Display, value: &str, why: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {why}"),
        )
    }

    /// A value that breaks a rule, and what the rule says. What is no scalar is not shown.
    pub(super) fn broken_rule(field: impl Display, value: Option<&Value>, why: &str) -> Self {
        match value {
            Some(value) if !value.is_object() && !value.is_array() => {
                Self::invalid(field, &value.to_string(), why)
            }
            _ => Self::new("FieldValueInvalid", field, format!("Invalid value: {why}")),
        }
    }

    pub(super) fn required(field: impl Display, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".into()
        } else {
            format!("Required value: {why}")
        };
        Self::new("FieldValueRequired", field, message)
    }

    pub(super) fn unsupported(field: impl Display, value: &str, supported: &[String]) -> Self {
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            supported.join(", ")
        );
        Self::new("FieldValueNotSupported", field, message)
    }

    pub(super) fn duplicate(field: impl Display, value: &str) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {value}"))
    }

    pub(super) fn not_found(field: impl Display, value: &str) -> Self {
        Self::new("FieldValueNotFound", field, format!("Not found: {value:?}"))
    }

    pub(super) fn too_long(field: impl Display, most: usize) -> Self {
        let message = format!("Too long: may not be more than {most} bytes");
        Self::new("FieldValueTooLong", field, message)
    }

    pub(super) fn too_many(field: impl Display, count: usize, most: usize) -> Self {
        let message = format!("Too many: {count}: must have at most {most} items");
        Self::new("FieldValueTooMany", field, message)
    }

    pub(super) fn forbidden(field: impl Display, why: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }

    pub(super) fn wrong_type(field: impl Display, value: &str, why: &str) -> Self {
        Self::new(
            "FieldValueTypeInvalid",
            field,
            format!("Invalid value: {value}: {why}"),
        )
    }
}

impl Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}
