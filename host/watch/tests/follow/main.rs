//! The messages for an API server that works, and for one that does not.

mod connection;
mod events_out;
mod follower;
mod laws;
mod lists;
mod objects;
mod resources;
mod watches;
