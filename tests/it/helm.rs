//! The Helm chart: rendered as Helm does it, checked against Kubernetes' own schemas, and started
//! for real: the command lines, variables and files of its manifests as processes.

mod alerts;
mod config;
mod image;
mod incidents;
mod manifests;
mod observed;
mod pod;
mod processes;
mod prometheus;
mod readme;
mod render;
mod rollout;
mod schema;
mod secured;
mod sidecar;
