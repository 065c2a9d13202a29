use std::{fs, path::Path};

use holdfast_agent::config::{Config, ENV};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::mutated;

fn agent(pod: &Value) -> &Value {
    let list = pod["spec"]["initContainers"].as_array().unwrap();
    list.iter().find(|container| container["name"] == "holdfast-agent").unwrap()
}

fn config(pod: &Value) -> Config {
    let variable = &agent(pod)["env"][0];
    assert_eq!(variable["name"], ENV);
    let text = variable["value"].as_str().unwrap();
    assert!(!text.contains('$'), "kubelet would expand it");
    Config::from_json(text).unwrap()
}

/// The rules of the restricted pod security standard that concern a container.
fn assert_restricted(container: &Value) {
    let context = &container["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert_ne!(context["runAsUser"], 0);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["readOnlyRootFilesystem"], true);
}

#[test]
fn pods_become_what_the_golden_files_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (mut seen, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = fs::read_dir(dir.join("pods")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let pod: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let outcome = mutated(&pod).unwrap();
        assert_eq!(format!("{outcome:?}"), format!("{:?}", mutated(&pod).unwrap()), "{name}: not the same twice");
        let got = match outcome {
            None => json!({ "untouched": true }),
            Some((warnings, patched)) => {
                assert_restricted(agent(&patched));
                let typed: Pod = serde_json::from_value(patched.clone()).unwrap();
                assert_eq!(serde_json::to_value(&typed).unwrap(), patched, "{name}: Kubernetes does not know a field");
                assert!(mutated(&patched).unwrap().is_none(), "{name}: a second mutation changes it again");
                let config = serde_json::to_value(config(&patched)).unwrap();
                json!({ "warnings": warnings, "pod": patched, "config": config })
            }
        };
        let golden = dir.join("golden").join(&name);
        let text = serde_json::to_string_pretty(&got).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(dir.join("golden")).unwrap();
            fs::write(&golden, &text).unwrap();
        }
        let want: Value = serde_json::from_slice(&fs::read(&golden).unwrap_or_default()).unwrap_or_default();
        if want != got {
            wrong.push(format!("{name} is now\n{text}"));
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
