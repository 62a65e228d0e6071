//! packaging/kubernetes and packaging/docker: built as `kubectl apply -k` builds them, valid by Kubernetes' published
//! schemas, and what the hubs' deployment promises. Nothing here needs a cluster.
//!
//! The schemas come with kubernetes-validate, which is installed from PyPI into target/. Without kubectl each resource is
//! looked at by itself; without the schemas the step is left out, and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::project::Project;
use crate::report::Done;
use crate::run::{cargo, find, output, run, silent, succeeds};

/// The schemas of all versions up to its own are in it.
const VALIDATOR: &str = "kubernetes-validate";
const VERSION: &str = "1.37.0";
/// The oldest that has all that is used (`preStop.sleep`), and the newest that is known.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];
/// What `kubectl apply -k` is given.
const FOLDERS: [&str; 2] = ["packaging/kubernetes", "packaging/kubernetes/redis"];
/// What would be a mistake in a manifest: the validator has to see each.
const MISTAKES: [(&str, &str); 3] = [
    ("replicas: 3", "replicas: three"),
    ("containerPort: 8421", "containerport: 8421"),
    ("maxSurge: 1", "maxSurge: [1]"),
];
/// Prints all documents of a YAML file as JSON.
const TO_JSON: &str = "import json,sys,yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";

/// Checks them all by themselves.
pub(crate) fn manifests(project: &Project) -> anyhow::Result<()> {
    run(cargo(&project.root).args(["build", "--locked", "--package", "mainstay"]))?;
    match check(project, &project.binary("debug", "mainstay"))? {
        Done::Passed => Ok(()),
        Done::Skipped(why) => bail!("{why}"),
    }
}

/// Checks them all.
pub(crate) fn check(project: &Project, binary: &Path) -> anyhow::Result<Done> {
    let tools = match Tools::find(project) {
        Ok(tools) => tools,
        Err(error) => return Ok(Done::Skipped(format!("{error:#}"))),
    };
    let scratch = project.scratch("manifests")?;
    for folder in FOLDERS {
        let folder = project.root.join(folder);
        let Some(kubectl) = find("kubectl") else {
            println!("no kubectl: resources of {} are looked at one by one", folder.display());
            for file in resources(&folder)? {
                tools.validate(&file)?;
            }
            continue;
        };
        let built = scratch.join("built.yaml");
        fs::write(&built, output(Command::new(kubectl).arg("kustomize").arg(&folder))?).context("keep it")?;
        tools.validate(&built)?;
        let documents = tools.json(&built)?;
        promises(&documents).with_context(|| folder.display().to_string())?;
        configuration(&documents, &scratch, binary).with_context(|| folder.display().to_string())?;
        println!("{}: {} resources are right", folder.display(), documents.len());
    }
    let deployment = project.root.join("packaging/kubernetes/hubs/deployment.yaml");
    mistakes(&deployment, &scratch, &tools)?;
    docker(project, &tools, binary)?;
    Ok(Done::Passed)
}

/// Python with the schemas.
struct Tools {
    bin: PathBuf,
}

impl Tools {
    fn find(project: &Project) -> anyhow::Result<Self> {
        let home = project.target.join(format!("tools/{VALIDATOR}-{VERSION}"));
        let tools = Self { bin: home.join("bin") };
        if tools.bin.join(VALIDATOR).is_file() {
            return Ok(tools);
        }
        println!("setup: pip install {VALIDATOR} {VERSION}");
        silent(Command::new("python3").args(["-m", "venv"]).arg(&home)).context("make a venv")?;
        let wanted = format!("{VALIDATOR}=={VERSION}");
        silent(Command::new(tools.bin.join("pip")).args(["install", "--quiet", &wanted]))
            .with_context(|| format!("{VALIDATOR} could not be installed"))?;
        Ok(tools)
    }

    fn validator(&self, version: &str, file: &Path) -> Command {
        let mut command = Command::new(self.bin.join(VALIDATOR));
        command.args(["--strict", "--quiet", "-k", version]).arg(file);
        command
    }

    fn validate(&self, file: &Path) -> anyhow::Result<()> {
        KUBERNETES.iter().try_for_each(|version| run(&mut self.validator(version, file)))
    }

    fn json(&self, file: &Path) -> anyhow::Result<Vec<Value>> {
        let text = output(Command::new(self.bin.join("python")).args(["-c", TO_JSON]).arg(file))?;
        serde_json::from_str(&text).context("read the documents")
    }
}

/// The manifests of a folder and below, without what is kustomize's own.
fn resources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.context("read an entry")?.path();
        if path.is_dir() {
            found.extend(resources(&path)?);
        } else if path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("kustomization.yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The one resource of this kind and name.
fn one<'d>(documents: &'d [Value], kind: &str, name: &str) -> anyhow::Result<&'d Value> {
    let fits = |d: &&Value| {
        let called = d["metadata"]["name"].as_str().unwrap_or_default();
        d["kind"] == kind
            && (called == name || called.starts_with(&format!("{name}-")) && kind == "ConfigMap")
    };
    documents.iter().find(fits).with_context(|| format!("there is no {kind} {name}"))
}

/// What the hubs' deployment is there for.
fn promises(documents: &[Value]) -> anyhow::Result<()> {
    let deployment = &one(documents, "Deployment", "gost-tunnel")?["spec"];
    let hub = &deployment["template"]["spec"]["containers"][0];
    let wanted = [
        (&deployment["replicas"], json!(3)),
        (&deployment["minReadySeconds"], json!(10)),
        (&deployment["strategy"]["rollingUpdate"], json!({ "maxSurge": 1, "maxUnavailable": 0 })),
        (&hub["resources"]["requests"], json!({ "cpu": "100m", "memory": "100Mi" })),
        (&hub["resources"]["limits"], json!({ "cpu": "1000m", "memory": "500Mi" })),
        (&hub["livenessProbe"]["httpGet"]["path"], json!("/healthz")),
        (&hub["readinessProbe"]["httpGet"]["path"], json!("/readyz?here")),
        (&hub["securityContext"]["capabilities"], json!({ "drop": ["ALL"] })),
        (&deployment["template"]["spec"]["securityContext"]["runAsNonRoot"], json!(true)),
        (&one(documents, "PodDisruptionBudget", "gost-tunnel")?["spec"]["maxUnavailable"], json!(1)),
        (&one(documents, "Service", "gost-tunnel-hubs")?["spec"]["clusterIP"], json!("None")),
    ];
    for (is, wanted) in wanted {
        ensure!(*is == wanted, "it says {is} where {wanted} is promised");
    }
    let waits = &hub["lifecycle"]["preStop"]["sleep"]["seconds"];
    let grace = &deployment["template"]["spec"]["terminationGracePeriodSeconds"];
    // A stop lets requests end for ten seconds.
    ensure!(
        waits.as_u64().zip(grace.as_u64()).is_some_and(|(w, g)| w >= 5 && g >= w + 15),
        "{waits} {grace}"
    );
    let ports = |d: &Value| -> Vec<u64> {
        d["spec"]["ports"].as_array().into_iter().flatten().filter_map(|p| p["port"].as_u64()).collect()
    };
    ensure!(ports(one(documents, "Service", "gost-tunnel")?) == [8421, 80], "the service has other ports");
    let rules = &one(documents, "Ingress", "tunnel")?["spec"]["rules"];
    let hosts: Vec<&Value> = rules.as_array().into_iter().flatten().map(|rule| &rule["host"]).collect();
    ensure!(hosts == ["gost.local", "*.gost.local"], "the Ingress has other hosts: {hosts:?}");
    one(documents, "NetworkPolicy", "gost-tunnel")?;
    let apart = &deployment["template"]["spec"]["affinity"]["podAntiAffinity"];
    ensure!(apart.is_object(), "hubs may share a machine without a word against it");
    Ok(())
}

/// The configuration of the pods is one that the program takes.
fn configuration(documents: &[Value], scratch: &Path, binary: &Path) -> anyhow::Result<()> {
    let map = one(documents, "ConfigMap", "gost-tunnel")?;
    let text = map["data"]["mainstay.toml"].as_str().context("the ConfigMap has no mainstay.toml")?;
    let file = scratch.join("mainstay.toml");
    fs::write(&file, text).context("keep the configuration")?;
    let mut command = Command::new(binary);
    command.args(["check", "--elsewhere"]).arg(&file);
    run(command.env("POD_NAME", "gost-tunnel-5d8f7c9b6-x2x7q").env("POD_IP", "10.244.1.17"))
}

/// A manifest with a mistake is refused, or all this proves nothing.
fn mistakes(deployment: &Path, scratch: &Path, tools: &Tools) -> anyhow::Result<()> {
    let text = fs::read_to_string(deployment).context("read the deployment")?;
    for (right, wrong) in MISTAKES {
        ensure!(text.contains(right), "{} does not say `{right}`", deployment.display());
        let file = scratch.join("wrong.yaml");
        fs::write(&file, text.replace(right, wrong)).context("keep the mistake")?;
        ensure!(!succeeds(&mut tools.validator(KUBERNETES[1], &file)), "`{wrong}` passes");
    }
    Ok(())
}

/// The compose file names what is there, and its hubs' configuration is one that the program takes.
fn docker(project: &Project, tools: &Tools, binary: &Path) -> anyhow::Result<()> {
    let folder = project.root.join("packaging/docker");
    let documents = tools.json(&folder.join("compose.yaml"))?;
    let services =
        documents.first().and_then(|d| d["services"].as_object()).context("compose has no services")?;
    let hubs: Vec<&Value> =
        services.iter().filter(|(name, _)| name.starts_with("hub-")).map(|(_, s)| s).collect();
    ensure!(hubs.len() == 3, "compose has {} hubs", hubs.len());
    for hub in hubs {
        let dockerfile = hub["build"]["dockerfile"].as_str().unwrap_or_default();
        ensure!(project.root.join(dockerfile).is_file(), "compose builds from \"{dockerfile}\"");
        ensure!(hub["cap_drop"][0] == "ALL" && hub["read_only"] == true, "a hub may more than it has to");
    }
    let mut command = Command::new(binary);
    command.args(["check", "--elsewhere"]).arg(folder.join("hub.toml"));
    run(command.env("MAINSTAY_NODE", "hub-1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kustomizes_own_is_no_resource() {
        let root = std::env::temp_dir().join(format!("mainstay-manifests-{}", std::process::id()));
        fs::create_dir_all(root.join("hubs")).unwrap();
        for name in
            ["hubs/deployment.yaml", "hubs/kustomization.yaml", "hubs/mainstay.toml", "kustomization.yaml"]
        {
            fs::write(root.join(name), "").unwrap();
        }
        let found = resources(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [root.join("hubs/deployment.yaml")]);
    }

    #[test]
    fn a_deployment_that_promises_less_is_told() {
        assert!(promises(&[]).unwrap_err().to_string().contains("no Deployment gost-tunnel"));
        let documents = [json!({
            "kind": "Deployment",
            "metadata": { "name": "gost-tunnel" },
            "spec": { "replicas": 1 },
        })];
        assert!(promises(&documents).is_err());
    }
}
