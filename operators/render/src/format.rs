//! Files of hosts: each is written in some format, and every value that a template puts into it is escaped by that
//! format's rules, so that no text from a user changes the shape of a file.

use std::fmt::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Error, ErrorKind, Output, State, Value};

use crate::{RenderError, Template};

/// How values are written into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, and so YAML: any value.
    Json,
    /// TOML: texts, numbers, booleans and lists of them.
    Toml,
    /// Unit files and one-line formats, which have no quoting that holds for all of them: words of letters, digits and
    /// `._:/@=,+-`, numbers and booleans. Anything else is refused.
    Words,
    /// PEM: nothing but PEM blocks.
    Pem,
}

impl Format {
    /// The format of the file that the template `name` gives, by its ending: `config.toml.j2`. None when it has none of ours.
    pub fn of(name: &str) -> Option<Self> {
        let (_, ending) = name.strip_suffix(".j2")?.rsplit_once('.')?;
        match ending {
            "yaml" | "json" | "conflist" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "service" | "conf" => Some(Self::Words),
            "pem" => Some(Self::Pem),
            _ => None,
        }
    }

    fn escape(self) -> AutoEscape {
        match self {
            Self::Json => AutoEscape::Json,
            Self::Toml => AutoEscape::Custom(TOML.into()),
            Self::Words => AutoEscape::Custom(WORDS.into()),
            Self::Pem => AutoEscape::Custom(PEM.into()),
        }
    }
}

const TOML: &str = "toml";
const WORDS: &str = "words";
const PEM: &str = "pem";

/// Renders `template` to the text of a file, in the format that its name says.
///
/// # Errors
/// When the template's name says no format, the template does not render, or a value has no place in the format.
pub fn file(template: &Template, context: &impl serde::Serialize) -> Result<String, RenderError> {
    let Some(format) = Format::of(&template.name) else {
        return Err(RenderError::Template {
            template: template.name.clone(),
            message: "its name must end in the format of the file and .j2, such as config.toml.j2".into(),
        });
    };
    let text = render(format, template, context)?;
    if format == Format::Json {
        parses(&template.name, &text)?;
    }
    Ok(text)
}

/// Renders a short text of package data, such as the path of a URL; every value must be one word.
///
/// # Errors
/// When `text` does not render or a value is no word.
pub fn words(text: &str, context: &impl serde::Serialize) -> Result<String, RenderError> {
    render(Format::Words, &Template::new(text, text), context)
}

/// The value of an expression of package data, such as `not host.swap`.
///
/// # Errors
/// When `expression` is none, or names something that the context does not have.
pub fn expression(
    expression: &str,
    context: &impl serde::Serialize,
) -> Result<serde_json::Value, RenderError> {
    let wrong = |message: String| RenderError::Template {
        template: expression.into(),
        message,
    };
    let environment = crate::environment();
    let value = environment
        .compile_expression(expression)
        .and_then(|compiled| compiled.eval(minijinja::value::Serde(context)))
        .map_err(|error| wrong(error.to_string()))?;
    if value.is_undefined() {
        return Err(wrong("it is undefined".into()));
    }
    serde_json::to_value(value).map_err(|error| wrong(error.to_string()))
}

fn render(
    format: Format,
    template: &Template,
    context: &impl serde::Serialize,
) -> Result<String, RenderError> {
    let wrong = |error: &Error| crate::template_error(&template.name, error);
    let mut environment = crate::environment();
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|error| wrong(&error))?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(move |_| format.escape());
    environment.set_formatter(write_value);
    environment
        .add_template(&template.name, &template.text)
        .map_err(|error| wrong(&error))?;
    environment
        .get_template(&template.name)
        .and_then(|loaded| loaded.render(minijinja::value::Serde(context)))
        .map_err(|error| wrong(&error))
}

fn parses(name: &str, text: &str) -> Result<(), RenderError> {
    serde_saphyr::from_multiple::<serde_json::Value>(text)
        .map(|_| ())
        .map_err(|error| RenderError::Template {
            template: name.into(),
            message: format!("what it gives cannot be read back: {error}"),
        })
}

fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match state.auto_escape() {
        AutoEscape::Custom(format) if format.as_ref() == TOML => toml(value),
        AutoEscape::Custom(format) if format.as_ref() == WORDS => word(value),
        AutoEscape::Custom(format) if format.as_ref() == PEM => pem(value),
        _ => json(value),
    };
    out.write_str(&written?).map_err(Error::from)
}

fn refused(format: &str, value: &Value) -> Error {
    Error::new(
        ErrorKind::BadSerialization,
        format!("{} has no place in {format}: {value}", value.kind()),
    )
}

/// JSON, with what YAML does not take raw escaped too.
fn json(value: &Value) -> Result<String, Error> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(text.chars().fold(String::new(), |mut escaped, character| {
        match u32::from(character) {
            code @ (0x7f..=0x9f | 0x2028 | 0x2029 | 0xfeff | 0xfffe | 0xffff) => {
                let _ = write!(escaped, "\\u{code:04x}");
            }
            _ => escaped.push(character),
        }
        escaped
    }))
}

fn toml(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(toml_text(text));
    }
    match value.kind() {
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::Number => Ok(value.to_string()),
        ValueKind::Seq => {
            let items: Result<Vec<String>, Error> = value.try_iter()?.map(|item| toml(&item)).collect();
            Ok(format!("[{}]", items?.join(", ")))
        }
        _ => Err(refused("TOML", value)),
    }
}

/// A basic string: quotes, backslashes and control characters are escaped.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn word(value: &Value) -> Result<String, Error> {
    let text = match value.kind() {
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number | ValueKind::String => value.to_string(),
        _ => return Err(refused("a line of words", value)),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@=,+~-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text)
    } else {
        Err(refused("a line of words", value))
    }
}

fn pem(value: &Value) -> Result<String, Error> {
    let text = value.as_str().unwrap_or_default().trim_end();
    let plain = |c: char| c.is_ascii_alphanumeric() || "+/=- \n".contains(c);
    if text.starts_with("-----BEGIN ") && text.ends_with("-----") && text.chars().all(plain) {
        Ok(text.into())
    } else {
        // Not echoed: a private key put here by mistake must not reach a log.
        Err(Error::new(ErrorKind::BadSerialization, "the value is not PEM"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    /// What would do harm if any format let it through.
    pub(crate) const METACHARACTERS: &[&str] = &[
        "a;reboot",
        "$(reboot)",
        "`reboot`",
        "a\nExecStart=/bin/sh",
        "a\r\nb",
        "a b",
        "%n",
        "${HOME}",
        "a\"]\n[plugins]\nx = \"",
        "'''",
        "\\",
        "a\0b",
        "a\u{7f}b\u{85}c\u{2028}d\u{feff}e",
        "{{ secret }}",
        "{% include 'x' %}",
        "\u{202e}x",
        "é",
        "#comment",
        "- item",
        "&anchor",
        "*alias",
        "!!python/object",
    ];

    fn rendered(name: &str, text: &str, value: &serde_json::Value) -> Result<String, RenderError> {
        file(&Template::new(name, text), &json!({"value": value}))
    }

    #[test]
    fn metacharacters_stay_one_value_in_json_and_yaml() {
        for evil in METACHARACTERS {
            let text = rendered("c.yaml.j2", "a: {{ value }}\nb: 1\n", &json!(evil)).unwrap();
            let parsed: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(parsed, json!({"a": evil, "b": 1}));
        }
    }

    #[test]
    fn metacharacters_stay_one_value_in_toml() {
        for evil in METACHARACTERS {
            let text = rendered("c.toml.j2", "a = {{ value }}\nb = 1\n", &json!(evil)).unwrap();
            let parsed: toml::Table = text.parse().unwrap();
            assert_eq!(parsed["a"].as_str(), Some(*evil), "{text}");
            assert_eq!(parsed.len(), 2);
        }
    }

    #[test]
    fn metacharacters_are_refused_where_nothing_quotes_them() {
        for evil in METACHARACTERS {
            for name in ["k.service.j2", "k.conf.j2", "ca.pem.j2"] {
                assert!(
                    rendered(name, "x={{ value }}\n", &json!(evil)).is_err(),
                    "{name} {evil}"
                );
            }
            assert!(words("v{{ value }}", &json!({"value": evil})).is_err(), "{evil}");
        }
    }

    #[rstest]
    #[case("t.toml.j2", json!(["a", "b\""]), r#"["a", "b\""]"#)]
    #[case("t.toml.j2", json!(true), "true")]
    #[case("t.toml.j2", json!(12), "12")]
    #[case("t.json.j2", json!({"a": [1]}), r#"{"a":[1]}"#)]
    #[case("t.service.j2", json!("unix:///run/x.sock"), "unix:///run/x.sock")]
    #[case("t.service.j2", json!(4), "4")]
    fn values_by_format(#[case] name: &str, #[case] value: serde_json::Value, #[case] expected: &str) {
        assert_eq!(rendered(name, "{{ value }}", &value).unwrap(), expected);
    }

    #[rstest]
    #[case("t.toml.j2", json!({"a": 1}))]
    #[case("t.toml.j2", json!(null))]
    #[case("t.service.j2", json!(""))]
    #[case("t.service.j2", json!(null))]
    #[case("t.service.j2", json!(["a"]))]
    #[case("t.pem.j2", json!("x"))]
    #[case("t.exe.j2", json!("x"))]
    #[case("t.toml", json!("x"))]
    fn what_has_no_place_is_refused(#[case] name: &str, #[case] value: serde_json::Value) {
        assert!(rendered(name, "{{ value }}", &value).is_err());
    }

    #[test]
    fn undefined_is_an_error_in_every_format() {
        for name in ["t.toml.j2", "t.service.j2", "t.json.j2", "t.pem.j2"] {
            let template = Template::new(name, "{{ nothing }}");
            assert!(file(&template, &json!({})).is_err(), "{name}");
        }
        assert!(expression("host.nothing", &json!({"host": {}})).is_err());
    }

    #[test]
    fn expressions_give_typed_values() {
        let context = json!({"host": {"swap": false, "cgroup": "v1"}});
        assert_eq!(expression("not host.swap", &context).unwrap(), json!(true));
        assert_eq!(
            expression("'cgroupfs' if host.cgroup == 'v1' else 'systemd'", &context).unwrap(),
            json!("cgroupfs")
        );
    }
}
