//! Takes secrets out of what a host wrote, before it goes to a status, an event or a log.

use kok_plan::host::{Content, Operation, Step};
use zeroize::Zeroizing;

/// What stands in for a secret.
const REDACTED: &str = "[redacted]";

/// Shorter pieces of a secret file are not searched for: they would be found everywhere.
const SHORTEST: usize = 8;

/// Knows the secrets of one operation.
pub(crate) struct Redactor {
    secrets: Vec<Zeroizing<String>>,
}

impl Redactor {
    /// The secrets are the words of each secret file, but for keys and addresses, which make a tail readable.
    pub(crate) fn of(operation: &Operation) -> Self {
        let mut secrets = Vec::new();
        for step in &operation.steps {
            if let Step::WriteFile {
                content: Content::Filled { secret, .. },
                ..
            } = step
            {
                let text = Zeroizing::new(String::from_utf8_lossy(secret.expose()).into_owned());
                for word in text.split_whitespace() {
                    let value = word.trim_matches(|c: char| matches!(c, '"' | '\'' | ','));
                    if value.len() >= SHORTEST && !value.ends_with(':') && !value.contains("://") {
                        secrets.push(Zeroizing::new(value.to_owned()));
                    }
                }
            }
        }
        // The longest first: one may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without secrets of the operation, bootstrap tokens and private keys.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        redact_tokens(&redact_pem(&text))
    }
}

/// PEM blocks of private keys, also one whose end was cut off.
fn redact_pem(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let head_end = rest[start + 11..].find("-----").map(|at| start + 11 + at);
        let private = head_end.is_some_and(|end| rest[start..end].contains("PRIVATE KEY"));
        if private {
            kept.push_str(&rest[..start]);
            kept.push_str(REDACTED);
            rest = match rest[start..].find("-----END ") {
                Some(end) => {
                    let tail = &rest[start + end + 9..];
                    tail.find("-----").map_or("", |at| &tail[at + 5..])
                }
                None => "",
            };
        } else {
            kept.push_str(&rest[..start + 11]);
            rest = &rest[start + 11..];
        }
    }
    kept.push_str(rest);
    kept
}

/// Bootstrap tokens: six characters, a dot, sixteen characters, all lower case or digits.
fn redact_tokens(text: &str) -> String {
    let is_token_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_token = |word: &str| {
        word.split_once('.').is_some_and(|(id, secret)| {
            id.len() == 6
                && secret.len() == 16
                && id.chars().all(is_token_char)
                && secret.chars().all(is_token_char)
        })
    };
    text.split_inclusive(|c: char| !is_token_char(c) && c != '.')
        .map(|piece| {
            let word = piece.trim_end_matches(|c: char| !is_token_char(c));
            if is_token(word) {
                format!("{REDACTED}{}", &piece[word.len()..])
            } else {
                piece.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kok_plan::host::{Owner, Secret};

    use super::*;

    #[test]
    fn secrets_tokens_and_keys_are_taken_out() {
        let operation = Operation {
            id: "x".into(),
            generation: 1,
            owner: Owner {
                cluster: "c".into(),
                machine: "m".into(),
                label: String::new(),
            },
            steps: vec![Step::WriteFile {
                path: "/etc/x".into(),
                content: Content::Filled {
                    slot: "s".into(),
                    secret: Secret::new("password: \"correct-horse\"\nuser: bob\n"),
                },
                mode: 0o600,
                uid: 0,
                gid: 0,
            }],
            deadline: Duration::from_secs(1),
        };
        let redactor = Redactor::of(&operation);
        for (text, expected) in [
            (
                "login as bob with correct-horse failed",
                "login as bob with [redacted] failed",
            ),
            (
                "token abcdef.0123456789abcdef, rejected",
                "token [redacted], rejected",
            ),
            (
                "kubelet-1.36.3 on node1.example",
                "kubelet-1.36.3 on node1.example",
            ),
            (
                "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
            ("x -----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", "x [redacted]"),
            (
                "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
                "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
            ),
            ("ärger…", "ärger…"),
        ] {
            assert_eq!(redactor.redact(text), expected);
        }
    }
}
