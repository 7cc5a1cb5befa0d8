//! What holds for every protocol and every sequence of commands, tried with generated ones; and examples of what can
//! happen to a run.
//!
//! A case is two lists of bytes: one is read as a protocol (`generate`), the other as what happens to a run of it
//! (`moves`), aimed at what is open so that runs get somewhere. `laws` are checked after every command and over the
//! whole log. A byte that is 0, or missing, is the plainest choice, so that a failing case shrinks to a plain one.

mod choices;
mod examples;
mod generate;
mod laws;
mod log;
mod moves;
mod play;
mod properties;
mod reruns;
mod situations;
mod slots;
mod undos;
mod whatif;
mod world;
