//! Compiles the contract under `proto/` without an installed protoc, and keeps its descriptor
//! set for gRPC reflection.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=RUSTC_VERSION_LINE={}", rustc_version());
    let files = [
        "proto/tollgate/v1/quota.proto",
        "proto/tollgate/v1/admin.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("tollgate.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}

/// For the build's metric: `1.95.0`, or `unknown` where the compiler does not say.
fn rustc_version() -> String {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(compiler).arg("--version").output();
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    let text = text.unwrap_or_default();
    let version = text.split_whitespace().nth(1).unwrap_or("unknown");
    version.to_owned()
}
