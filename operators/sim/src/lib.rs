//! The simulator: an in-memory API server with the controllers around it, faults and oracles. For tests only.

pub mod api;
pub mod call;
pub mod chance;
mod connect;
pub mod contract;
mod distort;
pub mod exchange;
pub mod fault;
mod gate;
pub mod ledger;
pub mod logs;
pub mod oracle;
mod process;
mod rules;
pub mod run;
pub mod scenario;
pub mod sim;
pub mod time;
mod watching;
pub mod world;
