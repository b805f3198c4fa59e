//! `grpc.health.v1.Health`: whether this process can serve, as one switch for all its services.
//!
//! Unlike the ready-made service, its watches end when the process stops, so that none of them
//! holds up the end of a drain.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::watch;
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health as HealthService,
};

use super::status;

/// What the process says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    NotServing,
    Serving,
    /// Not serving any more: nothing follows.
    Stopped,
}

/// The switch. Cheap to clone; starts as not serving.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Phase>>);

impl Default for Health {
    fn default() -> Self {
        Health(Arc::new(watch::Sender::new(Phase::NotServing)))
    }
}

impl Health {
    /// Says whether the process can serve, unless it has stopped.
    pub fn set_serving(&self, serving: bool) {
        self.change(if serving {
            Phase::Serving
        } else {
            Phase::NotServing
        });
    }

    /// Says for good that it serves no more, and ends all watches.
    pub fn stop(&self) {
        self.change(Phase::Stopped);
    }

    /// Whether it serves.
    pub fn is_serving(&self) -> bool {
        *self.0.borrow() == Phase::Serving
    }

    fn change(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let changes = *phase != to && *phase != Phase::Stopped;
            if changes {
                *phase = to;
            }
            changes
        });
    }
}

/// The service.
#[derive(Debug)]
pub(super) struct HealthApi {
    health: Health,
    /// What can be asked for, besides the process as a whole.
    services: Vec<&'static str>,
}

impl HealthApi {
    pub(super) fn new(health: Health, services: Vec<&'static str>) -> Self {
        HealthApi { health, services }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

#[tonic::async_trait]
impl HealthService for HealthApi {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(status::no_such_service(&self.services));
        }
        let phase = *self.health.0.borrow();
        Ok(Response::new(answer(phase, true)))
    }

    type WatchStream = Watching;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Watching>, Status> {
        Ok(Response::new(Watching {
            phases: WatchStream::new(self.health.0.subscribe()),
            known: self.knows(&request.get_ref().service),
            ended: false,
        }))
    }
}

fn answer(phase: Phase, known: bool) -> HealthCheckResponse {
    let status = match phase {
        Phase::Serving if known => ServingStatus::Serving,
        Phase::NotServing | Phase::Stopped if known => ServingStatus::NotServing,
        Phase::Serving | Phase::NotServing | Phase::Stopped => ServingStatus::ServiceUnknown,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

/// A watch: the present phase, and each that follows.
pub(super) struct Watching {
    phases: WatchStream<Phase>,
    known: bool,
    ended: bool,
}

impl Stream for Watching {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = Pin::new(&mut self.phases).poll_next(cx);
        next.map(|phase| {
            self.ended = phase == Some(Phase::Stopped);
            phase.map(|phase| Ok(answer(phase, self.known)))
        })
    }
}
