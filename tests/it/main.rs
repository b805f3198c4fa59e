//! Everything that is tested from outside, in one binary: one suite per seam and per face.

mod cli;
mod model;
mod process;
mod support;
mod tidy;
