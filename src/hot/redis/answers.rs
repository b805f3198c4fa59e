//! The hot path: commands as calls, replies as answers.

use super::{
    RedisHot, calls,
    faults::Failure,
    layout::code,
    packed::{Broken, Reader},
    records::{self, read_denial},
    scripts,
    steps::{Step, Told, read_mark, text},
};
use crate::{
    domain::{
        account::Account,
        book::{answer_charged, answer_known, check_same, was_extended, would_hold},
        command::{Charge, Commit, Extend, Release, Reserve},
        decision::{
            Balance, Charged, Committed, Extended, Refusal, Released, ReservationView, Reserved,
        },
        ids::{AccountId, ReservationId},
        reservation::{EXTENSIONS_MAX, Reservation, Terms},
    },
    hot::{Answer, Done, HotFault, Mark},
};

const UNKNOWN_CODE: Broken = Broken("a code that this version does not know");

/// A refusal or a reply that makes no sense.
enum Stop {
    Refused(Refusal),
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Stop::Broken(broken)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl RedisHot {
    /// Runs a step and makes its answer.
    async fn answer<T>(
        &self,
        step: Step<'_>,
        read: impl FnOnce(&mut Told) -> Result<T, Stop>,
    ) -> Answer<T> {
        let operation = step.operation;
        let mut told = match self.step(step).await? {
            Ok(told) => told,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match read(&mut told) {
            Ok(value) => Ok(Ok(Done {
                value,
                mark: told.mark,
            })),
            Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
            Err(Stop::Broken(broken)) => Err(Failure::unknown(broken).of(operation)),
        }
    }

    pub(super) async fn reserve_step(&self, command: &Reserve) -> Answer<Reserved> {
        self.answer(calls::reserve(command), |told| {
            let (account_id, id) = (&command.account_id, &command.reservation_id);
            if told.code == code::OK && !command.dry_run {
                self.recent.put(account_id, id, Terms::of(command));
            }
            read_reserved(command, told)
        })
        .await
    }

    pub(super) async fn extend_step(&self, command: &Extend) -> Answer<Extended> {
        self.answer(calls::extend(command), |told| read_extended(command, told))
            .await
    }

    pub(super) async fn commit_step(&self, command: &Commit) -> Answer<Committed> {
        let (account_id, id) = (&command.account_id, &command.reservation_id);
        let remembered = self.recent.get(account_id, id);
        self.answer(calls::commit(command, remembered.as_ref()), |told| {
            let stays_as_it_was = command.known && command.request.keep_open;
            if told.code == code::REPRICE || (told.code == code::OK && !stays_as_it_was) {
                self.recent.remove(account_id, id);
            }
            read_committed(command, told)
        })
        .await
    }

    /// The terms of a reservation: those that are remembered, or what Redis has.
    pub(super) async fn terms_step(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<Terms>> {
        if let Some(terms) = self.recent.get(account_id, reservation_id) {
            let shard = self.shard_of(account_id);
            // Nothing was read that the ledger would have to have.
            let mark = Mark {
                shard,
                era: 0,
                position: 0,
            };
            let value = Some(terms);
            return Ok(Ok(Done { value, mark }));
        }
        let answer = self.stored_reservation(account_id, reservation_id).await?;
        Ok(answer.map(|done| Done {
            value: done.value.map(|known| Terms {
                action: known.action,
                rate_card_version: known.rate_card_version,
            }),
            mark: done.mark,
        }))
    }

    pub(super) async fn release_step(&self, command: &Release) -> Answer<Released> {
        let answer = self.answer(calls::release(command), read_released).await;
        let (account_id, id) = (&command.account_id, &command.reservation_id);
        self.recent.remove(account_id, id);
        answer
    }

    pub(super) async fn charge_step(&self, command: &Charge) -> Answer<Charged> {
        self.recent.remove(&command.account_id, &command.charge_id);
        self.answer(calls::charge(command), |told| read_charged(command, told))
            .await
    }

    pub(super) async fn account_step(&self, account_id: &AccountId) -> Answer<(Account, Balance)> {
        const OPERATION: &str = "balance";
        let told = match self.step(calls::balance(account_id)).await? {
            Ok(told) => told,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (balance, mark) = (balance(&told), told.mark);
        let account = told.account.whole();
        let account = account.map_err(|broken| broken_reply(broken, OPERATION))?;
        Ok(Ok(Done {
            value: (account, balance),
            mark,
        }))
    }

    /// A reservation with all that is stored of it, expired where its deadline has passed. What it
    /// was charged to is stored only while more may be settled on it, and the price of a commit is
    /// never.
    pub async fn stored_reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<Reservation>> {
        const OPERATION: &str = "reservation";
        let shard = self.shard_of(account_id);
        let keys = &self.shards[shard as usize];
        let given = [
            keys.account(account_id),
            keys.reservation(account_id, reservation_id.as_str()),
            keys.meta.to_string(),
        ];
        let (era, position) = self.known.get(shard);
        let arguments = [self.given_now(), text(era), text(position)];
        let reply = self
            .run(OPERATION, shard, &scripts::RESERVATION, &given, &arguments)
            .await?;
        let read = |mut reader: Reader<'_>| -> Result<_, Broken> {
            match reader.int()? {
                code::NOT_LOADED => return Ok(Err(Refusal::NotLoaded)),
                code::NO_ACCOUNT => return Ok(Err(Refusal::Absent)),
                _ => {}
            }
            let now = records::time(&mut reader)?;
            let mark = read_mark(shard, &mut reader)?;
            self.known.meet(mark);
            let stored = reader.maybe(Reader::blob)?;
            let stored = stored
                .map(|bytes| records::read_reservation(account_id, reservation_id, bytes))
                .transpose()?;
            let value = stored.map(|known| known.as_of(now));
            Ok(Ok(Done { value, mark }))
        };
        read(Reader::new(&reply)).map_err(|broken| broken_reply(broken, OPERATION))
    }
}

fn read_released(told: &mut Told) -> Result<Released, Stop> {
    let replayed = match told.code {
        code::OK => false,
        code::KNOWN => true,
        code::NOT_FOUND => return Err(Refusal::ReservationNotFound.into()),
        _ => return Err(UNKNOWN_CODE.into()),
    };
    let known = told.known()?;
    Ok(Released {
        reservation: known.view(),
        returned: known.returned,
        balance: balance(told),
        replayed,
    })
}

pub(super) fn broken_reply(broken: Broken, operation: &'static str) -> HotFault {
    Failure::unknown(broken).of(operation)
}

fn balance(told: &Told) -> Balance {
    told.account.balance(told.now)
}

fn reserved(
    told: &Told,
    result: Result<ReservationView, crate::domain::decision::Denial>,
    replayed: bool,
) -> Reserved {
    Reserved {
        result,
        balance: balance(told),
        replayed,
    }
}

fn read_reserved(command: &Reserve, told: &mut Told) -> Result<Reserved, Stop> {
    match told.code {
        code::OK if command.dry_run => {
            let credits = told.extra().uint()?;
            let view = would_hold(command, credits, told.now);
            Ok(reserved(told, Ok(view), false))
        }
        code::OK => {
            let view = told.known()?.view();
            Ok(reserved(told, Ok(view), false))
        }
        code::KNOWN => {
            let known = told.known()?;
            check_same(&known, command)?;
            Ok(reserved(told, Ok(known.view()), true))
        }
        code::DENIED => {
            let denial = read_denial(&mut told.extra())?;
            Ok(reserved(told, Err(denial), false))
        }
        _ => Err(UNKNOWN_CODE.into()),
    }
}

fn read_extended(command: &Extend, told: &mut Told) -> Result<Extended, Stop> {
    match told.code {
        code::OK => {
            let view = told.known()?.view();
            Ok(reserved(told, Ok(view), false))
        }
        code::KNOWN => {
            let known = told.known()?;
            was_extended(&known, command)?;
            Ok(reserved(told, Ok(known.view()), true))
        }
        code::NOT_OPEN => {
            let state = told.known()?.state;
            Err(Refusal::NotOpen { state }.into())
        }
        code::NOT_FOUND => Err(Refusal::ReservationNotFound.into()),
        code::TOO_MANY => Err(Refusal::TooMany {
            what: "extensions",
            max: EXTENSIONS_MAX,
        }
        .into()),
        code::DENIED => {
            let denial = read_denial(&mut told.extra())?;
            Ok(reserved(told, Err(denial), false))
        }
        _ => Err(UNKNOWN_CODE.into()),
    }
}

fn read_committed(command: &Commit, told: &mut Told) -> Result<Committed, Stop> {
    match told.code {
        code::OK => {
            let known = told.known()?;
            let last = known.last_commit.as_deref().ok_or(Broken("no commit"))?;
            let mut receipt = last.receipt.clone();
            receipt.price = command.price.clone();
            Ok(Committed {
                receipt,
                reservation: known.view(),
                balance: balance(told),
                replayed: false,
                next_hold_denial: last.next_hold_denial.clone(),
            })
        }
        code::KNOWN => {
            let known = told.known()?;
            let answer = answer_known(&known, &command.request, || balance(told))?;
            let mut answer = answer.ok_or(Broken("a commit that was not settled"))?;
            if answer.replayed {
                // The same usage at the same version of the rate card: the same price.
                answer.receipt.price = command.price.clone();
            }
            Ok(answer)
        }
        code::REPRICE => Err(Refusal::Reprice.into()),
        code::OUT_OF_RANGE => Err(Refusal::OutOfRange { field: "debt" }.into()),
        _ => Err(UNKNOWN_CODE.into()),
    }
}

fn read_charged(command: &Charge, told: &mut Told) -> Result<Charged, Stop> {
    let (result, replayed) = match told.code {
        code::OK => {
            let known = told.known()?;
            let last = known.last_commit.as_deref().ok_or(Broken("no commit"))?;
            (Ok(last.receipt.clone()), false)
        }
        code::KNOWN => (Ok(answer_charged(&told.known()?, command)?), true),
        code::DENIED => (Err(read_denial(&mut told.extra())?), false),
        code::OUT_OF_RANGE => return Err(Refusal::OutOfRange { field: "debt" }.into()),
        _ => return Err(UNKNOWN_CODE.into()),
    };
    Ok(Charged {
        result,
        balance: balance(told),
        replayed,
    })
}
