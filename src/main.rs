//! The program: hands the arguments to [`tollgate::cli`] and exits with its code.

use std::process::ExitCode;

/// The hot path allocates for every call; this allocator keeps that off the list of its costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main(std::env::args_os()).into()
}
