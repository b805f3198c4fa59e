//! Helm, by its own SDK: a Python that `tests/run` sets up, asked once for many renderings.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// `tests/run` puts a Python with the Helm SDK there.
const PYTHON: &str = "TOLLGATE_TEST_PYTHON";
/// The release's name and namespace, where a test does not care.
pub const RELEASE: &str = "tollgate";
pub const NAMESPACE: &str = "credits";

/// What came of one rendering.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub manifests: Vec<Value>,
    pub notes: String,
    /// What lint or Kubernetes' schemas object to.
    pub problems: Vec<String>,
}

/// What is to be rendered.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// The chart itself.
    Tollgate,
    /// A gateway's chart that includes the sidecar.
    Gateway,
}

/// The Python of the tests.
pub fn python() -> Command {
    let python = std::env::var(PYTHON)
        .unwrap_or_else(|_| panic!("{PYTHON} is not set: run the tests with tests/run"));
    Command::new(python)
}

/// A path from the root of the repository.
pub fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// A file of the repository.
pub fn file(relative: &str) -> String {
    let path = path(relative);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A YAML file as JSON.
pub fn read_yaml(relative: &str) -> Value {
    parse_yaml(&file(relative))
}

/// A YAML text as JSON.
pub fn parse_yaml(text: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut command = python();
    serde_json::from_slice(&fed(command.args(["-c", script]), text)).unwrap()
}

/// What Kubernetes' schemas object to in a manifest that is no chart's.
pub fn problems(manifest: &Value) -> Vec<String> {
    let mut command = python();
    command.arg(path("tests/it/helm/chart.py")).arg("check");
    serde_json::from_slice(&fed(&mut command, &manifest.to_string())).unwrap()
}

/// What a command makes of a text on its standard input.
fn fed(command: &mut Command, text: &str) -> Vec<u8> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed, see above");
    output.stdout
}

/// Renders with each of `values`, which are YAML: manifests, or why Helm refused.
pub fn render(what: What, values: &[String]) -> Vec<Result<Rendered, String>> {
    let jobs: Vec<Value> = values.iter().map(|values| job(what, values)).collect();
    let mut command = python();
    command.arg(path("tests/it/helm/chart.py"));
    let answers = fed(&mut command, &Value::Array(jobs).to_string());
    let answers: Vec<Value> = serde_json::from_slice(&answers).unwrap();
    assert_eq!(answers.len(), values.len());
    answers.into_iter().map(read).collect()
}

/// Renders once, and objects to every problem.
pub fn render_one(what: What, values: &str) -> Rendered {
    let rendered = render(what, &[values.to_owned()]).remove(0);
    let rendered = rendered.unwrap_or_else(|error| panic!("{values}\n{error}"));
    assert!(rendered.problems.is_empty(), "{:#?}", rendered.problems);
    rendered
}

fn job(what: What, values: &str) -> Value {
    let (chart, with) = match what {
        What::Tollgate => ("helm/tollgate", None),
        What::Gateway => ("tests/it/helm/gateway", Some(path("helm/tollgate"))),
    };
    json!({"chart": path(chart), "with": with, "values": values,
           "name": RELEASE, "namespace": NAMESPACE})
}

fn read(answer: Value) -> Result<Rendered, String> {
    if let Some(error) = answer["error"].as_str() {
        return Err(error.to_owned());
    }
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().unwrap().iter();
        texts
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    Ok(Rendered {
        manifests: answer["manifests"].as_array().unwrap().clone(),
        notes: answer["notes"].as_str().unwrap().to_owned(),
        problems: texts(&answer["problems"]),
    })
}

impl Rendered {
    /// All manifests of a kind.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        let manifests = self.manifests.iter();
        manifests.filter(|found| found["kind"] == kind).collect()
    }

    /// The one manifest of a kind.
    pub fn one(&self, kind: &str) -> &Value {
        match self.all(kind).as_slice() {
            [one] => one,
            others => panic!("{} of kind {kind}", others.len()),
        }
    }

    /// The manifest of a kind that has this name.
    pub fn named(&self, kind: &str, name: &str) -> &Value {
        let all = self.all(kind);
        let found = all.iter().find(|one| one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// The specifications of all pods that come of it.
    pub fn pods(&self) -> Vec<&Value> {
        let pods = self
            .manifests
            .iter()
            .map(|found| &found["spec"]["template"]["spec"]);
        pods.filter(|pod| !pod.is_null()).collect()
    }

    /// What Kubernetes calls each manifest.
    pub fn names(&self) -> Vec<String> {
        let name = |found: &Value| {
            format!(
                "{} {}",
                found["kind"].as_str().unwrap(),
                found["metadata"]["name"].as_str().unwrap()
            )
        };
        let mut names: Vec<String> = self.manifests.iter().map(name).collect();
        names.sort();
        names
    }
}

/// The containers of a pod, sidecars and all.
pub fn containers(pod: &Value) -> Vec<&Value> {
    let of = |list: &str| pod[list].as_array().map_or(&[][..], Vec::as_slice);
    of("initContainers")
        .iter()
        .chain(of("containers"))
        .collect()
}
