//! On-host software as data: what `templates/packages/<name>/package.yaml` says, and the templates beside it.

use std::collections::{BTreeMap, BTreeSet};

use kok_api::package::Disruption;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::params::Param;
use crate::{RenderError, Template};

/// A package as its directory describes it. Texts marked "words" are rendered with the package's context; expressions are
/// evaluated with it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Package {
    /// Its name: that of the directory.
    #[serde(skip)]
    pub name: String,
    /// What it is, for people.
    pub summary: String,
    /// Packages are installed from the lowest to the highest, and removed the other way round.
    pub order: u32,
    /// Packages that must be there too.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Whether its version is Kubernetes', and so bound by the skew between kubelet and apiserver.
    #[serde(default)]
    pub kubernetes: bool,
    /// Where it comes from.
    pub source: Source,
    /// Links to what was installed: path of the link, and target below the package's versioned directory.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Parameters that users may set.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// Facts about the host that only this package needs: a command each; in the context `detected.<name>` is whether it ended with 0.
    #[serde(default)]
    pub detect: BTreeMap<String, Vec<String>>,
    /// Rendered files.
    #[serde(default)]
    pub files: Vec<ConfigFile>,
    /// systemd units, in the order in which they are started.
    #[serde(default)]
    pub units: Vec<Unit>,
    /// Kernel parameters.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Kernel modules.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// TCP ports that nothing else may listen on before it is installed.
    #[serde(default)]
    pub ports: BTreeSet<u16>,
    /// How it is asked for its version.
    #[serde(default)]
    pub version: Option<VersionProbe>,
    /// How it is asked whether it works, after its units were started.
    #[serde(default)]
    pub healthy: Option<HealthProbe>,
    /// What a change of its version does to pods.
    #[serde(default)]
    pub disruption: VersionDisruption,
    /// Socket of the container runtime that it is, if it is one.
    #[serde(default)]
    pub runtime_endpoint: Option<String>,
    /// How the host joins the cluster by it, if it is the node agent.
    #[serde(default)]
    pub join: Option<Join>,
    /// What is removed when the host is reset, beside what was installed.
    #[serde(default)]
    pub reset: Reset,
    /// Its templates, by file name.
    #[serde(skip)]
    pub templates: BTreeMap<String, Template>,
}

/// Where a package comes from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Source {
    /// One file below the mirror.
    File {
        /// Path below the mirror: words.
        path: String,
        /// Name of the file in the versioned directory.
        name: String,
    },
    /// A tar archive below the mirror.
    Archive {
        /// Path below the mirror: words.
        path: String,
        /// Leading path components to leave out.
        #[serde(default)]
        strip: u8,
        /// Files of it that are watched for changes.
        binaries: Vec<String>,
    },
    /// A Debian package.
    Deb {
        /// Its name.
        name: String,
    },
}

/// A file that is rendered and kept as rendered.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// Where.
    pub path: String,
    /// Template in `files/`.
    pub template: String,
    /// Permission bits, octal.
    #[serde(default = "readable", deserialize_with = "octal")]
    pub mode: u32,
    /// Owning user and group, by number.
    #[serde(default)]
    pub owner: u32,
    /// What a change of it does to pods.
    pub disruption: Disruption,
    /// Expression: whether it shall be there.
    #[serde(default)]
    pub when: Option<String>,
}

fn readable() -> u32 {
    0o644
}

fn octal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    u32::from_str_radix(&text, 8).map_err(serde::de::Error::custom)
}

/// A unit that shall be enabled and active.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unit {
    /// Name with its suffix.
    pub name: String,
    /// Template in `files/`; absent when the package brings the unit.
    #[serde(default)]
    pub template: Option<String>,
}

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// A path that is there when the kernel has it, loaded or built in; else `/sys/module/<name>`, which not every built-in one has.
    #[serde(default)]
    pub seen_as: Option<String>,
    /// Expression: whether it is needed.
    #[serde(default)]
    pub when: Option<String>,
}

impl Module {
    /// The path that is there when the kernel has the module.
    pub fn path(&self) -> String {
        self.seen_as
            .clone()
            .unwrap_or_else(|| format!("/sys/module/{}", self.name.replace('-', "_")))
    }
}

/// How a package is asked for its version.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionProbe {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What stands in its output: words.
    pub output: String,
}

/// How a package is asked whether it works.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthProbe {
    /// Program and arguments; it must end with 0.
    pub argv: Vec<String>,
    /// How long it may take until it does.
    pub within_seconds: u64,
}

/// What a change of a package's version does to pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionDisruption {
    /// A change within a minor version.
    #[serde(default)]
    pub patch: Disruption,
    /// A change of the minor or major version.
    #[serde(default)]
    pub minor: Disruption,
}

/// How the host joins the cluster: paths of the node agent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// Kubeconfig with the bootstrap token; there only until the host has joined.
    pub bootstrap_kubeconfig: String,
    /// Kubeconfig that the node agent writes when it got its certificate.
    pub kubeconfig: String,
    /// Its current client certificate.
    pub client_certificate: String,
    /// Name in `detect` of the command that ends with 0 while that certificate is good.
    pub certificate_good: String,
}

/// What is removed when the host is reset, beside what was installed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reset {
    /// Files and directories with the package's data.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Control groups whose processes are killed.
    #[serde(default)]
    pub cgroups: Vec<String>,
    /// Commands, each only if something is there.
    #[serde(default)]
    pub run: Vec<ResetCommand>,
}

/// A command of a reset.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResetCommand {
    /// The path that must be there.
    pub if_exists: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// A rendered file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// Where.
    pub path: String,
    /// What.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
    /// Owning user and group.
    pub owner: u32,
    /// What a change of it does to pods.
    pub disruption: Disruption,
}

/// Where units are written.
pub const UNIT_DIRECTORY: &str = "/etc/systemd/system";

impl Package {
    /// A package from the files of its directory.
    ///
    /// # Errors
    /// When `package.yaml` is missing or is not what it should be.
    pub fn parse<'a>(
        name: &str,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RenderError> {
        let mut described = None;
        let mut templates = BTreeMap::new();
        for (file, text) in files {
            if file == "package.yaml" {
                described = Some(text);
            } else {
                templates.insert(file.to_owned(), Template::new(file, text));
            }
        }
        let wrong = |message: String| RenderError::Output {
            template: format!("packages/{name}/package.yaml"),
            message,
        };
        let text = described.ok_or_else(|| wrong("there is none".into()))?;
        let package: Self = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            name: name.into(),
            templates,
            ..package
        })
    }

    /// Renders one of its templates.
    fn render(&self, template: &str, context: &Value) -> Result<String, RenderError> {
        let template = self
            .templates
            .get(template)
            .ok_or_else(|| RenderError::Template {
                template: format!("packages/{}/files/{template}", self.name),
                message: "there is no such file".into(),
            })?;
        crate::format::file(template, context)
    }

    /// The files that shall be there: configuration first, then units.
    ///
    /// # Errors
    /// When a template or an expression does not render with this context.
    pub fn files(&self, context: &Value) -> Result<Vec<Rendered>, RenderError> {
        let mut rendered = Vec::new();
        for file in &self.files {
            if holds(file.when.as_deref(), context)? {
                rendered.push(Rendered {
                    path: file.path.clone(),
                    text: self.render(&file.template, context)?,
                    mode: file.mode,
                    owner: file.owner,
                    disruption: file.disruption,
                });
            }
        }
        for unit in &self.units {
            if let Some(template) = &unit.template {
                rendered.push(Rendered {
                    path: format!("{UNIT_DIRECTORY}/{}", unit.name),
                    text: self.render(template, context)?,
                    mode: readable(),
                    owner: 0,
                    disruption: Disruption::Restart,
                });
            }
        }
        Ok(rendered)
    }

    /// The kernel modules that are needed.
    ///
    /// # Errors
    /// When an expression cannot be evaluated with this context.
    pub fn modules(&self, context: &Value) -> Result<Vec<&Module>, RenderError> {
        let mut needed = Vec::new();
        for module in &self.modules {
            if holds(module.when.as_deref(), context)? {
                needed.push(module);
            }
        }
        Ok(needed)
    }

    /// Every path that it may write a file to, whatever the context.
    pub fn file_paths(&self) -> impl Iterator<Item = String> + '_ {
        let units = self
            .units
            .iter()
            .filter(|unit| unit.template.is_some())
            .map(|unit| format!("{UNIT_DIRECTORY}/{}", unit.name));
        self.files.iter().map(|file| file.path.clone()).chain(units)
    }
}

fn holds(expression: Option<&str>, context: &Value) -> Result<bool, RenderError> {
    let Some(expression) = expression else {
        return Ok(true);
    };
    match crate::format::expression(expression, context)? {
        Value::Bool(holds) => Ok(holds),
        Value::Null => Ok(false),
        other => Err(RenderError::Template {
            template: expression.into(),
            message: format!("it must be true or false, not {other}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::packages;
    use serde_json::json;

    #[test]
    fn shipped_packages_are_sound() {
        let packages = packages().unwrap();
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["runc", "containerd", "cni-plugins", "docker", "kubelet"]);
        assert_eq!(
            packages.iter().filter(|package| package.join.is_some()).count(),
            1
        );
        let mut paths = BTreeSet::new();
        for package in &packages {
            for required in &package.requires {
                let before = packages.iter().find(|other| &other.name == required).unwrap();
                assert!(
                    before.order < package.order,
                    "{} before {}",
                    required,
                    package.name
                );
            }
            let used: BTreeSet<&String> = package
                .files
                .iter()
                .map(|file| &file.template)
                .chain(package.units.iter().filter_map(|unit| unit.template.as_ref()))
                .collect();
            assert_eq!(used, package.templates.keys().collect(), "{}", package.name);
            for path in package.file_paths().chain(package.links.keys().cloned()) {
                assert!(path.starts_with('/') && !path.contains(".."), "{path}");
                assert!(paths.insert(path.clone()), "{path} is of two packages");
            }
            for template in package.templates.values() {
                assert!(
                    crate::format::Format::of(&template.name).is_some(),
                    "{}",
                    template.name
                );
                let raw = ["safe", "autoescape", "include", "import"];
                assert!(
                    !raw.iter().any(|word| template.text.contains(word)),
                    "{}",
                    template.name
                );
            }
            if let Some(join) = &package.join {
                assert!(package.detect.contains_key(&join.certificate_good));
            }
        }
    }

    #[test]
    fn defaults_of_shipped_params_are_allowed_values() {
        let context = json!({"detected": {"capSysResource": true, "resolved": false}});
        for package in packages().unwrap() {
            let params = package.params(&BTreeMap::new(), &context);
            assert!(params.is_ok(), "{params:?}");
        }
    }

    #[test]
    fn no_metacharacter_passes_into_a_shipped_package() {
        let context = json!({"detected": {"capSysResource": true, "resolved": false}});
        for package in packages().unwrap() {
            for name in package.params.keys() {
                for evil in [
                    "a;reboot",
                    "$(reboot)",
                    "`reboot`",
                    "1\nx",
                    "a b",
                    "\"",
                    "'",
                    "../x",
                    "-x -y",
                    "1,$(x)",
                ] {
                    let given = BTreeMap::from([(name.clone(), evil.to_owned())]);
                    assert!(
                        package.params(&given, &context).is_err(),
                        "{} {name} {evil}",
                        package.name
                    );
                }
            }
        }
    }

    #[test]
    fn an_unknown_param_is_named_with_those_that_are_known() {
        let packages = packages().unwrap();
        let kubelet = packages.iter().find(|package| package.name == "kubelet").unwrap();
        let given = BTreeMap::from([("maxpods".to_owned(), "1".to_owned())]);
        let wrong = kubelet
            .params(&given, &json!({"detected": {"resolved": false}}))
            .unwrap_err();
        assert!(
            wrong[0].contains("maxpods") && wrong[0].contains("maxPods"),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let text = "summary: x\norder: 1\nsource: {deb: {name: x}}\nunit: []\n";
        assert!(Package::parse("x", [("package.yaml", text)]).is_err());
        assert!(Package::parse("x", []).is_err());
    }
}
