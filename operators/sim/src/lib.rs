//! The simulator: an in-memory API server with the controllers around it, faults and oracles. For tests only.

pub mod api;
