//! A plan in words and in shell, as it would be carried out. Pure.

use std::ffi::{OsStr, OsString};

use super::network;
use crate::engine::image::Image;
use crate::host::volumes::DataName;
use crate::plan::Plan;
use crate::plan::record::{Record, system_record};
use crate::policy::Policy;
use crate::protocol::control::Task;
use crate::term;

/// A plan as a comment line, the engine's command, one option a line, and what init is told.
pub fn plan(title: &str, plan: &Plan) -> String {
    let mut text = format!("# {title}\n{}", term::shell_quote(plan.program.as_os_str()));
    for argument in &plan.arguments {
        // The sub-command beside the program, and then one argument a line.
        text.push_str(if argument == "run" { " " } else { " \\\n  " });
        text.push_str(&term::shell_quote(argument));
    }
    let quoted = |words: &[&OsStr]| words.iter().map(|word| term::shell_quote(word)).collect::<Vec<_>>().join(" ");
    let inside = match &plan.launch.task {
        Task::Run { program, arguments, .. } => {
            let mut words = vec![program.as_os_str()];
            words.extend(arguments.iter().map(OsString::as_os_str));
            format!("runs {}", quoted(&words))
        }
        Task::InstallRuntimes { specifiers } => {
            format!("installs {}", quoted(&specifiers.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
        }
        Task::InstallTool { apt, specifiers, .. } => {
            let debian = if apt.is_empty() {
                String::new()
            } else {
                format!(" after Debian's {}", quoted(&apt.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
            };
            format!("installs {}{debian}", quoted(&specifiers.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
        }
    };
    let names: Vec<&OsStr> = plan.launch.environment.iter().map(|(name, _)| name.as_os_str()).collect();
    text.push_str(&format!("\n# inside, init {inside}\n#   in {}", term::shell_quote(&plan.launch.workdir)));
    if !names.is_empty() {
        text.push_str(&format!(", with {} set", quoted(&names)));
    }
    text.push('\n');
    if let Some(orders) = &plan.proxy {
        let reached = network::of_proxy(&orders.reach);
        text.push_str(&format!("# outside, the proxy {reached}\n"));
        for port in &orders.ports {
            text.push_str(&format!("#   and listens on {port} (address:host:inside)\n"));
        }
    }
    text
}

/// What a record says when nothing is installed yet, for showing what would be done.
pub fn placeholder_record(policy: &Policy, image: &Image) -> Record {
    Record {
        version: if policy.installation.tool.is_system() { "system".to_owned() } else { String::new() },
        data: (!policy.installation.is_nothing()).then(DataName::placeholder),
        ..system_record(policy, image)
    }
}
