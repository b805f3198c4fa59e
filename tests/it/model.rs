//! Random operations on a hot store and on a plain model of it, with jumps in time: every answer
//! and every state after every step must be the same, and DESIGN.md's invariants must hold.
//!
//! Each case has a seed of its own. `TOLLGATE_SEED=<seed> TOLLGATE_CASES=1` runs one case again;
//! `TOLLGATE_CASES=<count>` runs more of them.

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use tollgate::domain::account::OveragePolicy;

mod clerk;
mod driver;
mod ops;
mod oracle;
mod requests;

use driver::Driver;
use ops::{Step, step};
use requests::{PLANS, Requests};

use crate::support::{Backend, Memory, block_on, pair::Pair, servers::Kind};

/// How many cases a plain run has: about ten seconds of an unoptimised build.
const CASES: u64 = 500;
/// The most steps of one case.
const STEPS_MAX: usize = 150;
/// How often proptest tries to make a failing case smaller.
const SHRINKS_MAX: u32 = 5_000;

/// One case: the plan that the account starts with, its overage policy, and what happens.
type Case = (usize, bool, Vec<Step>);

#[test]
fn every_answer_and_every_state_is_the_models() {
    let seed = number("TOLLGATE_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let cases = number("TOLLGATE_CASES").unwrap_or(CASES);
    println!("TOLLGATE_SEED={seed} TOLLGATE_CASES={cases}");
    for case in 0..cases {
        run(&Memory, seed.wrapping_add(case));
    }
}

/// The same on memory and Redis at once, which must answer alike and leave alike, to the letter.
#[test]
fn memory_and_redis_are_the_models_and_each_others() {
    let seed = number("TOLLGATE_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let cases = number("TOLLGATE_CASES").unwrap_or(CASES / 10);
    for kind in [Kind::Redis, Kind::Valkey] {
        println!(
            "{}: TOLLGATE_SEED={seed} TOLLGATE_CASES={cases}",
            kind.name()
        );
        let backend = Pair::new(kind);
        for case in 0..cases {
            run(&backend, seed.wrapping_add(case));
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: a whole number")),
    )
}

fn run(backend: &dyn Backend, seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: SHRINKS_MAX,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let cases = (0..PLANS.len(), any::<bool>(), vec(step(), 1..STEPS_MAX));
    match runner.run(&cases, |case| block_on(play(backend, case))) {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("proptest gave up: {reason}"),
        Err(TestError::Fail(reason, (plan, absorb, steps))) => {
            let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}\n")).collect();
            panic!(
                "{}: {reason}\nplan {:?}, absorb {absorb}, steps:\n{}\
                 run it again with TOLLGATE_SEED={seed} TOLLGATE_CASES=1",
                backend.name(),
                PLANS[plan],
                steps.concat(),
            );
        }
    }
}

async fn play(backend: &dyn Backend, (plan, absorb, steps): Case) -> Result<(), TestCaseError> {
    let overage = if absorb {
        OveragePolicy::Absorb
    } else {
        OveragePolicy::Debt
    };
    let mut driver = Driver::new(backend, plan, overage).await?;
    let mut requests = Requests::default();
    for step in &steps {
        driver.step(&mut requests, step).await?;
    }
    Ok(())
}
