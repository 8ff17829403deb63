//! Holds the layering of `src/lib.rs` as data: an import that is not declared
//! here fails. A new arrow is a design decision, made here in the same commit.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each module, and what it may import of the crate.
const LAYERS: &[(&str, &[&str])] = &[
    ("allocator", &[]),
    ("limits", &[]),
    ("id", &["limits"]),
    ("op", &["limits", "id"]),
    ("listing", &["id"]),
    ("journal", &["limits"]),
    ("access", &["limits"]),
    ("config", &["limits", "access", "journal"]),
    ("histogram", &[]),
    ("tls", &["limits", "config"]),
    ("http", &["limits", "op"]),
    ("log", &["limits", "id", "op"]),
    ("shard", &["limits", "id", "op", "listing", "log"]),
    (
        "api",
        &[
            "limits",
            "id",
            "op",
            "listing",
            "access",
            "histogram",
            "http",
        ],
    ),
    ("mesh", &["limits", "id", "op", "listing", "shard"]),
    (
        "server",
        &[
            "allocator",
            "limits",
            "id",
            "op",
            "listing",
            "access",
            "config",
            "histogram",
            "journal",
            "http",
            "log",
            "shard",
            "api",
            "mesh",
            "tls",
        ],
    ),
    (
        "commands",
        &[
            "limits", "id", "op", "access", "config", "journal", "log", "api", "server", "tls",
        ],
    ),
];

/// Packages that only these modules may name.
const PACKAGES: &[(&str, &[&str])] = &[
    ("glommio", &["mesh", "server"]),
    ("io_uring", &["server"]),
    ("serde_json", &["api"]),
    ("sha2", &["access", "api"]),
    ("subtle", &["access"]),
    ("rustls", &["tls"]),
    ("x509_cert", &["tls"]),
    ("flate2", &["http"]),
    ("prometheus_client", &["api"]),
    ("base64", &["api"]),
    ("httparse", &["http"]),
    ("memmap2", &["log"]),
    ("hashbrown", &["shard"]),
    ("clap", &["config", "commands"]),
    ("tracing_subscriber", &["commands"]),
    ("indicatif", &["commands"]),
    ("tar", &["log", "commands"]),
    ("sd_notify", &["commands"]),
    ("rustyline", &["commands"]),
    ("ureq", &["commands"]),
];

/// Files that may hold `unsafe`.
const UNSAFE: &[&str] = &["allocator.rs", "log/map.rs", "server/ring.rs"];

#[test]
fn modules_import_only_from_the_layers_above_them() {
    let mut faults = Vec::new();
    for (file, code) in sources() {
        let module = module_of(&file);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            faults.push(format!("{file}: module '{module}' is not in the table"));
            continue;
        };
        for imported in imports(&code) {
            if imported != module && !allowed.contains(&imported.as_str()) {
                faults.push(format!("{file}: imports {imported}"));
            }
        }
        for (package, modules) in PACKAGES {
            if code.contains(&format!("{package}::")) && !modules.contains(&module.as_str()) {
                faults.push(format!("{file}: names {package}"));
            }
        }
        if code.contains("unsafe ") && !UNSAFE.contains(&file.as_str()) {
            faults.push(format!("{file}: holds unsafe code"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_table_would_notice() {
    let code = "use crate::{\n    api::Plan,\n    id::Id,\n};\nlet x = crate::log::Lsn(1);";
    assert_eq!(imports(code), ["api", "id", "log"]);
    assert!(sources().len() > 30, "the sources are found");
}

/// The modules of the crate that `code` names, sorted.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, _) in LAYERS {
        let direct =
            code.contains(&format!("crate::{name}::")) || code.contains(&format!("crate::{name};"));
        let grouped = code.split("use crate::{").skip(1).any(|group| {
            let group = group
                .split("};")
                .next()
                .expect("split gives one part at least");
            group.split('\n').chain(group.split(", ")).any(|item| {
                let item = item.trim_start();
                item.starts_with(&format!("{name}::"))
                    || item == *name
                    || item == format!("{name},")
            })
        });
        if direct || grouped {
            found.push((*name).to_owned());
        }
    }
    found.sort();
    found
}

/// Every source file below `src/` but the roots, with its code less comments.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below the root");
            let text = fs::read_to_string(&path).expect("sources are readable");
            let code: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect();
            (name.to_string_lossy().into_owned(), code.join("\n"))
        })
        .filter(|(name, _)| name != "lib.rs" && name != "main.rs")
        .collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn module_of(file: &str) -> String {
    let first = file
        .split('/')
        .next()
        .expect("split gives one part at least");
    first.trim_end_matches(".rs").to_owned()
}
