//! What is told about an API server that behaves, and about one that does not.

mod connection;
mod events_out;
mod follower;
mod laws;
mod lists;
mod objects;
mod resources;
mod watches;
