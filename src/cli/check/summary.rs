//! What is in a catalogue, so that a mistake that is no error is seen: every name, and what
//! typical actions would cost.

use std::path::Path;

use serde::Serialize;

use crate::{
    cli::{
        output::{Column, table},
        show::{count, credits},
    },
    domain::{
        catalog::Catalog,
        rate_card::RateCard,
        usage::{Action, Outcome, Usage},
    },
};

/// The action that the examples price.
const EXAMPLE: [(&str, u64); 2] = [("input_tokens", 2_000), ("output_tokens", 500)];

/// A catalogue in short.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    file: String,
    ok: bool,
    version: String,
    plans: Vec<Credits>,
    packs: Vec<Credits>,
    tiers: Vec<Tier>,
    modes: Vec<Mode>,
}

/// A plan or a pack.
#[derive(Debug, Serialize)]
struct Credits {
    id: String,
    credits: u64,
}

#[derive(Debug, Serialize)]
struct Tier {
    name: String,
    models: Vec<String>,
    /// What the example costs in each mode, in the order of the modes; `None` where it has no
    /// price.
    example: Vec<Option<u64>>,
}

#[derive(Debug, Serialize)]
struct Mode {
    name: String,
    multiplier: String,
    minimum: u64,
}

impl Summary {
    /// Of a catalogue that was read from that file.
    pub(super) fn new(path: &Path, catalog: &Catalog) -> Summary {
        let card = &catalog.rate_card;
        let plans = catalog
            .plans
            .iter()
            .map(|plan| (plan.id.to_string(), plan.allowance.get()));
        let packs = catalog
            .packs
            .iter()
            .map(|pack| (pack.id.to_string(), pack.credits.get()));
        let listed = |(id, credits)| Credits { id, credits };
        Summary {
            file: path.display().to_string(),
            ok: true,
            version: catalog.version.to_string(),
            plans: plans.map(listed).collect(),
            packs: packs.map(listed).collect(),
            tiers: card
                .tiers()
                .map(|(name, models)| tier(card, name, &models))
                .collect(),
            modes: card.modes().filter_map(|name| mode(card, name)).collect(),
        }
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let list = |all: &[Credits]| {
            let parts = all
                .iter()
                .map(|one| format!("{} {}", one.id, count(one.credits)));
            parts.collect::<Vec<_>>().join(", ")
        };
        let mut lines = vec![
            format!("{} can be put in use: version {}", self.file, self.version),
            String::new(),
            format!("plans  {} (credits a cycle)", list(&self.plans)),
        ];
        if !self.packs.is_empty() {
            lines.push(format!("packs  {} (credits)", list(&self.packs)));
        }
        for (place, tier) in self.tiers.iter().enumerate() {
            let head = if place == 0 { "tiers" } else { "" };
            lines.push(format!(
                "{head:<5}  {}: {}",
                tier.name,
                tier.models.join(", ")
            ));
        }
        for (place, mode) in self.modes.iter().enumerate() {
            let head = if place == 0 { "modes" } else { "" };
            let least = credits(mode.minimum);
            lines.push(format!(
                "{head:<5}  {}: × {}, at least {least}",
                mode.name, mode.multiplier
            ));
        }
        let quantities = EXAMPLE.map(|(meter, quantity)| format!("{} {meter}", count(quantity)));
        lines.push(String::new());
        lines.push(format!("{} cost, in credits:", quantities.join(" and ")));
        lines.push(self.examples());
        lines.join("\n")
    }

    fn examples(&self) -> String {
        let columns = [Column::Text("tier"), Column::Text("by mode")];
        let rows = self.tiers.iter().map(|tier| {
            let prices = self.modes.iter().zip(&tier.example);
            let prices = prices.map(|(mode, price)| {
                let price = price.map_or_else(|| "no price".to_owned(), count);
                format!("{} {price}", mode.name)
            });
            vec![tier.name.clone(), prices.collect::<Vec<_>>().join(", ")]
        });
        table(&columns, rows)
    }
}

fn tier(card: &RateCard, name: &str, models: &[&str]) -> Tier {
    let mut usage = Usage::default();
    for (meter, quantity) in EXAMPLE {
        usage.set(meter, quantity);
    }
    // A pattern without its stars is the shortest model that it matches; a more specific pattern
    // of another tier may take that one.
    let mut candidates = models.iter().map(|pattern| pattern.replace('*', ""));
    let model = candidates.find(|model| card.tier_of(model) == Ok(name));
    let price = |mode: &str| {
        let action = Action {
            mode: mode.to_owned(),
            model: model.clone()?,
            ..Action::default()
        };
        let price = card.price(&action, &usage, Outcome::Succeeded);
        price.ok().map(|price| price.credits)
    };
    Tier {
        name: name.to_owned(),
        models: models.iter().map(|pattern| (*pattern).to_owned()).collect(),
        example: card.modes().map(price).collect(),
    }
}

/// An action that uses nothing costs the mode's minimum.
fn mode(card: &RateCard, name: &str) -> Option<Mode> {
    let action = Action {
        mode: name.to_owned(),
        ..Action::default()
    };
    let price = card
        .price(&action, &Usage::default(), Outcome::Succeeded)
        .ok()?;
    Some(Mode {
        name: name.to_owned(),
        multiplier: price.multiplier.to_string(),
        minimum: price.credits,
    })
}
