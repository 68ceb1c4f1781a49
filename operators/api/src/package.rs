//! `ClusterPackageVersion`: the on-host software that every Machine of a cluster gets unless its own spec says otherwise.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The cluster's default packages: what a Machine without an override runs. There is one, named `default`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "kubeonkube.io",
    version = "v1alpha1",
    kind = "ClusterPackageVersion",
    plural = "clusterpackageversions",
    shortname = "cpv",
    category = "kubeonkube",
    status = "ClusterPackageVersionStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name == 'default'")
        .message("metadata.name must be 'default': a cluster has one ClusterPackageVersion; give a Machine packages of its own to differ from it"),
    printcolumn = r#"{"name":"Machines","type":"integer","jsonPath":".status.machines"}"#,
    printcolumn = r#"{"name":"In Sync","type":"integer","jsonPath":".status.inSync"}"#,
    printcolumn = r#"{"name":"Out Of Sync","type":"integer","jsonPath":".status.outOfSync"}"#,
    printcolumn = r#"{"name":"Overridden","type":"integer","jsonPath":".status.overridden"}"#,
    printcolumn = r#"{"name":"Failed","type":"integer","jsonPath":".status.failed"}"#,
    printcolumn = r#"{"name":"Valid","type":"string","jsonPath":".status.conditions[?(@.type=='Valid')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPackageVersionSpec {
    /// The packages. One that is taken out of the list is removed from the machines.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub packages: Vec<DefaultPackage>,
    /// How many machines may be unavailable, for whatever reason, while packages are changed: a number or a percentage, rounded down,
    /// at least one.
    #[serde(default = "default_max_unavailable")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 100000 : self.matches('^([1-9][0-9]?|100)%$')")
        .message("maxUnavailable must be a number of at least 1, or a percentage from 1% to 100%"))]
    pub max_unavailable: IntOrString,
    /// How many machines are changed at once.
    #[serde(default = "default_max_concurrent")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent: i32,
}

fn default_max_unavailable() -> IntOrString {
    IntOrString::Int(1)
}

fn default_max_concurrent() -> i32 {
    10
}

/// A package that every machine gets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DefaultPackage {
    /// Name of the package: a directory of `templates/packages/`.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    pub name: String,
    /// Version, without a leading `v`; for a deb the full Debian version.
    #[schemars(regex(pattern = r"^[0-9][A-Za-z0-9.+~:-]*$"), length(max = 64))]
    pub version: String,
    /// Parameters; each package lists the ones that it knows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "params")]
    pub params: BTreeMap<String, String>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "PackageSource::is_empty")]
    pub source: PackageSource,
    /// What a change of its version does to the machine's pods, instead of what the package itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption: Option<Disruption>,
}

/// What a Machine has differently from the cluster's defaults.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PackageOverride {
    /// Name of the package: a directory of `templates/packages/`.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    pub name: String,
    /// Version instead of the default one. `source.sha256` must come with it, unless the package is a deb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9][A-Za-z0-9.+~:-]*$"), length(max = 64))]
    pub version: Option<String>,
    /// Parameters over the default ones, one by one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "params")]
    pub params: BTreeMap<String, String>,
    /// Where it comes from, field by field over the default.
    #[serde(default, skip_serializing_if = "PackageSource::is_empty")]
    pub source: PackageSource,
}

/// Where a package comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PackageSource {
    /// URL that the package's own path is appended to; for a deb the URL of the apt repository. A deb without one comes from the
    /// apt sources that the host has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(
            pattern = r"^https?://([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9][A-Za-z0-9._~+-]*)*/?$"
        ),
        length(max = 300)
    )]
    pub mirror: Option<String>,
    /// SHA-256 of what is downloaded, by architecture (`amd64`, `arm64`). A host where it differs is not changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "sha256_by_architecture")]
    pub sha256: BTreeMap<String, String>,
    /// The apt repository behind `mirror`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apt: Option<AptRepository>,
}

impl PackageSource {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An apt repository.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AptRepository {
    /// Suite, for example `bookworm`.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*$"),
        length(max = 60)
    )]
    pub suite: String,
    /// Components, for example `main`.
    #[schemars(length(min = 1, max = 10), inner(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 40)), extend("x-kubernetes-list-type" = "set"))]
    pub components: Vec<String>,
    /// The public key that the repository is signed with, ASCII-armored.
    #[schemars(
        regex(
            pattern = r"^-----BEGIN PGP PUBLIC KEY BLOCK-----\n[A-Za-z0-9+/=:. \n-]+\n-----END PGP PUBLIC KEY BLOCK-----\n?$"
        ),
        length(max = 20000)
    )]
    pub signing_key: String,
}

/// What a change does to the pods of a machine, from the mildest to the hardest.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
)]
pub enum Disruption {
    /// Nothing is restarted.
    #[default]
    None,
    /// The unit reads its configuration again.
    Reload,
    /// The unit is restarted; pods go on, the Node may be NotReady for a moment.
    Restart,
    /// The Node is drained first.
    Drain,
    /// The Node is drained and the host is rebooted.
    Reboot,
}

fn params(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {"type": "string", "maxLength": 1000, "pattern": r"^[^\x00-\x1f\x7f]*$"},
    })
}

fn sha256_by_architecture(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"type": "string", "maxLength": 64, "pattern": "^[0-9a-f]{64}$"},
    })
}

/// How far the machines are; written by the node operator alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPackageVersionStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Digest of the accepted packages: the same packages have the same revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The last packages that were found valid; machines follow these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedPackages>,
    /// Machines of the cluster.
    pub machines: i32,
    /// Machines on which everything is as desired.
    pub in_sync: i32,
    /// Machines on which something is not.
    pub out_of_sync: i32,
    /// Machines with a package that does not follow the default.
    pub overridden: i32,
    /// Machines whose last operation failed.
    pub failed: i32,
    /// How many machines run which version.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["package", "version"]))]
    pub versions: Vec<VersionCount>,
    /// metav1 conditions; all types are present from the first pass.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Packages that were found valid.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedPackages {
    /// Since when they are in force.
    pub since: Time,
    /// As `spec.packages`.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub packages: Vec<DefaultPackage>,
}

/// How many machines run one version of a package.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct VersionCount {
    /// Name of the package.
    pub package: String,
    /// Version that was found on the hosts.
    pub version: String,
    /// Machines.
    pub count: i32,
}
