//! No secret leaves the Secrets: not in logs, events, statuses, ConfigMaps, arguments, plans or metrics (invariant 8).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::run::Run;

/// Shorter texts are no secrets, and would be found by chance.
const SHORTEST: usize = 24;

/// Where a secret was found.
pub(super) fn leaks(run: &Run) -> Vec<String> {
    let histories = || run.inside.values().chain([&run.history]).flatten();
    let secrets: BTreeSet<String> = histories()
        .filter(|change| change.key.resource == "secrets")
        .filter_map(|change| change.after.as_ref())
        .flat_map(secret_texts)
        .collect();
    let mut found = BTreeSet::new();
    let mut search = |place: String, text: &str| {
        if long_words(text).any(|word| secrets.iter().any(|secret| word.contains(secret.as_str()))) {
            found.insert(format!("invariant 8: a secret is in {place}"));
        }
    };
    search("the log".into(), &run.logs);
    for shown in &run.shown {
        search("what the admin port shows".into(), shown);
    }
    for change in histories().filter(|change| change.key.resource != "secrets") {
        if let Some(object) = &change.after {
            search(change.key.to_string(), &object.to_string());
        }
    }
    found.into_iter().collect()
}

/// Runs of characters that a key could be in, whatever is around them.
fn long_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=-_".contains(c)))
        .filter(|word| word.len() >= SHORTEST)
}

/// The texts by which the private part of a Secret would be recognized.
fn secret_texts(secret: &Value) -> Vec<String> {
    let data = secret.get("data").and_then(Value::as_object);
    let mut texts = Vec::new();
    for (name, encoded) in data.into_iter().flatten() {
        let Some(encoded) = encoded.as_str() else { continue };
        let decoded = STANDARD.decode(encoded).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded);
        let private = lines_of_private_keys(&decoded);
        if !private.is_empty() {
            texts.extend(private);
            // A key inside of base64: of the value itself, and of a kubeconfig's field.
            texts.push(encoded.chars().take(80).collect());
        }
        for line in decoded.lines().filter(|line| line.contains("client-key-data:")) {
            texts.extend(line.split_whitespace().last().map(str::to_owned));
        }
        if name == "encryption.yaml" {
            texts.extend(
                decoded
                    .split('"')
                    .filter(|word| word.len() >= 40 && STANDARD.decode(word).is_ok())
                    .map(str::to_owned),
            );
        }
    }
    texts.retain(|text| text.len() >= SHORTEST);
    texts
}

fn lines_of_private_keys(pem: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in pem.lines() {
        if line.contains("PRIVATE KEY-----") {
            inside = line.contains("BEGIN");
        } else if inside {
            lines.push(line.trim().to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_private_key_is_recognized_in_every_form_and_a_certificate_is_not() {
        let key = kok_pki::Key::generate().unwrap().to_pem();
        let secret =
            json!({"data": {"tls.key": STANDARD.encode(&key), "tls.crt": STANDARD.encode("public")}});
        let texts = secret_texts(&secret);
        let found = |text: &str| {
            long_words(text).any(|word| texts.iter().any(|secret| word.contains(secret.as_str())))
        };
        assert!(found(&key));
        assert!(found(&json!({ "log": key }).to_string()));
        assert!(found(&STANDARD.encode(&key)));
        assert!(!found(&STANDARD.encode("public")));
        assert!(!found("kubeonkube.io/applied-hash"));
    }
}
