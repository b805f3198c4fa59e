//! A container of a manifest as a process, the way a kubelet would have it: its command line and
//! variables, its volumes as folders, its probes asked from outside.
//!
//! What a kubelet has and a test has not is replaced in every text: the paths of the mounts by
//! folders of the test's, the ports by free ones.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::render::Rendered;
use crate::{process::binary, support::servers::free_port};

/// How long an answer to a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The node: folders that stand in for the volumes, and the Secrets.
pub struct Node {
    folder: PathBuf,
    /// By name, then by key.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
}

/// A container that runs.
pub struct Container {
    child: Child,
    /// Its variables, for whoever runs a command beside it.
    variables: Vec<(String, String)>,
    manifest: Value,
    /// The port that stands in for each of the manifest's.
    ports: BTreeMap<u64, u16>,
    folder: PathBuf,
}

impl Node {
    pub fn new(folder: &Path) -> Self {
        Node {
            folder: folder.to_owned(),
            secrets: BTreeMap::new(),
        }
    }

    /// Adds a Secret with one key.
    pub fn secret(&mut self, name: &str, key: &str, value: &str) {
        let keys = self.secrets.entry(name.to_owned()).or_default();
        keys.insert(key.to_owned(), value.to_owned());
    }

    /// Prepares what a container of a pod is started with. `name` is the pod's: its volumes are
    /// kept from one start to the next.
    fn prepare(&self, name: &str, rendered: &Rendered, pod: &Value, container: &Value) -> Prepared {
        let folder = self.folder.join(name);
        let mut swaps = Vec::new();
        for mount in list(&container["volumeMounts"]) {
            let volumes = list(&pod["volumes"]);
            let volume = volumes
                .iter()
                .find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
            let place = folder.join("volumes").join(text(&mount["name"]));
            fs::create_dir_all(&place).unwrap();
            if let Some(files) = self.files(rendered, volume) {
                swaps.push((text(&mount["mountPath"]).to_owned(), place.clone()));
                project(&place, &files);
            } else {
                swaps.push((text(&mount["mountPath"]).to_owned(), place));
            }
        }
        let root = folder.join("root");
        fs::create_dir_all(&root).unwrap();
        Prepared {
            swaps,
            root,
            folder,
        }
    }

    /// The files of a volume that has any.
    fn files(&self, rendered: &Rendered, volume: &Value) -> Option<BTreeMap<String, String>> {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            let maps = rendered.all("ConfigMap");
            let found = maps.iter().find(|map| map["metadata"]["name"] == name);
            let found = found.unwrap_or_else(|| panic!("no ConfigMap {name}"));
            let data = found["data"].as_object().unwrap().iter();
            return Some(
                data.map(|(key, value)| (key.clone(), text(value).to_owned()))
                    .collect(),
            );
        }
        let secret = volume["secret"]["secretName"].as_str()?;
        let item = |item: &Value| {
            let value = self.secrets[secret][text(&item["key"])].clone();
            (text(&item["path"]).to_owned(), value)
        };
        Some(list(&volume["secret"]["items"]).iter().map(item).collect())
    }

    fn variable(&self, variable: &Value) -> String {
        match variable["value"].as_str() {
            Some(value) => value.to_owned(),
            None => {
                let from = &variable["valueFrom"]["secretKeyRef"];
                self.secrets[text(&from["name"])][text(&from["key"])].clone()
            }
        }
    }

    /// The command of a container, ready to be started.
    fn command(
        &self,
        prepared: &Prepared,
        container: &Value,
        swap: &dyn Fn(&str) -> String,
    ) -> Command {
        let mut command = binary();
        command.current_dir(&prepared.root);
        for arg in list(&container["args"]) {
            command.arg(swap(text(arg)));
        }
        for variable in list(&container["env"]) {
            command.env(text(&variable["name"]), swap(&self.variable(variable)));
        }
        command
    }

    /// Starts a container that serves.
    pub fn start(
        &self,
        name: &str,
        rendered: &Rendered,
        pod: &Value,
        container: &Value,
    ) -> Container {
        let prepared = self.prepare(name, rendered, pod, container);
        // The ports are the node's to give, and known from the manifest and the variables.
        let mut ports = BTreeMap::new();
        for port in [50051, 9464] {
            ports.insert(port, free_port());
        }
        let swap = |text: &str| prepared.swap(text, &ports);
        prepared.swap_files(&ports);
        let mut command = self.command(&prepared, container, &swap);
        let set = command.get_envs().filter_map(|(name, value)| {
            Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned()))
        });
        let variables = set.collect();
        Container {
            child: command.spawn().unwrap(),
            variables,
            manifest: container.clone(),
            ports,
            folder: prepared.folder,
        }
    }

    /// Runs a container to its end, as a Job does.
    pub fn run(&self, name: &str, rendered: &Rendered, pod: &Value) -> std::process::Output {
        let container = &pod["containers"][0];
        let prepared = self.prepare(name, rendered, pod, container);
        let swap = |text: &str| prepared.swap(text, &BTreeMap::new());
        let mut command = self.command(&prepared, container, &swap);
        command.output().unwrap()
    }
}

/// A container's folders.
struct Prepared {
    /// Paths of the manifest, and what stands in for each.
    swaps: Vec<(String, PathBuf)>,
    /// What stands in for the root: it is read-only, so nothing may be written here.
    root: PathBuf,
    folder: PathBuf,
}

impl Prepared {
    fn swap(&self, text: &str, ports: &BTreeMap<u64, u16>) -> String {
        let mut text = text.to_owned();
        for (path, place) in &self.swaps {
            text = text.replace(path, &place.display().to_string());
        }
        for (port, free) in ports {
            for host in ["0.0.0.0", "127.0.0.1"] {
                text = text.replace(&format!("{host}:{port}"), &format!("127.0.0.1:{free}"));
            }
        }
        text
    }

    /// Configuration files name paths and ports too.
    fn swap_files(&self, ports: &BTreeMap<u64, u16>) {
        for (_, place) in &self.swaps {
            let file = place.join("tollgate.toml");
            if let Ok(text) = fs::read_to_string(&file) {
                let files = BTreeMap::from([("tollgate.toml".to_owned(), self.swap(&text, ports))]);
                project(place, &files);
            }
        }
    }
}

impl Container {
    /// The port that stands in for one of the manifest's.
    pub fn port(&self, port: u64) -> u16 {
        self.ports[&port]
    }

    /// The folder of a volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.folder.join("volumes").join(name)
    }

    /// Asks a probe of the manifest, once.
    pub async fn probe(&self, name: &str) -> Result<(), String> {
        let probe = &self.manifest[name];
        if let Some(port) = probe["grpc"]["port"].as_u64() {
            return self.ask_grpc(self.ports[&port]).await;
        }
        let get = &probe["httpGet"];
        let path = get["path"]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in the manifest"));
        let named = list(&self.manifest["ports"]);
        let port = named.iter().find(|port| port["name"] == get["port"]);
        let port = port.unwrap_or_else(|| panic!("no port {}", get["port"]));
        let port = self.ports[&port["containerPort"].as_u64().unwrap()];
        let answer = http_get(port, path).map_err(|error| error.to_string())?;
        match answer.split_whitespace().nth(1) {
            Some(status) if status.starts_with(['2', '3']) => Ok(()),
            _ => Err(answer),
        }
    }

    async fn ask_grpc(&self, port: u16) -> Result<(), String> {
        let channel = connect(port).await.map_err(|error| error.to_string())?;
        let request = HealthCheckRequest::default();
        let answer = HealthClient::new(channel).check(request).await;
        match answer.map(|answer| answer.into_inner().status()) {
            Ok(ServingStatus::Serving) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Waits for a probe, as a kubelet does by its period.
    pub async fn wait_for(&mut self, name: &str) {
        for _ in 0..300 {
            if self.probe(name).await.is_ok() {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the container ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} in vain: {:?}", self.probe(name).await);
    }

    /// Runs a command of the image beside it, as `kubectl exec` does: what it says.
    pub fn exec(&self, args: &[&str]) -> String {
        let mut command = binary();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}{failed}");
        said
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it as the kubelet does, and sees that it wrote nothing beside its volumes.
    pub fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
        let status = self.child.wait().unwrap();
        let written: Vec<_> = fs::read_dir(self.folder.join("root")).unwrap().collect();
        assert!(written.is_empty(), "written to the root: {written:?}");
        status
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a port of this machine.
pub async fn connect(port: u16) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    endpoint.timeout(PROBE_TIMEOUT).connect().await
}

/// What a port answers to a GET, status line and all.
pub fn http_get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Puts files into a volume as the kubelet does: in a new folder, which the link `..data` is then
/// moved to in one step, while each file is a link through it.
pub fn project(volume: &Path, files: &BTreeMap<String, String>) {
    let fresh = tempfile::Builder::new().prefix("..").tempdir_in(volume);
    let fresh = fresh.unwrap().keep();
    for (file, content) in files {
        fs::write(fresh.join(file), content).unwrap();
        let link = volume.join(file);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(file), link).unwrap();
        }
    }
    let next = volume.join("..data_tmp");
    std::os::unix::fs::symlink(fresh.file_name().unwrap(), &next).unwrap();
    fs::rename(&next, volume.join("..data")).unwrap();
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}
