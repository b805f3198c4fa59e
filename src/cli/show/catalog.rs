//! The catalogue in force, in short.

use super::count;
use crate::pb;

/// Its version, its plans and its packs; the rates are in its file.
pub(crate) fn catalog(catalog: &pb::GetCatalogResponse) -> String {
    let plans = catalog.plans.iter();
    let plans = plans.map(|plan| format!("{} {}", plan.plan_id, count(plan.allowance)));
    let packs = catalog.packs.iter();
    let packs = packs.map(|pack| format!("{} {}", pack.pack_id, count(pack.credits)));
    let mut lines = vec![
        format!("catalogue {}", catalog.rate_card_version),
        format!("plans  {} (credits a cycle)", list(plans)),
    ];
    if !catalog.packs.is_empty() {
        lines.push(format!("packs  {} (credits)", list(packs)));
    }
    lines.push("`tollgate catalog --yaml` prints its file, with the rates".to_owned());
    lines.join("\n")
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
