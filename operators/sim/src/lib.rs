//! The simulator: an in-memory API server with the controllers around it, faults and oracles. For tests only.

#![allow(clippy::result_large_err)] // an API server's answer is the error of most functions here; a box would only hide it
#![allow(clippy::similar_names)] // owner and owned, vote and voter are what they are about
#![allow(clippy::too_many_lines)] // tables of the contract
#![allow(clippy::needless_pass_by_value)] // as the trait or the caller has it

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
