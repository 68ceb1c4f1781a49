//! Sets of fields, and their form in `metadata.managedFields` (FieldsV1).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::schema::At;

/// One step of a path to a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of an object, or a key of a map.
    Field(String),
    /// The item of a list that has these values in its key fields, as JSON.
    Item(String),
    /// The item of a set, as JSON.
    Member(String),
}

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    below: BTreeMap<Step, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Whether the field itself is in the set, and not only fields below it.
    member: bool,
    below: Fields,
}

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        self.below.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let entry = match self.below.get_mut(first) {
            Some(entry) => entry,
            None => self.below.entry(first.clone()).or_default(),
        };
        if rest.is_empty() {
            entry.member = true;
        } else {
            entry.below.insert(rest);
        }
    }

    /// Adds a field, if it is a member, with what is below it.
    pub(super) fn put(&mut self, step: Step, member: bool, below: Self) {
        if member || !below.is_empty() {
            self.below.insert(step, Entry { member, below });
        }
    }

    /// Whether the field at `step` itself is in the set.
    pub(super) fn has(&self, step: &Step) -> bool {
        self.below.get(step).is_some_and(|entry| entry.member)
    }

    /// The fields below `step`, if there are any in the set.
    pub(super) fn under(&self, step: &Step) -> Option<&Self> {
        let below = &self.below.get(step)?.below;
        (!below.is_empty()).then_some(below)
    }

    #[must_use]
    pub(super) fn union(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (step, theirs) in &other.below {
            let entry = self.below.entry(step.clone()).or_default();
            entry.member |= theirs.member;
            entry.below.add(&theirs.below);
        }
    }

    /// Fields of this set that are not in the other.
    #[must_use]
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    /// Fields of both sets.
    #[must_use]
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let nothing = Entry::default();
        let below = self.below.iter().filter_map(|(step, mine)| {
            let theirs = other.below.get(step).unwrap_or(&nothing);
            let entry = Entry {
                member: keep(mine.member, theirs.member),
                below: mine.below.combine(&theirs.below, keep),
            };
            (entry.member || !entry.below.is_empty()).then(|| (step.clone(), entry))
        });
        Self {
            below: below.collect(),
        }
    }

    /// Whether a set in its written form has a field of this set.
    pub(super) fn touches(&self, written: &Value) -> bool {
        self.below.iter().any(|(step, entry)| {
            let Some(there) = written.get(step.written()) else {
                return false;
            };
            let is_there = there.as_object().is_none_or(|fields| fields.is_empty() || fields.contains_key("."));
            (entry.member && is_there) || entry.below.touches(there)
        })
    }

    /// Without the fields of `other` and everything below them.
    #[must_use]
    pub(super) fn without(&self, other: &Self) -> Self {
        let below = self.below.iter().filter_map(|(step, mine)| {
            let entry = match other.below.get(step) {
                Some(theirs) if theirs.member => return None,
                Some(theirs) => Entry {
                    member: mine.member,
                    below: mine.below.without(&theirs.below),
                },
                None => mine.clone(),
            };
            (entry.member || !entry.below.is_empty()).then(|| (step.clone(), entry))
        });
        Self {
            below: below.collect(),
        }
    }

    /// The set, and each declared field that has fields of the set below it: such a field exists only as long as
    /// something is in it.
    #[must_use]
    pub(super) fn with_parents(&self, at: Option<At<'_>>) -> Self {
        let below = self.below.iter().map(|(step, entry)| {
            let (declared, at) = match step {
                Step::Field(name) => (
                    at.is_some_and(|at| at.property(name).is_some()),
                    at.and_then(|at| at.field(name)),
                ),
                Step::Item(_) => (false, at.and_then(At::items)),
                Step::Member(_) => (false, None),
            };
            let entry = Entry {
                member: entry.member || (declared && !entry.below.is_empty()),
                below: entry.below.with_parents(at),
            };
            (step.clone(), entry)
        });
        Self {
            below: below.collect(),
        }
    }

    /// Each field of the set as people read it.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths(String::new(), &mut found);
        found
    }

    fn collect_paths(&self, prefix: String, found: &mut Vec<String>) {
        for (step, entry) in &self.below {
            let path = format!("{prefix}{step}");
            if entry.member {
                found.push(path.clone());
            }
            entry.below.collect_paths(path, found);
        }
    }

    /// As `fieldsV1`.
    pub(super) fn to_json(&self) -> Value {
        let fields = self.below.iter().map(|(step, entry)| {
            let mut below = entry.below.to_json();
            if let (true, Some(map)) = (entry.member && !entry.below.is_empty(), below.as_object_mut()) {
                map.insert(".".into(), json!({}));
            }
            (step.written(), below)
        });
        Value::Object(fields.collect::<Map<_, _>>())
    }

    /// From `fieldsV1`.
    pub(super) fn from_json(value: &Value) -> Self {
        let below = value
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                let (form, rest) = name.split_once(':')?;
                let step = match form {
                    "f" => Step::Field(rest.into()),
                    "k" => Step::Item(rest.into()),
                    "v" => Step::Member(rest.into()),
                    _ => return None,
                };
                let below = Self::from_json(value);
                let member = below.is_empty() || value.get(".").is_some();
                Some((step, Entry { member, below }))
            });
        Self {
            below: below.collect(),
        }
    }
}

impl Step {
    fn written(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Item(key) => format!("k:{key}"),
            Self::Member(value) => format!("v:{value}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(formatter, ".{name}"),
            Self::Member(value) => write!(formatter, "[={value}]"),
            Self::Item(key) => {
                let keys: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(formatter, "[{}]", keys.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&[&str]]) -> Fields {
        let mut set = Fields::default();
        for path in paths {
            let path: Vec<Step> = path.iter().map(|name| Step::Field((*name).into())).collect();
            set.insert(&path);
        }
        set
    }

    #[test]
    fn sets_survive_their_written_form() {
        let mut written = set(&[&["spec"], &["spec", "a"], &["metadata", "labels", "x"]]);
        written.insert(&[Step::Field("list".into()), Step::Item(r#"{"name":"a"}"#.into())]);
        written.insert(&[Step::Field("set".into()), Step::Member(r#""a""#.into())]);
        assert_eq!(Fields::from_json(&written.to_json()), written);
        assert_eq!(
            written.to_json()["f:spec"],
            json!({".": {}, "f:a": {}}),
            "a field that is in the set with fields below it is marked"
        );
    }

    #[test]
    fn difference_and_intersection_look_at_each_field() {
        let (mine, theirs) = (set(&[&["a"], &["a", "b"], &["c"]]), set(&[&["a"], &["c"]]));
        assert_eq!(mine.difference(&theirs), set(&[&["a", "b"]]));
        assert_eq!(mine.intersection(&theirs), set(&[&["a"], &["c"]]));
        assert_eq!(
            mine.without(&set(&[&["a"]])),
            set(&[&["c"]]),
            "with everything below"
        );
        assert_eq!(mine.clone().union(&theirs), mine);
    }
}
