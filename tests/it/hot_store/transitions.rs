//! The table of DESIGN.md, section 3, row by row, and what its notes add.

use super::{on_every_backend, script};

/// (state, request), and what it does.
const TABLE: &[(&str, &str)] = &[
    (
        "new | Reserve, enough",
        "reserve r1 60   -> open held=60 available=440
         balance         -> available=440 held=60 plan=440
         show r1         -> open held=60
         reserve r2 440  -> open held=440 available=0",
    ),
    (
        "new | Reserve with min_credits below available",
        "reserve r1 480
         reserve r2 90 min=20  -> open held=20 available=0
         reserve r3 90 min=20  -> denied balance_exhausted required=20 available=0",
    ),
    (
        "new | Reserve with min_credits of zero is still blocked at zero",
        "reserve r1 495
         reserve r2 90 min=0   -> open held=5 available=0
         reserve r3 90 min=0   -> denied balance_exhausted required=1 available=0",
    ),
    (
        "new | Reserve, not enough, writes nothing",
        "reserve r1 501       -> denied insufficient_credits required=501 available=500
         reserve r1 501 min=501 -> denied insufficient_credits required=501 available=500
         show r1              -> unknown
         grant p1 pack 100    -> available=600
         reserve r1 501       -> open held=501 available=99",
    ),
    (
        "new | Reserve as a dry run holds nothing",
        "reserve r1 60 dry   -> dry held=60 available=500
         reserve r1 600 dry  -> denied insufficient_credits required=600 available=500
         show r1             -> unknown
         balance             -> available=500 plan=500",
    ),
    (
        "open | Commit, used <= held",
        "reserve r1 60
         commit r1 45  -> +45 returned=15 plan:0:45 | committed held=0 charged=45 available=455
         balance       -> available=455 plan_used=45 plan=455",
    ),
    (
        "open | Commit, used > held, paid by the active grants",
        "grant p1 pack 100
         reserve r1 450
         commit r1 530  -> +530 overage=80 plan:0:500 p1:30 | committed held=0 charged=530 available=70",
    ),
    (
        "open | Commit, used > held and all there is: debt",
        "reserve r1 450
         commit r1 530     -> +530 overage=80 debt=30 plan:0:500 | committed held=0 charged=530 available=0 debt=30
         grant p1 pack 20  -> available=0 debt=10
         grant p2 pack 20  -> available=10
         balance           -> available=10 plan_used=500 packs=10",
    ),
    (
        "open | Commit, used > held and all there is: written off",
        "absorb
         reserve r1 450
         commit r1 530  -> +530 overage=80 written_off=30 plan:0:500 | committed held=0 charged=530 available=0
         balance        -> available=0 plan_used=500",
    ),
    (
        "open | Commit with keep_open charges the difference",
        "reserve r1 60
         commit r1 20 open  -> +20 plan:0:20 | open held=40 charged=20 available=440
         commit r1 45 open  -> +25 plan:0:25 | open held=15 charged=45 available=440
         commit r1 45 open  -> +25 plan:0:25 | open held=15 charged=45 available=440 replayed
         commit r1 20 open  -> +0 | open held=15 charged=45 available=440
         commit r1 50       -> +5 returned=10 plan:0:5 | committed held=0 charged=50 available=450",
    ),
    (
        "open | Commit with keep_open prolongs the hold and never shortens it",
        "reserve r1 60 ttl=1000
         wait 900
         commit r1 20 open   -> +20 plan:0:20 | open held=40 charged=20 available=440
         wait 900
         release r1          -> returned=40 | committed held=0 charged=20 available=480
         reserve r2 60 ttl=5000
         extend r2 x1 0 ttl=10 -> open held=60 available=420
         commit r2 5 open
         wait 4000
         commit r2 10 open   -> +5 plan:0:5 | open held=50 charged=10 available=420",
    ),
    (
        "open | Commit with next_hold settles, then holds anew",
        "reserve r1 60
         commit r1 20 open next=100  -> +20 returned=40 plan:0:20 | open held=100 charged=20 available=380
         commit r1 50 open next=460  -> +30 returned=70 plan:0:30 | open held=0 charged=50 available=450 next denied insufficient_credits required=460 available=450
         commit r1 50 open next=460  -> +30 returned=70 plan:0:30 | open held=0 charged=50 available=450 replayed next denied insufficient_credits required=460 available=450",
    ),
    (
        "open | a last Commit below what was charged gives the difference back",
        "reserve r1 60
         commit r1 50 open  -> +50 plan:0:50 | open held=10 charged=50 available=440
         commit r1 20       -> +0 corrected=30 returned=10 plan:0:30 | committed held=0 charged=20 available=480",
    ),
    (
        "open | what is corrected of a debt that was repaid comes back as an adjustment",
        "charge c1 500
         reserve r1 0
         commit r1 100 open  -> +100 overage=100 debt=100 | open held=0 charged=100 available=0 debt=100
         grant p1 pack 300   -> available=200
         commit r1 40        -> +0 corrected=60 correction:6:60 | committed held=0 charged=40 available=260",
    ),
    (
        "committed | a refund that the ledger took before it knew of a correction gives back the rest",
        "grant p1 pack 100
         reserve r1 520
         commit r1 520 open        -> +520 plan:0:500 p1:20 | open held=0 charged=520 available=80
         commit r1 450             -> +0 corrected=70 p1:20 plan:0:50 | committed held=0 charged=450 available=150
         refund r1 p1=20 plan:0=500  -> available=600
         balance                   -> available=600 plan=500 packs=100",
    ),
    (
        "committed | a part that is within what it costs is refunded whole",
        "reserve r1 100
         commit r1 100 open           -> +100 plan:0:100 | open held=0 charged=100 available=400
         commit r1 60                 -> +0 corrected=40 plan:0:40 | committed held=0 charged=60 available=440
         refund r1 plan:0=50          -> available=490
         refund r1 plan:0=50 before=50 -> available=500
         refund r1 plan:0=9 before=100 -> available=500",
    ),
    (
        "committed | what a correction took off the debt is not refunded",
        "reserve r1 500
         commit r1 600 open         -> +600 overage=100 debt=100 plan:0:500 | open held=0 charged=600 available=0 debt=100
         commit r1 530              -> +0 corrected=70 | committed held=0 charged=530 available=0 debt=30
         refund r1 debt=100 plan:0=500 -> available=500",
    ),
    (
        "a plan of all there can be, after as much of it has expired, stays in range",
        "plan big 9007199254740991 now  -> available=9007199254740991
         reserve r1 9007199254740991    -> open held=9007199254740991 available=0
         plan small 1 now               -> available=0
         release r1
         plan big 9007199254740991 now  -> available=1
         reserve r2 1                   -> open held=1 available=0",
    ),
    (
        "open | Extend: more credits, more time, or both",
        "reserve r1 60 ttl=1000
         extend r1 x1 40            -> open held=100 available=400
         extend r1 x2 0 ttl=5000    -> open held=100 available=400
         wait 4999
         extend r1 x3 10 ttl=1000   -> open held=110 available=390
         extend r1 x1 40            -> open held=110 available=390 replayed
         extend r1 x1 41            -> refused: conflict add_credits
         extend r1 x2 0             -> refused: conflict ttl
         wait 1000
         extend r1 x4 10            -> refused: expired",
    ),
    (
        "open | Extend, denied, leaves the hold as it was",
        "reserve r1 60 ttl=1000
         extend r1 x1 441 ttl=9000  -> denied insufficient_credits required=441 available=440
         show r1                    -> open held=60
         wait 1000
         extend r1 x1 441           -> refused: expired
         extend r9 x1 1             -> refused: unknown",
    ),
    (
        "open | Release returns the hold",
        "reserve r1 60
         release r1  -> returned=60 | released held=0 available=500
         release r1  -> returned=60 | released held=0 available=500 replayed
         release r9  -> refused: unknown",
    ),
    (
        "open | Release after a partial commit returns the rest and ends committed",
        "reserve r1 60
         commit r1 20 open
         release r1         -> returned=40 | committed held=0 charged=20 available=480
         release r1         -> returned=40 | committed held=0 charged=20 available=480 replayed
         commit r1 20 open  -> +20 plan:0:20 | committed held=0 charged=20 available=480 replayed
         commit r1 30       -> refused: committed",
    ),
    (
        "open | its deadline passes",
        "reserve r1 60 ttl=1000
         wait 999
         sweep 10       -> expired=0 forgotten=0
         wait 1
         sweep 10       -> expired=1 forgotten=0
         show r1        -> expired held=0
         balance        -> available=500 plan=500",
    ),
    (
        "open | its deadline passes, and no sweeper comes by",
        "reserve r1 400 ttl=1000
         reserve r2 100 ttl=2000
         wait 1000
         reserve r3 300  -> open held=300 available=100
         show r1         -> expired held=0
         show r2         -> open held=100",
    ),
    (
        "expired | Commit charges all the same, late",
        "reserve r1 60 ttl=1000
         wait 1000
         commit r1 45  -> +45 overage=45 plan:0:45 late | committed held=0 charged=45 available=455
         commit r1 45  -> +45 overage=45 plan:0:45 late | committed held=0 charged=45 available=455 replayed",
    ),
    (
        "expired | Commit with keep_open charges late and opens it again",
        "reserve r1 60 ttl=1000
         wait 1000
         commit r1 45 open  -> +45 overage=45 plan:0:45 late | open held=0 charged=45 available=455
         commit r1 50       -> +5 overage=5 plan:0:5 | committed held=0 charged=50 available=450",
    ),
    (
        "expired | Release",
        "reserve r1 60 ttl=1000
         reserve r2 60 ttl=1000
         commit r2 10 open
         wait 1000
         release r1  -> returned=0 | released held=0 available=440
         release r2  -> returned=0 | committed held=0 charged=10 available=490",
    ),
    (
        "unknown | Commit charges all the same, late",
        "commit r1 45        -> +45 overage=45 plan:0:45 late | committed held=0 charged=45 available=455
         commit r1 45        -> +45 overage=45 plan:0:45 late | committed held=0 charged=45 available=455 replayed
         commit r1 46        -> refused: conflict credits
         commit r2 600 open  -> +600 overage=600 debt=145 plan:0:455 late | open held=0 charged=600 available=0 debt=145
         reserve r2 10       -> open held=0 charged=600 available=0 replayed",
    ),
    (
        "released | Commit",
        "reserve r1 60
         release r1
         commit r1 45  -> refused: released",
    ),
    (
        "committed | the same Commit, or a Release",
        "reserve r1 60
         commit r1 45
         commit r1 45            -> +45 returned=15 plan:0:45 | committed held=0 charged=45 available=455 replayed
         release r1              -> returned=15 | committed held=0 charged=45 available=455 replayed
         balance                 -> available=455 plan_used=45 plan=455",
    ),
    (
        "any | the same Reserve again",
        "reserve r1 60 ttl=1000
         reserve r1 60 ttl=1000  -> open held=60 available=440 replayed
         commit r1 20 open
         reserve r1 60 ttl=1000  -> open held=40 charged=20 available=440 replayed
         wait 1000
         reserve r1 60 ttl=1000  -> expired held=0 charged=20 available=480 replayed
         commit r1 20            -> +0 late | committed held=0 charged=20 available=480
         reserve r1 60 ttl=1000  -> committed held=0 charged=20 available=480 replayed
         reserve r2 5
         release r2
         reserve r2 5            -> released held=0 available=480 replayed",
    ),
    (
        "any | the same id, another payload",
        "reserve r1 60 ttl=1000 min=10
         reserve r1 61 ttl=1000 min=10            -> refused: conflict credits
         reserve r1 60 ttl=1001 min=10            -> refused: conflict ttl
         reserve r1 60 ttl=1000                   -> refused: conflict min_credits
         reserve r1 60 ttl=1000 min=10 mode=build -> refused: conflict action.mode
         charge r1 60                             -> refused: conflict charge_id
         commit r1 45
         commit r1 46                             -> refused: conflict credits
         commit r1 45 cancelled                   -> refused: conflict outcome
         commit r1 45 open                        -> refused: conflict keep_open
         charge c1 5
         charge c1 6                              -> refused: conflict credits
         charge c1 5 force                        -> refused: conflict force
         reserve c1 5                             -> refused: conflict reservation_id
         commit c1 5                              -> refused: conflict reservation_id",
    ),
    (
        "Charge",
        "charge c1 45          -> +45 plan:0:45 | available=455
         charge c1 45          -> +45 plan:0:45 | available=455 replayed
         charge c2 456         -> denied insufficient_credits required=456 available=455
         charge c2 456 force   -> +456 overage=1 debt=1 plan:0:455 | available=0 debt=1
         charge c3 1           -> denied debt_outstanding required=1 available=0",
    ),
];

/// The notes below the table, and PRODUCT.md's rules that need a store.
const NOTES: &[(&str, &str)] = &[
    (
        "a grant that expires while part of it is held keeps that part until it is settled",
        "grant p1 promo 100 lasts=1000
         reserve r1 80    -> open held=80 available=520
         wait 1000
         balance          -> available=500 held=80 plan=500
         commit r1 50     -> +50 returned=30 p1:50 | committed held=0 charged=50 available=500
         balance          -> available=500 plan=500",
    ),
    (
        "the same, for a grant that is taken back",
        "grant p1 promo 100 lasts=1000
         reserve r1 80
         void p1          -> available=500
         release r1       -> returned=80 | released held=0 available=500",
    ),
    (
        "renewal is lazy, and plan credits do not roll over",
        "grant p1 pack 70
         charge c1 100
         reserve r1 30 ttl=9999999999
         wait 2419200000
         balance    -> available=570 held=30 plan=500 packs=70
         commit r1 40 -> +40 overage=10 plan:0:30 plan:1:10 | committed held=0 charged=40 available=560",
    ),
    (
        "an upgrade acts at once and keeps what was used",
        "charge c1 100
         reserve r1 50
         plan pro 5000  -> available=4850
         balance        -> available=4850 held=50 plan_used=100 plan=4850",
    ),
    (
        "a downgrade waits, unless asked otherwise, and never makes what is left negative",
        "charge c1 100
         reserve r1 50
         plan free 50      -> available=350
         plan free 50 now  -> available=0
         release r1        -> returned=50 | released held=0 available=0
         wait 2419200000
         balance           -> available=50 plan=50",
    ),
    (
        "debt is paid by what becomes spendable",
        "charge c1 600 force
         grant p1 pack 300 from=1000  -> available=0 debt=100
         wait 1000
         balance                      -> available=200 plan_used=500 packs=200",
    ),
    (
        "between two requests time breaks nothing",
        "charge c1 600 force
         grant p1 pack 300 from=1000  -> available=0 debt=100
         wait 1000",
    ),
    (
        "what costs nothing needs no credits",
        "charge c1 600 force
         reserve r1 0       -> open held=0 available=0
         charge c2 0        -> +0 | available=0 debt=100
         status suspended
         reserve r2 0       -> denied account_suspended required=0 available=0
         charge c3 0        -> denied account_suspended required=0 available=0",
    ),
    (
        "grants are spent in one order",
        "grant z pack 10
         grant a pack 10
         grant b promo 10
         grant first promo 10 priority=99
         grant soon adjustment 10 lasts=1000
         charge c1 545  -> +545 first:10 soon:10 plan:0:500 b:10 a:10 z:5 | available=5",
    ),
];

#[test]
fn every_row_of_the_table() {
    on_every_backend(async |backend| {
        for (name, text) in TABLE {
            script::run(backend, name, text).await;
        }
    });
}

#[test]
fn every_note_below_the_table() {
    on_every_backend(async |backend| {
        for (name, text) in NOTES {
            script::run(backend, name, text).await;
        }
    });
}
