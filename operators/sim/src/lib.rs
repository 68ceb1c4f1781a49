//! The simulator: an in-memory API server with the controllers around it, faults and oracles. For tests only.

pub mod api;
pub mod call;
pub mod campaign;
pub mod chance;
mod connect;
pub mod contract;
mod distort;
pub mod exchange;
pub mod fault;
pub mod fuzz;
mod gate;
pub mod ledger;
pub mod logs;
pub mod oracle;
mod process;
pub mod plans;
mod rules;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod story;
pub mod time;
mod watching;
pub mod world;
