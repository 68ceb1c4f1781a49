//! The crates that decide reach no runtime, no network and no client: what they need comes in as values.

use std::process::Command;

#[test]
fn pure_crates_reach_no_runtime_and_no_client() {
    const FORBIDDEN: &[&str] = &[
        "tokio",
        "hyper",
        "tower",
        "axum",
        "kube-client",
        "kube-runtime",
        "etcd-client",
        "kok-runtime",
        "kok-host",
    ];
    for pure in ["kok-api", "kok-render", "kok-pki", "kok-plan"] {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--package",
                pure,
                "--edges",
                "normal",
                "--prefix",
                "none",
            ])
            .args(["--format", "{p}"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let tree = String::from_utf8(output.stdout).unwrap();
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&pure), "cargo tree does not show {pure}");
        for name in names {
            assert!(!FORBIDDEN.contains(&name), "{pure} reaches {name}");
        }
    }
}
