//! The script that runs on hosts, what it is asked, and what it answers.
//!
//! The script is constant. Everything that comes from an object travels as a field of a data line, which the
//! script decodes into a variable and never evaluates. Script and data go over standard input, so that neither
//! shows in a process list.

mod answer;
mod facts;
mod frames;
mod operation;
mod system;
mod wire;

pub use answer::FactsError;
pub use facts::parse_facts;
pub use operation::parse_result;

use kok_plan::host::{FactsQuery, Operation, Secret};
use zeroize::Zeroizing;

/// Reads the script, whose length is the first argument, and then becomes it. The first line guards against
/// whatever else might stand at the beginning of standard input.
const BOOTSTRAP: &str = "IFS= read -r first && [ \"$first\" = kube-on-kube ] || exit 125; \
                         script=$(head -c \"$1\") && eval \"$script\"";

const FACTS: &str = concat!(include_str!("common.sh"), include_str!("facts.sh"), "facts\n");

const OPERATION: &str = concat!(
    include_str!("common.sh"),
    include_str!("operation.sh"),
    include_str!("files.sh"),
    include_str!("system.sh"),
    include_str!("packages.sh"),
    "operation\n"
);

/// One run of the script on a host.
pub struct Call {
    /// Program and arguments; always the same but for a length.
    pub argv: Vec<String>,
    /// Script and data. Holds the secrets of an operation.
    pub stdin: Secret,
    /// Begins each frame of the answer.
    pub nonce: String,
}

impl Call {
    /// Asks for facts.
    pub fn facts(query: &FactsQuery, nonce: &str) -> Self {
        Self::new(FACTS, nonce, &facts::request(query))
    }

    /// Carries out an operation, whose [`Operation::check`] succeeded.
    pub fn operation(operation: &Operation, nonce: &str) -> Self {
        Self::new(OPERATION, nonce, &operation::request(operation))
    }

    fn new(script: &str, nonce: &str, request: &str) -> Self {
        let mut stdin = Zeroizing::new(String::with_capacity(script.len() + request.len() + 128));
        for part in ["kube-on-kube\n", script, nonce, "\n", request, "end\n"] {
            stdin.push_str(part);
        }
        Self {
            argv: vec![
                "sh".into(),
                "-c".into(),
                BOOTSTRAP.into(),
                "kube-on-kube".into(),
                script.len().to_string(),
            ],
            stdin: Secret::new(stdin.as_bytes()),
            nonce: nonce.into(),
        }
    }
}

/// A nonce that nobody can guess.
pub fn random_nonce() -> String {
    let mut bytes = [0_u8; 16];
    // The system's generator does not fail once it is seeded; should it, a fixed nonce is still a valid one.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    wire::hex(&bytes)
}
