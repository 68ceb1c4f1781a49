//! What is known of the fields of a kind: their types, which lists are maps, what is required.
//!
//! Built-in kinds have it from Kubernetes' own OpenAPI documents (`schemas/kubernetes.json`; the defaults that its code
//! sets are in `schemas/defaults.json`), ours from their CustomResourceDefinition. Both become one table of types.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Value, json};

/// The JSON type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    Quantity,
    Any,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListType {
    /// Not at all: the list is one value.
    Atomic,
    /// By themselves.
    Set,
    /// By these fields of theirs.
    Map(Vec<String>),
}

/// Limits of a value beyond its type.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) one_of: Option<Vec<Value>>,
    pub(super) pattern: Option<Regex>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) min_items: Option<usize>,
    pub(super) max_items: Option<usize>,
    pub(super) max_properties: Option<usize>,
    pub(super) date_time: bool,
    pub(super) base64: bool,
}

/// One type.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Type,
    pub(super) properties: BTreeMap<String, Field>,
    pub(super) additional: Option<usize>,
    pub(super) items: Option<usize>,
    pub(super) list: ListType,
    pub(super) atomic: bool,
    pub(super) open: bool,
    pub(super) nullable: bool,
    pub(super) required: Vec<String>,
    /// Properties that have a default.
    pub(super) defaulted: Vec<String>,
    pub(super) limits: Limits,
}

/// A field of an object: its type, and what is said of it only here.
#[derive(Clone, Debug)]
pub(super) struct Field {
    node: usize,
    default: Option<Value>,
    atomic: bool,
}

/// All types of a kind, and of what it is made of.
#[derive(Clone, Debug, Default)]
struct Types {
    nodes: Vec<Node>,
    named: HashMap<String, usize>,
    /// An object of which nothing is said has no fields in a custom resource, and any in a built-in kind.
    closed: bool,
}

static BUILT_IN: LazyLock<Arc<Types>> = LazyLock::new(|| {
    let documents = include_str!("../../schemas/kubernetes.json");
    let mut definitions: BTreeMap<String, Value> = serde_json::from_str(documents).unwrap_or_default();
    let defaults = include_str!("../../schemas/defaults.json");
    let defaults: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_str(defaults).unwrap_or_default();
    for (name, fields) in defaults {
        for (field, default) in fields {
            definitions.entry(name.clone()).or_default()["properties"][field]["default"] = default;
        }
    }
    let mut types = Types::default();
    for name in definitions.keys() {
        types.named.insert(name.clone(), types.nodes.len());
        types.nodes.push(Node::unknown());
    }
    for (name, definition) in &definitions {
        let node = types.node(definition);
        let at = types.named[name];
        types.nodes[at] = node;
    }
    Arc::new(types)
});

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The type of a kind. Cheap to clone.
#[derive(Clone)]
pub(super) struct Schema {
    types: Arc<Types>,
    root: usize,
}

/// A place in a schema.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    types: &'a Types,
    node: &'a Node,
    default: Option<&'a Value>,
    atomic: bool,
}

impl Schema {
    /// Type of a built-in kind, by the name of its definition.
    pub(super) fn built_in(definition: &str) -> Option<Self> {
        let types = BUILT_IN.clone();
        let root = *types.named.get(definition)?;
        Some(Self { types, root })
    }

    /// Type of a custom resource, by the `openAPIV3Schema` of its version.
    pub(super) fn custom(schema: &Value) -> Self {
        let mut types = (**BUILT_IN).clone();
        types.closed = true;
        let mut root = types.node(schema);
        for (name, schema) in [
            ("apiVersion", json!({"type": "string"})),
            ("kind", json!({"type": "string"})),
            ("metadata", json!({"$ref": OBJECT_META})),
        ] {
            let field = types.field(&schema);
            root.properties.insert(name.into(), field);
        }
        types.nodes.push(root);
        let root = types.nodes.len() - 1;
        Self {
            types: Arc::new(types),
            root,
        }
    }

    pub(super) fn root(&self) -> At<'_> {
        let node = &self.types.nodes[self.root];
        At {
            types: &self.types,
            node,
            default: None,
            atomic: node.atomic,
        }
    }
}

impl<'a> At<'a> {
    pub(super) fn node(self) -> &'a Node {
        self.node
    }

    /// The value of the field when it is absent.
    pub(super) fn default(self) -> Option<&'a Value> {
        self.default
    }

    /// Whether the object is one value for those who own fields.
    pub(super) fn is_atomic(self) -> bool {
        self.atomic
    }

    fn to(self, node: usize) -> Self {
        let node = &self.types.nodes[node];
        Self {
            types: self.types,
            node,
            default: None,
            atomic: node.atomic,
        }
    }

    /// A declared field.
    pub(super) fn property(self, name: &str) -> Option<Self> {
        let field = self.node.properties.get(name)?;
        let mut at = self.to(field.node);
        at.default = field.default.as_ref();
        at.atomic |= field.atomic;
        Some(at)
    }

    /// A field, or the value of a key of a map.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        self.property(name)
            .or_else(|| Some(self.to(self.node.additional?)))
    }

    /// The items of a list.
    pub(super) fn items(self) -> Option<Self> {
        self.node.items.map(|node| self.to(node))
    }
}

impl Node {
    fn unknown() -> Self {
        Self {
            kind: Type::Any,
            properties: BTreeMap::new(),
            additional: None,
            items: None,
            list: ListType::Atomic,
            atomic: false,
            open: true,
            nullable: true,
            required: Vec::new(),
            defaulted: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Types {
    fn push(&mut self, schema: &Value) -> usize {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return match self.named.get(name) {
                Some(at) => *at,
                None => self.keep(Node::unknown()),
            };
        }
        let node = self.node(schema);
        self.keep(node)
    }

    fn field(&mut self, schema: &Value) -> Field {
        Field {
            node: self.push(schema),
            default: schema.get("default").cloned(),
            atomic: schema.get("x-kubernetes-map-type") == Some(&Value::from("atomic")),
        }
    }

    fn keep(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn node(&mut self, schema: &Value) -> Node {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let text = |name: &str| schema.get(name).and_then(Value::as_str);
        let strings = |name: &str| {
            let list = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str)
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let kind = if flag("x-kubernetes-quantity") {
            Type::Quantity
        } else if flag("x-kubernetes-int-or-string") {
            Type::IntOrString
        } else {
            match text("type") {
                Some("object") => Type::Object,
                Some("array") => Type::Array,
                Some("string") => Type::String,
                Some("integer") => Type::Integer,
                Some("number") => Type::Number,
                Some("boolean") => Type::Boolean,
                _ => Type::Any,
            }
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties: BTreeMap<String, Field> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), self.field(schema)))
            .collect();
        let additional = schema.get("additionalProperties").filter(|it| it.is_object());
        let additional = additional.map(|schema| self.push(schema));
        let open = flag("x-kubernetes-preserve-unknown-fields")
            || kind == Type::Any
            || (kind == Type::Object && properties.is_empty() && additional.is_none() && !self.closed);
        Node {
            kind,
            additional,
            items: schema.get("items").map(|items| self.push(items)),
            list: match text("x-kubernetes-list-type") {
                Some("map") => ListType::Map(strings("x-kubernetes-list-map-keys")),
                Some("set") => ListType::Set,
                _ => ListType::Atomic,
            },
            atomic: text("x-kubernetes-map-type") == Some("atomic"),
            open,
            nullable: flag("nullable"),
            required: strings("required"),
            defaulted: properties
                .iter()
                .filter(|(_, field)| field.default.is_some())
                .map(|(name, _)| name.clone())
                .collect(),
            limits: Limits::of(schema),
            properties,
        }
    }
}

impl Limits {
    fn of(schema: &Value) -> Self {
        let size = |name: &str| {
            let size = schema.get(name).and_then(Value::as_u64);
            size.and_then(|size| usize::try_from(size).ok())
        };
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        Self {
            one_of: schema.get("enum").and_then(Value::as_array).cloned(),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .and_then(|pattern| Regex::new(pattern).ok()),
            minimum: number("minimum"),
            maximum: number("maximum"),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            max_properties: size("maxProperties"),
            date_time: schema.get("format") == Some(&Value::from("date-time")),
            base64: schema.get("format") == Some(&Value::from("byte")),
        }
    }
}
