//! Tasks that write for many others, and let those go first.
//!
//! The task of a connection is woken by the first call that has something to send. Tokio runs it next,
//! so that it would send the answers of sixty calls, or their commands to Redis, in as many system calls.
//! One that is put off until whatever else is ready on its thread has had its turn sends them in one.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::task::yield_now;

/// With fewer calls in progress a turn that is waited for takes longer than what it saves.
const MANY: usize = 3;

/// A future that is put off by one turn each time it is woken, while many calls are in progress.
#[derive(Debug)]
pub(crate) struct Gathered<F, C> {
    inner: F,
    calls: C,
    is_put_off: bool,
}

impl<F: Future + Unpin, C: Fn() -> usize + Unpin> Gathered<F, C> {
    /// `calls` tells how many are in progress that `inner` may have to write for.
    pub(crate) fn new(inner: F, calls: C) -> Self {
        Gathered {
            inner,
            calls,
            is_put_off: false,
        }
    }
}

impl<F: Future + Unpin, C: Fn() -> usize + Unpin> Future for Gathered<F, C> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.is_put_off = !self.is_put_off && (self.calls)() >= MANY;
        // Asked once, it has this task woken after the others.
        if self.is_put_off && pin!(yield_now()).poll(cx).is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{runtime::Builder, sync::mpsc};

    use super::*;

    /// How many pieces a task that ten others send one to takes at a turn.
    fn turns(calls: usize) -> Vec<usize> {
        let runtime = Builder::new_multi_thread().worker_threads(1).build();
        runtime.unwrap().block_on(async move {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let taking = tokio::spawn(async move {
                let mut turns = Vec::new();
                let taking = poll_fn(|cx| {
                    let mut taken = 0;
                    while let Poll::Ready(piece) = receiver.poll_recv(cx) {
                        match piece {
                            Some(()) => taken += 1,
                            None => {
                                turns.push(taken);
                                return Poll::Ready(());
                            }
                        }
                    }
                    turns.push(taken);
                    Poll::Pending
                });
                Gathered::new(taking, || calls).await;
                turns.retain(|taken| *taken > 0);
                turns
            });
            tokio::spawn(async move {
                for _ in 0..10 {
                    let sender = sender.clone();
                    tokio::spawn(async move {
                        sender.send(()).unwrap();
                        // The last one to end is not the last one to send.
                        yield_now().await;
                    });
                }
            });
            taking.await.unwrap()
        })
    }

    #[test]
    fn what_many_calls_have_is_taken_at_once() {
        assert_eq!(turns(MANY), [10]);
        assert!(turns(MANY - 1).len() > 1, "{:?}", turns(MANY - 1));
    }
}
