//! skeleton
#![allow(missing_docs)]
/// The generated contract.
pub mod pb { tonic::include_proto!("tollgate.v1"); 
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.bin")); }
