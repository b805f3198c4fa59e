//! The catalogue that a server prices by.

use crate::{
    cli::{
        client::{Call, failure},
        document::write,
        exit::Exit,
        output::{Failure, Output},
        show,
    },
    pb,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CatalogArgs {
    /// Print its file instead, as `serve --catalog` takes it
    #[arg(long)]
    yaml: bool,
}

/// Shows the catalogue in force.
pub(super) async fn catalog(call: Call<CatalogArgs>, output: Output) -> Result<Exit, Failure> {
    let yaml = call.args.yaml;
    if yaml && output.is_json() {
        let message = "--yaml: with --json the file is in the field rate_card_yaml";
        return Err(Failure::new(Exit::Usage, message));
    }
    let client = call.server.connect().await?;
    let request = client.request(pb::GetCatalogRequest {});
    let answer = client.admin().get_catalog(request).await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    write(output, &answer, |answer| match yaml {
        true => answer.rate_card_yaml.trim_end().to_owned(),
        false => show::catalog(answer),
    })?;
    Ok(Exit::Ok)
}
