//! Real components behind the policy: what they may do, what they cost, and how their failures are handled.

mod built;
mod fuzz;
mod goldens;
mod hostile;
mod lifecycle;
mod replace;
mod statistics;
mod world;
