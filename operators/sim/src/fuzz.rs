//! Edits of a spec, made from the CRD's schema: valid ones, ones at the limits, and nonsense. What is drawn depends on the
//! seed and the number of the edit alone.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::chance::Chance;
use crate::world::BAD_VALUE;

/// One edit of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// JSON pointer of the field, within the spec.
    pub path: String,
    /// Its new value; None takes the field away.
    pub value: Option<Value>,
}

impl std::fmt::Display for Edit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            None => write!(formatter, "takes {} away", self.path),
            Some(value) => {
                let text = value.to_string();
                let short: String = text.chars().take(80).collect();
                write!(formatter, "sets {} to {short}", self.path)
            }
        }
    }
}

impl Edit {
    /// Makes the edit.
    pub fn apply(&self, spec: &mut Value) {
        let mut steps: Vec<&str> = self.path.split('/').skip(1).collect();
        let Some(last) = steps.pop() else { return };
        let mut at = spec;
        for step in steps {
            at = match at {
                Value::Array(items) => match step.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                    Some(item) => item,
                    None => return,
                },
                Value::Object(fields) => fields.entry(step).or_insert_with(|| json!({})),
                _ => return,
            };
        }
        match (at, &self.value) {
            (Value::Object(fields), Some(value)) => {
                fields.insert(last.to_owned(), value.clone());
            }
            (Value::Object(fields), None) => {
                fields.remove(last);
            }
            (Value::Array(items), value) => {
                let index = last.parse().unwrap_or(items.len());
                match value {
                    Some(value) if index < items.len() => items[index] = value.clone(),
                    Some(value) => items.push(value.clone()),
                    None if index < items.len() => {
                        items.remove(index);
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }
}

/// Draws edits from a schema.
pub struct Edits {
    schema: Value,
    chance: Chance,
}

/// Deepest field that is edited; below, whole values are drawn.
const DEEPEST: usize = 3;

impl Edits {
    /// Edits of Cluster specs.
    pub fn of_clusters(chance: Chance) -> Self {
        let crd: Value = serde_saphyr::from_str(include_str!(
            "../../../crds/clusters.kubeonkube.io.yaml"
        ))
        .unwrap_or_default();
        let schema = crd
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
            .cloned()
            .unwrap_or_default();
        Self {
            schema,
            chance: chance.branch(&["edits"]),
        }
    }

    /// The n-th edit.
    pub fn draw(&self, number: usize) -> Edit {
        let dice = Dice {
            chance: self.chance.branch(&[&number.to_string()]),
        };
        let mut path = String::new();
        let mut schema = &self.schema;
        for depth in 0..DEEPEST {
            let Some((name, below)) = dice.field(schema, &path) else { break };
            path = format!("{path}/{name}");
            schema = below;
            if depth > 0 && dice.one_in(3, &path) {
                break;
            }
        }
        let value = (!dice.one_in(8, "take away")).then(|| dice.value(schema, &path));
        Edit { path, value }
    }
}

struct Dice {
    chance: Chance,
}

impl Dice {
    fn one_in(&self, n: u64, purpose: &str) -> bool {
        self.chance.between(1, n, &["one in", purpose]) == 1
    }

    fn pick<'a, T>(&self, items: &'a [T], purpose: &str) -> Option<&'a T> {
        let last = u64::try_from(items.len()).ok()?.checked_sub(1)?;
        items.get(usize::try_from(self.chance.between(0, last, &["pick", purpose])).ok()?)
    }

    /// A field of an object, or an item of a list.
    fn field<'a>(&self, schema: &'a Value, path: &str) -> Option<(String, &'a Value)> {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let names: Vec<&String> = properties.keys().collect();
            let name = self.pick(&names, path)?;
            return Some(((*name).clone(), &properties[*name]));
        }
        if let Some(items) = schema.get("items") {
            let index = self.pick(&["0", "1", "-"], path)?;
            return Some(((*index).to_owned(), items));
        }
        let values = schema.get("additionalProperties")?;
        let name = self.pick(KEYS, path)?;
        Some(((*name).to_owned(), values))
    }

    fn value(&self, schema: &Value, path: &str) -> Value {
        let number = |name: &str| schema.get(name).and_then(Value::as_i64);
        if self.one_in(12, &format!("{path} wrong type")) {
            return json!([{"what": "is this"}]);
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return match self.one_in(5, path) {
                true => json!("Nonsense"),
                false => self.pick(choices, path).cloned().unwrap_or_default(),
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("integer") => {
                let (low, high) = (number("minimum").unwrap_or(0), number("maximum").unwrap_or(100));
                let choices = [low, high, low - 1, high + 1, i64::midpoint(low, high), 30_443];
                json!(self.pick(&choices, path))
            }
            Some("boolean") => json!(self.one_in(2, path)),
            Some("array") => self.list(schema, path),
            Some("object") => self.object(schema, path),
            _ => json!(self.text(schema, path)),
        }
    }

    fn list(&self, schema: &Value, path: &str) -> Value {
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(8);
        let counts = [0, 1, 1, 2, 3, most + 1];
        let count = self.pick(&counts, path).copied().unwrap_or_default();
        let items = schema.get("items").cloned().unwrap_or_default();
        (0..count).map(|index| self.value(&items, &format!("{path}/{index}"))).collect()
    }

    fn object(&self, schema: &Value, path: &str) -> Value {
        let mut fields = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}/{name}");
            if required.contains(&name.as_str()) || self.one_in(3, &format!("{path} there")) {
                fields.insert(name.clone(), self.value(below, &path));
            }
        }
        if let Some(values) = schema.get("additionalProperties").filter(|it| it.is_object()) {
            for index in 0..self.chance.between(0, 2, &["entries", path]) {
                let path = format!("{path}/{index}");
                let key = self.pick(KEYS, &path).copied().unwrap_or("v");
                fields.insert(key.to_owned(), self.value(values, &path));
            }
        }
        Value::Object(fields)
    }

    fn text(&self, schema: &Value, path: &str) -> String {
        let known = vocabulary(path);
        if !known.is_empty() && !self.one_in(6, &format!("{path} unknown")) {
            return self.pick(known, path).map(ToString::to_string).unwrap_or_default();
        }
        let longest = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(63);
        let long = |length: u64| "a".repeat(usize::try_from(length.min(300)).unwrap_or_default());
        match self.chance.between(0, 5, &["text", path]) {
            0 => String::new(),
            1 => long(longest),
            2 => long(longest + 1),
            3 => "$(reboot); {{ x }} \u{202e}\n\"".into(),
            _ => schema
                .get("pattern")
                .and_then(Value::as_str)
                .and_then(|pattern| self.matching(pattern, path))
                .unwrap_or_else(|| long(longest.min(9))),
        }
    }

    /// A text that matches a pattern.
    fn matching(&self, pattern: &str, path: &str) -> Option<String> {
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        let seed: Vec<u8> = (0..4u8)
            .flat_map(|part| self.chance.draw(&["pattern", path, &part.to_string()]).to_le_bytes())
            .collect();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let strategy = proptest::string::string_regex(pattern).ok()?;
        Some(strategy.new_tree(&mut runner).ok()?.current())
    }
}

/// Names of flags and of labels: good ones, refused ones, and ones that do not exist.
const KEYS: &[&str] = &[
    "v",
    "max-requests-inflight",
    "kube-api-qps",
    "quota-backend-bytes",
    "anonymous-auth",
    "no-such-flag",
    "kubernetes.io/os",
    "cpu",
    "memory",
];

/// Texts that mean something in a field.
fn vocabulary(path: &str) -> &'static [&'static str] {
    let field = path.rsplit('/').find(|step| step.parse::<u32>().is_err()).unwrap_or_default();
    match field {
        "version" if path.contains("etcd") => &["3.6.14", "3.6.15", "3.6.29", "3.6.99", "3.7.0", "3.5.1"],
        "version" if path.contains("extensions") => &["1.36.3", "1.14.2", "2"],
        "version" => &["1.36.3", "1.36.4", "1.36.2", "1.36.99", "1.37.0", "1.35.4"],
        "validity" => &["8760h", "720h", "6m", "5m", "1m", "87601h"],
        "renewBefore" => &["2920h", "240h", "1m", "30s", "9000h"],
        "args" | "v" | "max-requests-inflight" | "kube-api-qps" | "quota-backend-bytes" | "anonymous-auth"
        | "no-such-flag" => &["2", "100", "8589934592", "true", BAD_VALUE],
        "cpu" | "memory" | "storage" => &["10m", "1", "64Mi", "1Gi", "much"],
        "storageClassName" => &["standard", "no-such-class"],
        "host" => &["10.77.0.11", "10.77.0.12", "api.example.org", "fd00::1"],
        "groups" => &["dev", "ops", "system:masters"],
        "name" => &["alice", "bob", "kube-proxy", "coredns", "Nobody!"],
        "configMap" => &["no-such-template"],
        "extraSANs" => &["api.example.org", "10.77.0.99"],
        "allowedCIDRs" => &["10.77.0.0/16", "nonsense"],
        "podCIDR" | "serviceCIDR" => &["10.32.0.0/12", "10.96.0.0/16", "10.33.0.0/16"],
        "topologyKey" => &["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
        "issuerURL" => &["https://login.example.org"],
        "reason" => &["maintenance"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn edits_reach_every_part_of_the_spec_and_repeat() {
        let edits = Edits::of_clusters(Chance(1));
        let drawn: Vec<Edit> = (0..600).map(|number| edits.draw(number)).collect();
        let parts: BTreeSet<&str> = drawn.iter().filter_map(|edit| edit.path.split('/').nth(1)).collect();
        let fields = edits.schema["properties"].as_object().unwrap();
        assert_eq!(parts.len(), fields.len(), "{parts:?}");
        let again = Edits::of_clusters(Chance(1));
        assert!(drawn.iter().enumerate().all(|(number, edit)| again.draw(number) == *edit));
        assert!(drawn.iter().any(|edit| edit.value.is_none()));
    }

    #[test]
    fn an_edit_changes_what_it_names() {
        let mut spec = json!({"users": [{"name": "alice"}], "mode": "Minimal"});
        let edit = |path: &str, value: Option<Value>| Edit { path: path.into(), value };
        edit("/users/0/name", Some(json!("bob"))).apply(&mut spec);
        edit("/users/-", Some(json!({"name": "carol"}))).apply(&mut spec);
        edit("/etcd/args/v", Some(json!("2"))).apply(&mut spec);
        edit("/mode", None).apply(&mut spec);
        let wanted = json!({"users": [{"name": "bob"}, {"name": "carol"}], "etcd": {"args": {"v": "2"}}});
        assert_eq!(spec, wanted);
    }
}
