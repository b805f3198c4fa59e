//! Where changes are handed in: as many as wait are taken in one transaction, since a sync to disk
//! costs as much for one of them as for hundreds.
//!
//! A task of its own takes them, so a caller that goes away undoes nobody else's change. It lives
//! as long as something waits, and has let go of the ledger before the last answer is given.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Fault, submit, writer::Writer};
use crate::{
    domain::timestamp::Timestamp,
    ledger::{ChangeRequest, Submitted},
};

/// How many changes one transaction takes at most.
const BATCH_MAX: usize = 512;

/// What somebody has handed in and waits for.
struct Waiting {
    request: ChangeRequest,
    now: Timestamp,
    answer: oneshot::Sender<Result<Submitted, Fault>>,
}

/// What waits, and whether a task is there to take it.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    is_served: bool,
}

/// Where changes are handed in.
#[derive(Default)]
pub(super) struct Desk {
    queue: Arc<Mutex<Queue>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({} waiting)", self.queue.lock().waiting.len())
    }
}

impl Desk {
    /// Hands a change in, and waits until it is in the ledger or refused.
    pub(super) async fn submit(
        &self,
        writer: &Arc<Writer>,
        request: &ChangeRequest,
        now: Timestamp,
    ) -> Result<Submitted, Fault> {
        let (answer, answered) = oneshot::channel();
        let is_served = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Waiting {
                request: request.clone(),
                now,
                answer,
            });
            std::mem::replace(&mut queue.is_served, true)
        };
        if !is_served {
            let clerk = Clerk {
                queue: Arc::clone(&self.queue),
                is_needed: true,
            };
            tokio::spawn(clerk.serve(Arc::clone(writer)));
        }
        answered.await.unwrap_or(Err(Fault::Unanswered))
    }
}

/// Whoever takes what waits. However it ends, nobody waits for it in vain.
struct Clerk {
    queue: Arc<Mutex<Queue>>,
    /// Until it has found nothing left to take.
    is_needed: bool,
}

impl Clerk {
    async fn serve(mut self, writer: Arc<Writer>) {
        let mut writer = Some(writer);
        let mut batch = self.next();
        while let Some(own) = writer.take() {
            let answers = take(&own, &batch).await;
            let next = self.next();
            // Whoever has the last answer may close the ledger.
            writer = self.is_needed.then_some(own);
            for (waiting, answer) in batch.into_iter().zip(answers) {
                // Where it fails nobody is there any more; the change is in the ledger.
                let _ = waiting.answer.send(answer);
            }
            batch = next;
        }
    }

    /// What waits; where nothing does, the next change needs another clerk.
    fn next(&mut self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let count = queue.waiting.len().min(BATCH_MAX);
        self.is_needed = count > 0;
        queue.is_served = self.is_needed;
        queue.waiting.drain(..count).collect()
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        // It has panicked, or its runtime is gone.
        if self.is_needed {
            *self.queue.lock() = Queue::default();
        }
    }
}

/// Takes all in one transaction. What one of them makes fail is not the others' fault, so then
/// each has one of its own.
async fn take(writer: &Writer, batch: &[Waiting]) -> Vec<Result<Submitted, Fault>> {
    if batch.len() > 1 {
        let asked: Vec<submit::Asked<'_>> = batch.iter().map(asked).collect();
        let all = submit::submit(&mut *writer.lock().await, &asked).await;
        match repaired(writer, all).await {
            Ok(all) => return all.into_iter().map(Ok).collect(),
            Err(fault) => tracing::warn!(%fault, "changes are taken one by one"),
        }
    }
    let mut answers = Vec::with_capacity(batch.len());
    for waiting in batch {
        let one = submit::submit(&mut *writer.lock().await, &[asked(waiting)]).await;
        let one = repaired(writer, one).await;
        answers.push(one.and_then(|mut one| one.pop().ok_or(Fault::Unanswered)));
    }
    answers
}

fn asked(waiting: &Waiting) -> submit::Asked<'_> {
    (&waiting.request, waiting.now)
}

/// What remains of a transaction: a connection that works.
async fn repaired<T>(writer: &Writer, result: Result<T, Fault>) -> Result<T, Fault> {
    if let Err(Fault::Sql(_)) = &result {
        writer.repair().await?;
    }
    result
}
