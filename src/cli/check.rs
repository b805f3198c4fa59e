//! `tollgate check FILE`: whether a catalogue can be put in use. It serves nothing, calls no
//! server, and changes neither the file nor the ledger that it is held against.

mod summary;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    exit::Exit,
    offline::{LedgerArgs, Opened, unreadable},
    output::{Failure, Output},
};
use crate::{
    catalogs::{self, CatalogProblems, FILE_BYTES_MAX},
    config::Flags,
    domain::catalog::Catalog,
};

/// Check a catalogue of plans, packs and rates, before it is served
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exits with 0 where the catalogue can be put in use, and with 1 where it can't. With --data-dir or
--ledger it must also have every plan of a live account and every mode of an open reservation; the
ledger is only read, and may be in use.")]
pub(crate) struct CheckArgs {
    /// The catalogue, a YAML file
    file: PathBuf,

    /// Also hold it against a ledger.
    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Checks the file, and shows what is wrong with it or what is in it.
pub(crate) async fn run(args: CheckArgs, output: Output) -> Result<Exit, Failure> {
    let yaml = read(&args.file)?;
    let catalog = match catalogs::parse(&yaml) {
        Ok(catalog) => catalog,
        Err(problems) => return refuse(&args.file, &problems, output),
    };
    let missing = match args.ledger.is_given() {
        true => missing(&catalog, &args.ledger).await?,
        false => Vec::new(),
    };
    if missing.is_empty() {
        let summary = summary::Summary::new(&args.file, &catalog);
        output.result(&summary, summary::Summary::text)?;
        return Ok(Exit::Ok);
    }
    let file = args.file.display();
    let document = json!({"file": file.to_string(), "ok": false, "missing": missing});
    let head = format!("{file} can't be put in use");
    output.result(&document, |_| format!("{head}:\n\n{}", missing.join("\n")))?;
    Ok(Exit::Failed)
}

/// The text of the file, as far as a catalogue may be long, and one byte more: then it is refused
/// for its length.
fn read(path: &Path) -> Result<String, Failure> {
    let most = FILE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    let fault = |exit, why: String| Failure::new(exit, format!("FILE: {}: {why}", path.display()));
    read.map_err(|error| fault(Exit::Usage, error.to_string()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| fault(Exit::Failed, error.to_string()))
}

fn refuse(path: &Path, found: &CatalogProblems, output: Output) -> Result<Exit, Failure> {
    let listed: Vec<_> = found
        .problems()
        .iter()
        .map(|problem| {
            let (line, column) = (problem.line, problem.column);
            json!({"line": line, "column": column, "message": problem.message})
        })
        .collect();
    let file = path.display();
    let document = json!({"file": file.to_string(), "ok": false, "problems": listed});
    output.result(&document, |_| problems_text(path, found))?;
    Ok(Exit::Failed)
}

fn problems_text(path: &Path, found: &CatalogProblems) -> String {
    let count = match found.problems().len() {
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    };
    format!("{}: {count}\n\n{found}", path.display())
}

/// What live accounts and open reservations need and the catalogue lacks.
async fn missing(catalog: &Catalog, args: &LedgerArgs) -> Result<Vec<String>, Failure> {
    let Opened { url, ledger } = Opened::new(&args.config(Flags::default())?).await?;
    let in_use = ledger.in_use().await;
    let in_use = in_use.map_err(|error| unreadable(&url, &error))?;
    let plans = in_use.plans.iter().map(String::as_str);
    Ok(catalog.missing(plans, in_use.modes.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests;
