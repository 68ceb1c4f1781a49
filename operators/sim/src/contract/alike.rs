//! The same objects given to two servers: what they store of them must be the same, but for what a server draws by itself.

use serde_json::{Value, json};

use super::Stage;
use super::stage::{Failure, meta};

/// Applies each object to both servers, and once more, and tells where what they store differs.
///
/// # Errors
/// When one of them does not take an object.
pub async fn differences(one: &Stage, other: &Stage, objects: &[Value]) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for object in objects {
        for round in ["created", "applied again"] {
            let (left, right) = (stored(one, object).await?, stored(other, object).await?);
            let mut paths = Vec::new();
            compare(&left, &right, "", &mut paths);
            let name = meta(object, "name");
            found.extend(
                paths
                    .into_iter()
                    .map(|path| format!("{} {name}, {round}: {path}", object["kind"])),
            );
        }
    }
    Ok(found)
}

async fn stored(stage: &Stage, object: &Value) -> Result<Value, Failure> {
    let url = stage.url_of(object)?;
    let url = format!("{url}?fieldManager=contract&force=true&fieldValidation=Strict");
    let mut object = stage
        .send("PATCH", &url, "application/apply-patch+yaml", object)
        .await?;
    mask(&mut object);
    Ok(object)
}

/// What no two servers draw alike.
fn mask(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(field);
        }
    }
    let entries = object
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("time");
        }
    }
    let headless = object.pointer("/spec/clusterIP") == Some(&json!("None"));
    if object["kind"] == json!("Service")
        && !headless
        && let Some(spec) = object["spec"].as_object_mut()
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
}

fn compare(left: &Value, right: &Value, path: &str, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, left) in one {
                let right = other.get(name).unwrap_or(&Value::Null);
                compare(left, right, &format!("{path}.{name}"), found);
            }
            for (name, right) in other.iter().filter(|(name, _)| !one.contains_key(*name)) {
                compare(&Value::Null, right, &format!("{path}.{name}"), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (left, right)) in one.iter().zip(other).enumerate() {
                compare(left, right, &format!("{path}[{index}]"), found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path} is {left} and {right}")),
    }
}
