//! The laws, by topic.

mod clients;
mod decisions;
mod differences;
mod onlookers;
mod plans;
mod runs;
mod texts;
mod traces;
mod watch;
