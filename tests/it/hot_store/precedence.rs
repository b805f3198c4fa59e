//! Where several refusals apply, which one is answered: unknown account, id conflict, closed,
//! suspended, debt, exhausted, insufficient (DESIGN.md, section 3). An account on which all of
//! them apply is mended step by step.

use tollgate::domain::decision::Refusal;

use super::{on_every_backend, script};
use crate::support::{Setup, commands};

const WALK: &str = "
    reserve r1 10
    charge c1 600 force       -> +600 overage=110 debt=110 plan:0:490 | available=0 debt=110
    status closed
    reserve r1 11             -> refused: conflict credits
    extend r1 x1 5            -> denied account_closed required=5 available=0
    reserve r2 20             -> denied account_closed required=20 available=0
    charge c2 20 force        -> denied account_closed required=20 available=0
    status suspended
    reserve r1 11             -> refused: conflict credits
    extend r1 x1 5            -> denied account_suspended required=5 available=0
    reserve r2 20             -> denied account_suspended required=20 available=0
    charge c2 20 force        -> denied account_suspended required=20 available=0
    status active
    extend r1 x1 5            -> denied debt_outstanding required=5 available=0
    reserve r2 20             -> denied debt_outstanding required=20 available=0
    charge c2 20              -> denied debt_outstanding required=20 available=0
    grant p1 pack 110         -> available=0
    extend r1 x1 5            -> denied balance_exhausted required=5 available=0
    reserve r2 20             -> denied balance_exhausted required=20 available=0
    charge c2 20              -> denied balance_exhausted required=20 available=0
    grant p2 pack 4           -> available=4
    extend r1 x1 5            -> denied insufficient_credits required=5 available=4
    reserve r2 20             -> denied insufficient_credits required=20 available=4
    charge c2 20              -> denied insufficient_credits required=20 available=4
    grant p3 pack 16          -> available=20
    reserve r2 20             -> open held=20 available=0
    status suspended
    commit r2 5               -> +5 returned=15 p2:4 p3:1 | committed held=0 charged=5 available=15
    release r1                -> returned=10 | released held=0 available=15
";

#[test]
fn refusals_in_their_order() {
    on_every_backend(async |backend| script::run(backend, "precedence", WALK).await);
}

#[test]
fn an_unknown_account_comes_first() {
    on_every_backend(async |backend| {
        let store = backend.start(Setup::default()).await.store;
        let answer = store
            .reserve(&commands::reserve("r1", 1))
            .await
            .expect("no fault");
        assert_eq!(answer.err(), Some(Refusal::NotLoaded));
    });
}
