//! Certificates of business clusters: what is wanted ([`CertSpec`]), how it is issued ([`Ca`]), what a
//! certificate really says ([`CertFacts`]), and whether it must be replaced ([`check`]).
//!
//! The crate never reads a clock, a file or the network. The only randomness is in [`Key::generate`] and
//! [`Serial::random`]; everything else is a function of its arguments, so plans and tests can be replayed.
//!
//! ```
//! use kok_pki::{Ca, CaSpec, CertSpec, Key, Serial, Usage, Verdict, check, inspect};
//! use std::time::Duration;
//!
//! let (hour, now) = (Duration::from_secs(3600), jiff::Timestamp::now());
//! let ca = Ca::issue(&CaSpec::new("kubernetes", 87_600 * hour), Key::generate()?, Serial::random()?, now)?;
//! let spec = CertSpec::new("kube-apiserver", Usage::Server, 8760 * hour).dns_names(["kubernetes.default"]);
//! let leaf = ca.issue_leaf(&spec, &Key::generate()?, Serial::random()?, now)?;
//!
//! let (found, ca) = (inspect(&leaf.cert_pem)?, inspect(ca.cert_pem())?);
//! assert!(matches!(check(Some(&found), &spec, &ca, 2920 * hour, now), Verdict::Good { .. }));
//! # Ok::<(), kok_pki::Error>(())
//! ```

mod der;
mod error;
mod inspect;
mod issue;
mod key;
mod kubeconfig;
mod renew;
mod request;
mod spec;

pub use error::Error;
pub use inspect::{CertFacts, inspect, signed_by};
pub use issue::{BACKDATE, Ca, Leaf};
pub use key::{Key, Serial};
pub use kubeconfig::{KubeconfigFiles, kubeconfig_embedded, kubeconfig_files};
pub use renew::{Obstacle, Reason, Verdict, check};
pub use request::{RequestFacts, RequestKey, inspect_request};
pub use spec::{CaSpec, CertSpec, Usage};
