//! The server over loopback, tested by a client that shares no code with it.

mod client;
mod health;
mod limits;
mod pages;
mod ports;
mod text;
