//! Random operations on a hot store and on a plain model of it, with jumps in time: every answer
//! and every state after every step must be the same, and DESIGN.md's invariants must hold.
//!
//! Each case has a seed of its own. `TOLLGATE_SEED=<seed> TOLLGATE_CASES=1` runs one case again;
//! `TOLLGATE_CASES=<count>` runs more of them.

use std::cell::Cell;

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use tollgate::domain::{account::OveragePolicy, credits::MAX_CREDITS};

mod clerk;
mod driver;
mod ops;
mod oracle;
mod reached;
mod requests;

use driver::Driver;
use ops::{Scale, Step, step};
use reached::Reached;
use requests::{PLANS, Requests};

use crate::support::{Backend, Memory, block_on, hosts::Shape, pair::Pair};

/// How many cases a plain run has: about ten seconds of an unoptimised build.
const CASES: u64 = 500;
/// As good as the most credits that there can be.
const NEARLY: u64 = MAX_CREDITS - 1_000;
/// Cases of that scale that come to every edge, whatever those do that chance adds.
const EDGES: [u64; 4] = [
    // A correction gives back credits on top of a grant that was made since, so that the account
    // has more than there can be.
    3_554_861_146,
    // A hold is extended beyond what there can be.
    74_961_129,
    // Nearly as much is owed as there can be, and more is refused.
    1_697_273_424,
    // Nearly as much is held, and later owed.
    632,
];
/// The most steps of one case.
const STEPS_MAX: usize = 150;
/// How often proptest tries to make a failing case smaller.
const SHRINKS_MAX: u32 = 5_000;

/// One case: the plan that the account starts with, its overage policy, and what happens.
type Case = (usize, bool, Vec<Step>);

#[test]
fn every_answer_and_every_state_is_the_models() {
    let (seed, cases) = (seed(), cases(CASES));
    run_all(&Memory, Scale::Plain, seed, cases);
}

/// The same on memory and Redis at once, which must answer alike and leave alike, to the letter.
#[test]
fn memory_and_redis_are_the_models_and_each_others() {
    let (seed, cases) = (seed(), cases(CASES / 10));
    for shape in Shape::ALL {
        run_all(&Pair::new(shape), Scale::Plain, seed, cases);
    }
}

/// And where amounts, sums and debts are as large as they may be, which is where a double or a
/// text of one would be off by a credit.
#[test]
fn at_the_edges_of_2_to_the_53rd_nothing_is_rounded() {
    let (seed, cases) = (seed(), cases(CASES / 10));
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(Memory)];
    for shape in Shape::ALL {
        backends.push(Box::new(Pair::new(shape)));
    }
    for backend in backends {
        let mut reached = Reached::default();
        for seed in EDGES {
            reached = reached.or(run(backend.as_ref(), Scale::Edge, seed));
        }
        assert!(reached.available >= MAX_CREDITS, "{reached:?}");
        assert!(reached.held >= NEARLY, "{reached:?}");
        assert!(reached.debt >= NEARLY, "{reached:?}");
        assert!(reached.refused > 0, "{reached:?}");
        run_all(backend.as_ref(), Scale::Edge, seed, cases);
    }
}

/// The seed of the first case; each further one has the next.
fn seed() -> u64 {
    number("TOLLGATE_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

fn cases(by_default: u64) -> u64 {
    number("TOLLGATE_CASES").unwrap_or(by_default)
}

fn run_all(backend: &dyn Backend, scale: Scale, seed: u64, cases: u64) {
    println!(
        "{}, {scale:?}: TOLLGATE_SEED={seed} TOLLGATE_CASES={cases}",
        backend.name()
    );
    for case in 0..cases {
        run(backend, scale, seed.wrapping_add(case));
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: a whole number")),
    )
}

fn run(backend: &dyn Backend, scale: Scale, seed: u64) -> Reached {
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
    let cases = (
        0..PLANS.len(),
        any::<bool>(),
        vec(step(scale), 1..STEPS_MAX),
    );
    let reached = Cell::new(Reached::default());
    let played = runner.run(&cases, |case| {
        reached.set(reached.get().or(block_on(play(backend, case))?));
        Ok(())
    });
    match played {
        Ok(()) => reached.get(),
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

async fn play(
    backend: &dyn Backend,
    (plan, absorb, steps): Case,
) -> Result<Reached, TestCaseError> {
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
    Ok(driver.reached)
}
