//! skeleton
/// The generated contract.
#[allow(missing_docs)]
pub mod pb {
    tonic::include_proto!("tollgate.v1");
    /// The descriptor set, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.bin"));
}
pub mod catalogs;
pub mod clock;
pub mod domain;
pub mod enforcer;
pub mod hot;
pub mod ledger;
