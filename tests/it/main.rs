//! Everything that is tested from outside, in one binary: one suite per seam and per face.

mod hot_store;
mod model;
mod support;
mod tidy;
