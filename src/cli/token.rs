//! `tollgate token`: makes a bearer token, and the line of the access file that knows it. Nothing
//! is kept and no server is asked.

use serde::Serialize;

use super::{
    exit::Exit,
    output::{Failure, Output},
};
use crate::access::token::{self, TokenHash};

/// Make a bearer token, and what the access file has of it
///
/// The token goes to the caller, in a file that only the caller can read (--token-file). The other
/// line goes into its principal in the server's access file; it tells nobody the token.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TokenArgs {}

/// A token, and what is kept of it.
#[derive(Serialize)]
struct Made {
    token: String,
    hash: String,
}

/// Makes one.
pub(crate) fn run(_args: TokenArgs, output: Output) -> Result<Exit, Failure> {
    let token = token::make().map_err(|error| {
        Failure::new(Exit::Internal, format!("no randomness to be had: {error}"))
    })?;
    let hash = TokenHash::of(&token).to_string();
    output.result(&Made { token, hash }, |made| {
        format!("{}\ntokens = [\"{}\"]", made.token, made.hash)
    })?;
    Ok(Exit::Ok)
}
