//! Parameters of packages: texts from a user, checked and given a type before any template sees them.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::RenderError;
use crate::package::Package;

/// A parameter that a package knows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Param {
    /// What it is, for people.
    pub description: String,
    /// What a template gets for its text.
    #[serde(rename = "type")]
    pub type_: ParamType,
    /// What the whole text must match; for lists and maps, each item.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// Its text when nobody sets it.
    #[serde(default)]
    pub default: Option<String>,
    /// Expression: its value when nobody sets it and it follows from the host.
    #[serde(default)]
    pub default_from: Option<String>,
}

/// A regular expression that a whole text must match.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    text: String,
    whole: Regex,
}

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let whole = Regex::new(&format!(r"\A(?:{text})\z"))?;
        Ok(Self { text, whole })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a template gets for a parameter's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ParamType {
    /// The text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Texts between commas.
    List,
    /// `key=value` between commas.
    Map,
}

impl Package {
    /// The parameters as templates get them: what was given over the defaults.
    ///
    /// # Errors
    /// One text for each parameter that is unknown or has a value that it must not have.
    pub fn params(
        &self,
        given: &BTreeMap<String, String>,
        context: &Value,
    ) -> Result<Map<String, Value>, Vec<String>> {
        let mut wrong: Vec<String> = given
            .keys()
            .filter(|name| !self.params.contains_key(*name))
            .map(|name| self.unknown(name))
            .collect();
        let mut values = Map::new();
        for (name, param) in &self.params {
            let value = match given.get(name) {
                Some(text) => param.value(text),
                None => param.default(context),
            };
            match value {
                Ok(value) => drop(values.insert(name.clone(), value)),
                Err(why) => wrong.push(format!("package {}, param {name}: {why}", self.name)),
            }
        }
        if wrong.is_empty() { Ok(values) } else { Err(wrong) }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.params.keys().map(String::as_str).collect();
        format!(
            "package {} has no param {name:?}; it has: {}",
            self.name,
            if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            }
        )
    }
}

impl Param {
    fn default(&self, context: &Value) -> Result<Value, String> {
        if let Some(expression) = &self.default_from {
            return crate::format::expression(expression, context)
                .map_err(|error: RenderError| error.to_string());
        }
        match &self.default {
            Some(text) => self.value(text),
            None => Ok(Value::Null),
        }
    }

    /// The value of a text.
    fn value(&self, text: &str) -> Result<Value, String> {
        let items = || text.split(',').filter(|item| !item.is_empty());
        match self.type_ {
            ParamType::String => self.matched(text).map(|text| json!(text)),
            ParamType::Integer => self
                .matched(text)?
                .parse::<i64>()
                .map(|number| json!(number))
                .map_err(|_| format!("{text:?} is no whole number")),
            ParamType::Boolean => text
                .parse::<bool>()
                .map(|truth| json!(truth))
                .map_err(|_| format!("{text:?} is neither true nor false")),
            ParamType::List => items().map(|item| self.matched(item)).collect(),
            ParamType::Map => {
                let mut map = Map::new();
                for item in items() {
                    let (key, value) = self
                        .matched(item)?
                        .split_once('=')
                        .ok_or_else(|| format!("{item:?} is no key=value"))?;
                    map.insert(key.into(), json!(value));
                }
                Ok(Value::Object(map))
            }
        }
    }

    fn matched<'a>(&self, text: &'a str) -> Result<&'a str, String> {
        match &self.pattern {
            Some(pattern) if !pattern.whole.is_match(text) => {
                Err(format!("{text:?} does not match {}", pattern.text))
            }
            _ => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn param(type_: ParamType, pattern: &str) -> Param {
        Param {
            description: String::new(),
            type_,
            pattern: Some(pattern.to_owned().try_into().unwrap()),
            default: None,
            default_from: None,
        }
    }

    #[rstest]
    #[case(ParamType::Integer, "[1-9][0-9]{0,3}", "200", Some(json!(200)))]
    #[case(ParamType::Integer, "[1-9][0-9]{0,3}", "0200", None)]
    #[case(ParamType::Integer, "[1-9][0-9]{0,3}", "200\n", None)]
    #[case(ParamType::Integer, "[1-9][0-9]{0,3}", "200; reboot", None)]
    #[case(ParamType::Integer, "-?[0-9]+", "99999999999999999999", None)]
    #[case(ParamType::Boolean, "", "true", Some(json!(true)))]
    #[case(ParamType::Boolean, "", "yes", None)]
    #[case(ParamType::String, "[a-z]+", "abc", Some(json!("abc")))]
    #[case(ParamType::String, "a|b", "ab", None)]
    #[case(ParamType::List, "[a-z]+", "a,b", Some(json!(["a", "b"])))]
    #[case(ParamType::List, "[a-z]+", "", Some(json!([])))]
    #[case(ParamType::List, "[a-z]+", "a, b", None)]
    #[case(ParamType::Map, "[a-z]+=[0-9]+", "cpu=1,memory=2", Some(json!({"cpu": "1", "memory": "2"})))]
    #[case(ParamType::Map, "[a-z]+", "cpu", None)]
    fn values(
        #[case] type_: ParamType,
        #[case] pattern: &str,
        #[case] text: &str,
        #[case] expected: Option<Value>,
    ) {
        assert_eq!(param(type_, pattern).value(text).ok(), expected);
    }
}
