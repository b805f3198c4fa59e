//! skeleton
/// The generated contract.
#[allow(missing_docs)]
pub mod pb {
    tonic::include_proto!("tollgate.v1");
    /// x
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.bin"));
}
pub mod clock;
pub mod domain;
pub mod hot;
pub mod ledger;
