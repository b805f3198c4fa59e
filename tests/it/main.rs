//! Everything that is tested from outside, in one binary: one suite per seam and per face.

mod demo;
mod model;
mod support;
mod tidy;
