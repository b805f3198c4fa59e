//! How often each operation is called.

use std::str::FromStr;

use rand::{Rng, rngs::SmallRng};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::bench) enum Operation {
    /// `Reserve`.
    Reserve,
    /// `Commit` of a reservation that is open.
    Commit,
    /// `Release` of a reservation that is open.
    Release,
    /// `Charge`.
    Charge,
    /// `GetBalance`.
    Balance,
}

impl Operation {
    /// How many there are.
    pub(in crate::cli::bench) const COUNT: usize = 5;

    /// All, in the order of [`Operation::index`].
    pub(in crate::cli::bench) const ALL: [Operation; Operation::COUNT] = [
        Operation::Reserve,
        Operation::Commit,
        Operation::Release,
        Operation::Charge,
        Operation::Balance,
    ];

    /// Its place in a table of all.
    pub(in crate::cli::bench) const fn index(self) -> usize {
        match self {
            Operation::Reserve => 0,
            Operation::Commit => 1,
            Operation::Release => 2,
            Operation::Charge => 3,
            Operation::Balance => 4,
        }
    }

    /// The name in `--mix` and in reports.
    pub(in crate::cli::bench) const fn name(self) -> &'static str {
        match self {
            Operation::Reserve => "reserve",
            Operation::Commit => "commit",
            Operation::Release => "release",
            Operation::Charge => "charge",
            Operation::Balance => "balance",
        }
    }
}

/// How often each operation is called, as weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::bench) struct Mix {
    weights: [u32; Operation::COUNT],
}

impl Mix {
    /// The largest weight.
    const WEIGHT_MAX: u32 = 1_000;
    /// What is accepted, in words.
    const ACCEPTED: &'static str =
        "reserve, commit, release, charge and balance, each =0 to =1000, not all 0";

    /// An operation, each as often as its weight says.
    pub(in crate::cli::bench) fn pick(&self, random: &mut SmallRng) -> Operation {
        let total: u32 = self.weights.iter().sum();
        let mut point = random.random_range(0..total.max(1));
        for operation in Operation::ALL {
            let weight = self.weights[operation.index()];
            if point < weight {
                return operation;
            }
            point -= weight;
        }
        Operation::Reserve
    }

    /// How often an operation is called, of all weights together.
    pub(in crate::cli::bench) fn weight(&self, operation: Operation) -> u32 {
        self.weights[operation.index()]
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = [0; Operation::COUNT];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let operation = Operation::ALL
                .into_iter()
                .find(|operation| operation.name() == name.trim())
                .ok_or_else(|| format!("{:?}: accepted are {}", name.trim(), Mix::ACCEPTED))?;
            let weight: u32 = weight.trim().parse().unwrap_or(u32::MAX);
            if weight > Mix::WEIGHT_MAX {
                return Err(format!("{part:?}: accepted are {}", Mix::ACCEPTED));
            }
            weights[operation.index()] = weight;
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err(format!("calls nothing: accepted are {}", Mix::ACCEPTED));
        }
        Ok(Mix { weights })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_mix_is_read_and_kept_to() {
        let mix: Mix = "reserve=3, commit".parse().unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let mut counts = [0; Operation::COUNT];
        for _ in 0..4_000 {
            counts[mix.pick(&mut random).index()] += 1;
        }
        assert!((2_800..3_200).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[0] + counts[1], 4_000);
        for text in [
            "",
            "reserve=0",
            "reserves=1",
            "reserve=-1",
            "reserve=1001",
            "commit=1,x",
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(
                error.contains("accepted are reserve, commit"),
                "{text}: {error}"
            );
        }
    }
}
