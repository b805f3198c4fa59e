//! The metrics of who is let in: connections that are turned away, refusals, files taken into use.

use prometheus::{IntGauge, Registry};

use super::{
    instruments::{Counters, Gauges, gauge},
    labels::Reload,
    names,
};

/// Everything that can be said of it before it happens, so that the counters start at zero.
const REFUSED: [&str; 4] = [
    "handshake_timeout",
    "handshake_failed",
    "unix_peer",
    "preface_timeout",
];

/// The metrics of who is let in.
#[derive(Debug)]
pub(super) struct SecurityMetrics {
    refused: Counters<1>,
    admin_refusals: Counters<1>,
    reloads: Counters<2>,
    refused_files: Gauges<1>,
    certificate_not_before: IntGauge,
    certificate_not_after: IntGauge,
}

impl SecurityMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = SecurityMetrics {
            refused: Counters::new(registry, &names::CONNECTIONS_REFUSED)?,
            admin_refusals: Counters::new(registry, &names::ADMIN_REFUSALS)?,
            reloads: Counters::new(registry, &names::FILE_RELOADS)?,
            refused_files: Gauges::new(registry, &names::FILE_REFUSED)?,
            certificate_not_before: gauge(registry, &names::CERTIFICATE_NOT_BEFORE)?,
            certificate_not_after: gauge(registry, &names::CERTIFICATE_NOT_AFTER)?,
        };
        for reason in REFUSED {
            metrics.refused.handle([reason])?;
        }
        for audited in ["yes", "no"] {
            metrics.admin_refusals.handle([audited])?;
        }
        for file in ["tls", "access"] {
            for result in ["loaded", "refused"] {
                metrics.reloads.handle([file, result])?;
            }
        }
        Ok(metrics)
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.add([reason], 1);
    }

    pub(super) fn admin_refusal(&self, audited: bool) {
        self.admin_refusals
            .add([if audited { "yes" } else { "no" }], 1);
    }

    pub(super) fn file_is_refused(&self, file: &'static str, is_refused: bool) {
        self.refused_files.set([file], i64::from(is_refused));
    }

    pub(super) fn certificate(&self, not_before_s: i64, not_after_s: i64) {
        self.certificate_not_before.set(not_before_s);
        self.certificate_not_after.set(not_after_s);
    }

    pub(super) fn reload(&self, file: &'static str, reload: Reload) {
        let result = match reload {
            Reload::Loaded => "loaded",
            Reload::Refused => "refused",
        };
        self.reloads.add([file, result], 1);
    }
}
