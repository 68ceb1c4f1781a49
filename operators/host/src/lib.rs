//! Effects on hosts: sessions, one round trip for all facts, and operations that can be interrupted anywhere.
//!
//! `kok-plan` says in [`kok_plan::host`] what is asked of a host and what it shall do. Here that goes over a
//! [`Transport`] to the script that carries it out. Nothing is chosen here but when to connect: [`pool`].

pub mod cloud;
pub mod pool;
pub mod runner;
pub mod ssh;
pub mod target;
pub mod transport;

mod hosts;
mod redact;

pub use cloud::{Alibaba, CloudCommand};
pub use hosts::{Deadlines, Host, HostError, Hosts, RemoteHosts};
pub use ssh::OpenSsh;
pub use target::Target;
pub use transport::{ConnectError, Session, Transport};
