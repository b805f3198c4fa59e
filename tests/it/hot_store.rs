//! What every hot store must do, whatever it is made of: each suite takes a backend, starts its
//! own store, and knows nothing of how it works.

mod concurrency;
mod loading;
mod oldest;
mod outbox;
mod precedence;
mod render;
mod repair;
mod room;
mod script;
mod sweep;
mod transitions;

use crate::support::{Backend, backends};

/// Runs a suite on every backend, on threads of its own.
fn on_every_backend(suite: impl AsyncFn(&dyn Backend)) {
    for backend in backends() {
        println!("on {}", backend.name());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build();
        runtime
            .expect("a runtime")
            .block_on(suite(backend.as_ref()));
    }
}
