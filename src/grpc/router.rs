//! Which service a call goes to, if its caller may make it. It is hyper's own service trait, with no layer in between.

use std::{convert::Infallible, sync::Arc};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tonic::{body::Body, codegen::Service, server::NamedService};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as ReflectionBuilder;
use tower::util::BoxCloneSyncService;

use super::{
    audit::{AuditLog, Outside},
    call::{Answer, Call, Traffic},
    gate::{Caller, Gate, KeptOut},
    health::{Health, HealthApi},
    methods::{self, Method, OTHER, Route},
    peer::Peer,
    status,
};
use crate::pb::{
    self,
    admin_service_server::{AdminService, AdminServiceServer},
    quota_service_server::{QuotaService, QuotaServiceServer},
};

type Reflection = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// The services, by path.
pub(super) struct Router<Q, A> {
    quota: Option<QuotaServiceServer<Q>>,
    admin: Option<AdminServiceServer<A>>,
    health: HealthServer<HealthApi>,
    reflection_v1: Option<Reflection>,
    reflection_v1alpha: Option<Reflection>,
    names: Vec<&'static str>,
    traffic: Arc<Traffic>,
    gate: Arc<Gate>,
    /// Where calls to AdminService that are refused here are written.
    log: Option<Arc<AuditLog>>,
}

impl<Q: QuotaService, A: AdminService> Router<Q, A> {
    pub(super) fn new(
        quota: Option<Q>,
        admin: Option<A>,
        health: Health,
        (traffic, gate, log): (Arc<Traffic>, Arc<Gate>, Option<Arc<AuditLog>>),
    ) -> Self {
        let bytes_max = traffic.message_bytes_max;
        let quota = quota.map(QuotaServiceServer::new);
        let quota = quota.map(|quota| quota.max_decoding_message_size(bytes_max));
        let admin = admin.map(AdminServiceServer::new);
        let admin = admin.map(|admin| admin.max_decoding_message_size(bytes_max));
        let names = [
            quota.as_ref().map(|_| QuotaServiceServer::<Q>::NAME),
            admin.as_ref().map(|_| AdminServiceServer::<A>::NAME),
        ];
        let names: Vec<&'static str> = names.into_iter().flatten().collect();
        let health = HealthServer::new(HealthApi::new(health, names.clone()))
            .max_decoding_message_size(bytes_max);
        Router {
            quota,
            admin,
            health,
            reflection_v1: built(reflection(&names).build_v1().map(Reflection::new)),
            reflection_v1alpha: built(reflection(&names).build_v1alpha().map(Reflection::new)),
            names,
            traffic,
            gate,
            log,
        }
    }

    fn not_served(&self, request: &Request<Incoming>) -> Call {
        let present = self.traffic.begin(request.headers());
        let status = status::not_served(request.uri().path(), &self.names);
        self.traffic.refused(OTHER, present, status)
    }

    fn call(&self, mut request: Request<Incoming>, peer: &Arc<Peer>) -> Call {
        let Some(method) = methods::find(request.uri().path()) else {
            return self.not_served(&request);
        };
        let outside = match self.gate.admit(method, request.headers(), peer) {
            Ok(None) => None,
            Ok(Some(caller)) => {
                let outside = self.outside(method, &caller);
                request.extensions_mut().insert(caller);
                outside
            }
            Err(kept_out) => return self.kept_out(method, *kept_out, request.headers()),
        };
        match method.route {
            Route::Quota => self.bounded(method, "gateway", self.quota.as_ref(), request),
            Route::Admin => {
                if let Some(outside) = &outside {
                    outside.watch(&mut request);
                }
                self.bounded(method, "admin", self.admin.as_ref(), request)
                    .audited(outside)
            }
            Route::Health => self.unbounded(method, Some(&self.health), request),
            Route::ReflectionV1 => self.unbounded(method, self.reflection_v1.as_ref(), request),
            Route::ReflectionV1Alpha => {
                self.unbounded(method, self.reflection_v1alpha.as_ref(), request)
            }
        }
    }

    /// What a call leaves its line through that ends before it begins; `None`: it leaves none.
    fn outside(&self, method: Method, caller: &Caller) -> Option<Outside> {
        let log = self.log.as_ref()?;
        (method.route == Route::Admin).then(|| Outside::new(log, caller.clone()))
    }

    /// A call that its caller may not make.
    fn kept_out(&self, method: Method, kept_out: KeptOut, headers: &HeaderMap) -> Call {
        let KeptOut { status, caller } = kept_out;
        let present = self.traffic.begin(headers);
        self.traffic
            .refused(method.name(), present, status)
            .audited(self.outside(method, &caller))
    }

    /// A call to a service of the contract, where this process has the role that serves it.
    fn bounded<S>(
        &self,
        method: Method,
        role: &str,
        service: Option<&S>,
        request: Request<Incoming>,
    ) -> Call
    where
        S: Service<Request<Incoming>, Future = Answer> + Clone,
    {
        let Some(service) = service else {
            let refused = status::process_lacks(method.name(), role, &self.names);
            let present = self.traffic.begin(request.headers());
            return self.traffic.refused(OTHER, present, refused);
        };
        let limit = self.traffic.limit(request.headers());
        let present = self.traffic.begin(request.headers());
        let answer = || service.clone().call(request);
        self.traffic.bounded(method.name(), limit, present, answer)
    }

    fn unbounded<S>(&self, method: Method, service: Option<&S>, request: Request<Incoming>) -> Call
    where
        S: Service<Request<Incoming>> + Clone,
        S::Future: Into<Answer>,
    {
        let Some(service) = service else {
            return self.not_served(&request);
        };
        self.traffic
            .unbounded(method.name(), service.clone().call(request).into())
    }
}

/// The descriptors are compiled in, so reflection can only fail to start by a mistake of the
/// build; it is then not served, and everything else is.
fn built(reflection: Result<Reflection, tonic_reflection::server::Error>) -> Option<Reflection> {
    match reflection {
        Ok(reflection) => Some(reflection),
        Err(error) => {
            tracing::error!(%error, "reflection is not served");
            None
        }
    }
}

fn reflection(names: &[&'static str]) -> ReflectionBuilder<'static> {
    let builder = ReflectionBuilder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(<HealthServer<HealthApi> as NamedService>::NAME);
    names
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(*name))
}

/// The router as a connection has it.
pub(super) struct Endpoint<Q, A>(pub(super) Arc<Router<Q, A>>, pub(super) Arc<Peer>);

impl<Q: QuotaService, A: AdminService> hyper::service::Service<Request<Incoming>>
    for Endpoint<Q, A>
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call;

    fn call(&self, request: Request<Incoming>) -> Call {
        self.0.call(request, &self.1)
    }
}
