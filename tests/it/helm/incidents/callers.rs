//! Callers that ask for too much, at the wrong time or in the wrong way, of one embedded process.

use tollgate::pb::{
    ChargeRequest, CreateAccountRequest, ReserveRequest, charge_request,
    quota_service_client::QuotaServiceClient,
};
use tonic::{Code, transport::Channel};

use super::drill::{Caller, Drill, Folder, PATIENT, Place};
use crate::{
    process::Sidecar,
    support::requests::{commit_of, reserve_of},
};

pub const ALERTS: &[&str] = &[
    "TollgateDenialsSurge",
    "TollgateExpiryStuck",
    "TollgateHoldsExpire",
    "TollgateIdConflicts",
    "TollgateLateCommits",
    "TollgateOverage",
    "TollgateOverloaded",
];

/// How many callers there are in an overload: far more than calls are let in.
const CROWD: usize = 64;
/// How many reserve the usual before the surge: it takes long to become usual itself.
const USUAL: u64 = 2_000;
/// How many holds are more than the slow sweeper returns within the test.
const HOLDS: u64 = 1_000;
/// How long these are open, in seconds. A Reserve gives back those of its account that are due: few
/// are due before a busy machine has made them all.
const HOLDS_TTL: i64 = 10;
/// As short as a hold may be, in seconds.
const TTL_MIN: i64 = 1;

struct World {
    drill: Drill,
    place: Place,
    sidecar: Sidecar,
    quota: QuotaServiceClient<Channel>,
    _folder: Folder,
}

fn start(place: &Place, settings: &[&str]) -> Sidecar {
    let own = ["settle.ack=hot", "grpc.calls_max=8", PATIENT];
    let all = own.iter().chain(settings);
    let args: Vec<&str> = all.flat_map(|one| ["--set", one]).collect();
    place.start(&args)
}

impl World {
    async fn start(settings: &[&str]) -> Self {
        let folder = Folder::new();
        let place = folder.place("tollgate");
        let sidecar = start(&place, settings);
        let mut drill = Drill::start(&folder, &[&place], &[]);
        drill.pod = pod(&sidecar);
        let mut admin = sidecar.admin().await;
        for (account_id, plan_id) in [("acme", "pro"), ("poor", "free"), ("rich", "pro")] {
            let create = CreateAccountRequest {
                account_id: account_id.into(),
                plan_id: plan_id.into(),
                ..CreateAccountRequest::default()
            };
            admin.create_account(create).await.unwrap();
        }
        World {
            drill,
            place,
            quota: sidecar.quota().await,
            sidecar,
            _folder: folder,
        }
    }

    /// Ends it and starts it again with other settings.
    async fn restart(&mut self, settings: &[&str]) {
        self.sidecar.terminate();
        self.sidecar = start(&self.place, settings);
        self.quota = self.sidecar.quota().await;
        self.drill.pod = pod(&self.sidecar);
    }
}

fn pod(sidecar: &Sidecar) -> Vec<(&'static str, String)> {
    vec![("TOLLGATE_ENDPOINT", sidecar.grpc.clone())]
}

fn open_for(seconds: i64, id: &str) -> ReserveRequest {
    let ttl = prost_types::Duration { seconds, nanos: 0 };
    ReserveRequest {
        ttl: Some(ttl),
        ..reserve_of("rich", id, 1)
    }
}

/// Some callers who reserve, so that there are enough of them on a busy machine too.
fn several(
    count: usize,
    quota: &QuotaServiceClient<Channel>,
    request: fn(usize, u64) -> ReserveRequest,
) -> Vec<Caller> {
    let one = |who| {
        let quota = quota.clone();
        Caller::start(move |number| {
            let mut quota = quota.clone();
            async move { _ = quota.reserve(request(who, number)).await }
        })
    };
    (0..count).map(one).collect()
}

/// The sweeper looks seldom and takes one hold at a time.
async fn the_sweeper_does_not_keep_up(world: &mut World) {
    for number in 0..HOLDS {
        let hold = open_for(HOLDS_TTL, &format!("due-{number}"));
        world.quota.reserve(hold).await.unwrap();
    }
    let lag = [("Expiry lag", "> 6")];
    world.drill.fires("TollgateExpiryStuck", &lag).await;
    // The key that the runbook raises.
    let key = world.drill.command("TollgateExpiryStuck", "config.sweep.");
    let key = key.strip_prefix("config.").unwrap();
    world.restart(&[&format!("{key}=1000")]).await;
    world.drill.ends("TollgateExpiryStuck").await;
}

async fn nobody_comes_back_for_holds(world: &World) {
    let callers = several(4, &world.quota, |who, number| {
        open_for(TTL_MIN, &format!("left-{who}-{number}"))
    });
    let holds = [("Holds", "> 0"), ("Oldest hold", "> 0")];
    world.drill.fires("TollgateHoldsExpire", &holds).await;

    // Those of them that are committed after all come late.
    let quota = world.quota.clone();
    let late = Caller::start(move |number| {
        let mut quota = quota.clone();
        async move {
            _ = quota
                .commit(commit_of("rich", &format!("due-{number}"), 1))
                .await
        }
    });
    let odd = [("Odd requests", "> 0"), ("Holds", "> 0")];
    world.drill.fires("TollgateLateCommits", &odd).await;
    drop((callers, late));
    for alert in ["TollgateHoldsExpire", "TollgateLateCommits"] {
        world.drill.ends(alert).await;
    }
}

async fn an_id_stands_for_two_things(world: &World) {
    world
        .quota
        .clone()
        .reserve(reserve_of("acme", "counter", 1))
        .await
        .unwrap();
    let quota = world.quota.clone();
    let caller = Caller::start(move |_| {
        let mut quota = quota.clone();
        async move {
            let refused = quota.reserve(reserve_of("acme", "counter", 2)).await;
            assert_ne!(refused.map(|_| ()).map_err(|status| status.code()), Ok(()));
        }
    });
    let odd = [("Odd requests", "> 0")];
    world.drill.fires("TollgateIdConflicts", &odd).await;
    let line = world.drill.command("TollgateIdConflicts", "refused a bad");
    world
        .place
        .logs(&[&line, "ALREADY_EXISTS", "credits"])
        .await;
    drop(caller);
    world.drill.ends("TollgateIdConflicts").await;
}

async fn more_is_used_than_anybody_granted(world: &World) {
    let quota = world.quota.clone();
    let caller = Caller::start(move |number| {
        let mut quota = quota.clone();
        async move {
            let over = ChargeRequest {
                account_id: "poor".into(),
                charge_id: format!("over-{number}"),
                action: reserve_of("poor", "", 1).action,
                amount: Some(charge_request::Amount::Credits(10)),
                force: true,
            };
            _ = quota.charge(over).await;
        }
    });
    let debt = [("Overage", "> 0.05")];
    world.drill.fires("TollgateOverage", &debt).await;
    drop(caller);
    let refused = world
        .quota
        .clone()
        .reserve(reserve_of("poor", "r1", 1))
        .await;
    let refused = refused.unwrap().into_inner();
    assert!(format!("{refused:?}").contains("Denial"), "{refused:?}");
}

async fn far_more_is_denied_than_usual(world: &World) {
    for number in 0..USUAL {
        let id = format!("usual-{number}");
        let mut quota = world.quota.clone();
        quota.reserve(reserve_of("acme", &id, 1)).await.unwrap();
    }
    let callers = several(2, &world.quota, |who, number| {
        reserve_of("acme", &format!("dear-{who}-{number}"), 1_000_000)
    });
    let reasons = [("Denials by reason", "> 0")];
    let alert = "TollgateDenialsSurge";
    world.drill.fires(alert, &reasons).await;
    let (code, said) = world.drill.run(alert, "tollgate account show acme", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("plan pro") && said.contains("available"),
        "{said}"
    );
    let (code, said) = world.drill.run(alert, "tollgate ledger acme", &[]);
    assert_eq!(code, Some(0), "{said}");
    drop(callers);
    world.drill.ends(alert).await;
}

async fn a_crowd_does_not_stop(world: &World) {
    let crowd: Vec<Caller> = (0..CROWD)
        .map(|who| {
            let quota = world.quota.clone();
            Caller::start(move |number| {
                let (mut quota, id) = (quota.clone(), format!("crowd-{who}-{number}"));
                async move {
                    let answer = quota.reserve(reserve_of("acme", &id, 1)).await;
                    let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
                    assert!(
                        [Code::Ok, Code::ResourceExhausted].contains(&code),
                        "{code}"
                    );
                }
            })
        })
        .collect();
    let refused = [("Refused for want of room", "> 0")];
    world.drill.fires("TollgateOverloaded", &refused).await;
    drop(crowd);
    world.drill.ends("TollgateOverloaded").await;
}

/// Plays them all.
pub async fn play() {
    let slow = ["sweep.batch_max=1", "sweep.interval_ms=4000"];
    let mut world = World::start(&slow).await;
    world.drill.is_quiet(1, ALERTS).await;
    the_sweeper_does_not_keep_up(&mut world).await;
    nobody_comes_back_for_holds(&world).await;
    an_id_stands_for_two_things(&world).await;
    far_more_is_denied_than_usual(&world).await;
    more_is_used_than_anybody_granted(&world).await;
    a_crowd_does_not_stop(&world).await;
    world.drill.done(ALERTS);
}
