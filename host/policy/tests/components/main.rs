//! Real components behind the policy: what they may do, what they cost, and what becomes of their failures.

mod built;
mod fuzz;
mod goldens;
mod hostile;
mod lifecycle;
mod replace;
mod statistics;
mod world;
