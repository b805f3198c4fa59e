//! `tollgate metrics`: every metric, without a server.

use serde::Serialize;

use super::{
    exit::Exit,
    output::{Column, Failure, Output, table},
};
use crate::telemetry::names::{self, Spec};

/// List every metric with its kind, its labels and what it says
#[derive(Clone, Debug, clap::Args)]
pub struct MetricsArgs {}

/// A metric as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    otlp_name: &'static str,
    otlp_unit: &'static str,
}

impl From<&Spec> for Listed {
    fn from(spec: &Spec) -> Self {
        Listed {
            name: spec.name,
            kind: spec.kind.name(),
            labels: spec.labels,
            help: spec.help,
            otlp_name: spec.otlp,
            otlp_unit: spec.unit,
        }
    }
}

/// Lists them.
pub fn run(_: MetricsArgs, output: Output) -> Result<Exit, Failure> {
    let listed: Vec<Listed> = names::ALL.iter().map(Listed::from).collect();
    output.result(&listed, |listed| text(listed))?;
    Ok(Exit::Ok)
}

fn text(listed: &[Listed]) -> String {
    let columns = [
        Column::Text("metric"),
        Column::Text("kind"),
        Column::Text("labels"),
        Column::Text("what it says"),
    ];
    let rows = listed.iter().map(|one| {
        vec![
            one.name.to_owned(),
            one.kind.to_owned(),
            one.labels.join(", "),
            one.help.to_owned(),
        ]
    });
    table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_a_line() {
        let listed: Vec<Listed> = names::ALL.iter().map(Listed::from).collect();
        let text = text(&listed);
        for spec in names::ALL {
            let line = text.lines().find(|line| line.starts_with(spec.name));
            assert!(line.is_some_and(|line| line.contains(spec.help)), "{text}");
        }
    }
}
