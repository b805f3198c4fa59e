//! Pushes traces and metrics to an OpenTelemetry collector: OTLP over gRPC.
//!
//! Nothing here is waited for by a call. Sampled calls go through a bounded queue; a batch that
//! the collector does not take after a few attempts is given up and counted. Metrics are
//! cumulative, so that a push that failed is made good by the next one. At the end both are pushed
//! a last time, within a deadline.

mod client;
mod families;
mod spans;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::client::Client;
pub use self::client::ExportError;
use super::{
    Metrics,
    trace::{Finished, Tracer},
};
use crate::{clock::Clock, config::TelemetryConfig};

/// The most sampled calls that wait for the collector.
const QUEUE_MAX: usize = 4096;
/// The most sampled calls in one request.
const BATCH_MAX: usize = 512;
/// How long a batch gathers.
const LINGER: Duration = Duration::from_secs(1);
/// How often a batch is sent before it is given up.
const ATTEMPTS_MAX: u32 = 3;
/// The pause between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// Pushes until it is stopped or dropped.
#[derive(Debug)]
pub struct Exporter {
    /// Samples calls, and hands them over.
    pub tracer: Tracer,
    stop: DropGuard,
    tasks: Vec<JoinHandle<()>>,
}

impl Exporter {
    /// Starts to push to the configured collector, which need not be there; `None`: there is none.
    pub fn start(
        config: &TelemetryConfig,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Exporter>, ExportError> {
        let Some(client) = Client::new(config, clock)? else {
            return Ok(None);
        };
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let tracer = Tracer::new(config.trace_ratio, queue, Arc::clone(metrics));
        let stop = CancellationToken::new();
        let spans = Spans {
            client: client.clone(),
            metrics: Arc::clone(metrics),
            queued,
            stop: stop.clone(),
        };
        let mut tasks = vec![tokio::spawn(spans.run())];
        if config.metrics_push_interval_ms > 0 {
            let interval = Duration::from_millis(config.metrics_push_interval_ms);
            let metrics = Arc::clone(metrics);
            tasks.push(tokio::spawn(push(client, metrics, interval, stop.clone())));
        }
        Ok(Some(Exporter {
            tracer,
            stop: stop.drop_guard(),
            tasks,
        }))
    }

    /// Pushes what there is a last time. `false`: not all of it in time.
    pub async fn stop(self, deadline: Duration) -> bool {
        drop(self.stop);
        let all = async {
            for task in self.tasks {
                // A task that panicked has said so.
                let _ = task.await;
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }
}

/// Pushes the metrics by timer, and once at the end.
async fn push(
    mut client: Client,
    metrics: Arc<Metrics>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut timer = tokio::time::interval(interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when there is nothing to say yet.
    timer.tick().await;
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            _ = timer.tick() => false,
        };
        let sent = client.send_metrics(&metrics).await;
        metrics.exported("metrics", sent.is_ok());
        if let Err(error) = sent {
            tracing::warn!(%error, "the collector did not take the metrics");
        }
        if is_last {
            return;
        }
    }
}

/// Pushes sampled calls in batches.
struct Spans {
    client: Client,
    metrics: Arc<Metrics>,
    queued: mpsc::Receiver<Finished>,
    stop: CancellationToken,
}

impl Spans {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                got = self.queued.recv_many(&mut batch, BATCH_MAX) => {
                    if got == 0 {
                        return;
                    }
                }
                () = self.stop.cancelled() => break,
            }
            let gathered = self.gather(&mut batch);
            // Whatever came until then is sent.
            let _ = tokio::time::timeout(LINGER, gathered).await;
            self.send(std::mem::take(&mut batch)).await;
        }
        self.queued.close();
        while self.queued.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Until the batch is full or it is time to stop.
    async fn gather(&mut self, batch: &mut Vec<Finished>) {
        while batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            tokio::select! {
                got = self.queued.recv_many(batch, room) => {
                    if got == 0 {
                        return;
                    }
                }
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn send(&mut self, batch: Vec<Finished>) {
        let count: u64 = batch.iter().map(Finished::spans).sum();
        let spans = batch.into_iter().flat_map(spans::of).collect();
        let request = self.client.spans_request(spans);
        for attempt in 1..=ATTEMPTS_MAX {
            match self.client.send_spans(request.clone()).await {
                Ok(rejected) => {
                    self.metrics.exported("traces", true);
                    self.metrics.spans_dropped("rejected", rejected.min(count));
                    self.metrics.spans_exported(count.saturating_sub(rejected));
                    return;
                }
                Err(error) => {
                    self.metrics.exported("traces", false);
                    tracing::warn!(%error, attempt, "the collector did not take the spans");
                }
            }
            if self.stop.is_cancelled() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(ATTEMPT_PAUSE) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.metrics.spans_dropped("export_failed", count);
    }
}
