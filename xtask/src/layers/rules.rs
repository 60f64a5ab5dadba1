//! The laws themselves: which file may write which path.

use anyhow::{Context, Result};

/// Modules that turn events into a report, and that into files and back: no kernel, no runtime, no files of their own, no
/// clock (time arrives in events).
const PURE: [&str; 10] =
    ["event", "attribute", "ledger", "verdict", "judge", "report", "export", "metrics", "push", "recording"];
const NOT_PURE: [&[&str]; 5] =
    [&["aya"], &["tokio"], &["std", "fs"], &["std", "time", "Instant"], &["std", "time", "SystemTime"]];

/// The agent's outer edges: they import inwards.
const EDGES: [&str; 3] = ["kernel", "cli", "tui"];

const KERNEL_SIDE_MAY_USE: [&str; 3] = ["aya-ebpf", "aya-log-ebpf", "leaktrace-common"];

/// The law that this path breaks in this file (named from the checkout's root).
pub(super) fn broken_by(file: &str, path: &[String]) -> Option<String> {
    let agent = file.strip_prefix("leaktrace/src/");
    // `event/decode.rs` and `event.rs` are both of the module `event`.
    let module = agent.map(|inner| inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs"));
    let first = path.first().map(String::as_str).unwrap_or_default();

    // Modules that are compiled for tests only, by the house's names.
    let is_test =
        agent.is_some_and(|inner| inner.split('/').any(|part| part == "tests" || part == "tests.rs"));

    if let Some(module) = module.filter(|module| PURE.contains(module) && !is_test)
        && let Some(forbidden) = NOT_PURE.iter().find(|forbidden| reaches(path, forbidden))
    {
        return Some(format!("`{module}` does not know {}", forbidden.join("::")));
    }
    if matches!(first, "aya" | "aya_obj") && module != Some("kernel") {
        return Some(
            "only leaktrace/src/kernel/ names aya, so that a new version touches one place".to_owned(),
        );
    }
    let module = module?;
    if first == "procfs" && module != "process" {
        return Some("only leaktrace/src/process/ reads processes by procfs".to_owned());
    }
    let edge = edge_of(agent?, path)?;
    if edge == module || matches!(module, "run" | "main" | "lib") {
        return None;
    }
    Some(format!("`{edge}` is at the edge: only `run` imports it"))
}

/// Whether the path is the forbidden one, in it, or a star over it.
fn reaches(path: &[String], forbidden: &[&str]) -> bool {
    let star = path.last().is_some_and(|last| last == "*");
    let written = if star { &path[..path.len() - 1] } else { path };
    let common = written.iter().zip(forbidden).take_while(|(a, b)| a == *b).count();
    common == forbidden.len() || (star && common == written.len() && common > 0)
}

/// The edge module that a path of the agent's own crate starts at.
fn edge_of(file: &str, path: &[String]) -> Option<&'static str> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    let to_root = match path.first()?.as_str() {
        "crate" | "leaktrace" => true,
        // `super` of `a/b.rs` is `a`, of `a/mod.rs` and `a.rs` the crate.
        "super" => {
            let depth = file.split('/').count() - usize::from(file.ends_with("/mod.rs"));
            supers == depth
        }
        _ => false,
    };
    let target = path.get(supers.max(1))?;
    EDGES.into_iter().find(|edge| to_root && target == edge)
}

/// The laws on leaktrace-ebpf/Cargo.toml.
pub(super) fn kernel_side_dependencies(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("leaktrace-ebpf/Cargo.toml is not TOML")?;
    let mut tables: Vec<&toml::Table> = vec![&manifest];
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    tables.extend(targets.filter_map(|(_, table)| table.as_table()));
    let names = tables
        .iter()
        .flat_map(|table| {
            ["dependencies", "build-dependencies", "dev-dependencies"].map(|kind| table.get(kind))
        })
        .flatten()
        .filter_map(toml::Value::as_table)
        .flat_map(toml::Table::keys);
    Ok(names
        .filter(|name| !KERNEL_SIDE_MAY_USE.contains(&name.as_str()))
        .map(|name| {
            format!("leaktrace-ebpf/Cargo.toml: {name}: the kernel side depends on leaktrace-common and aya-ebpf only")
        })
        .collect())
}
