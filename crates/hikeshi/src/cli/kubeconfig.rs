//! `hikeshi kubeconfig`: a path to put into KUBECONFIG.

use super::args::KubeconfigArgs;
use super::output;
use crate::daemon::client;
use crate::daemon::protocol::Request;
use crate::failure::Failure;
use crate::paths::Paths;

pub fn run(args: &KubeconfigArgs) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let Some(name) = &args.seat else {
        if !paths.kubeconfig().exists() {
            return Err(Failure::component("there is no cluster yet").hint("`hikeshi up` starts one"));
        }
        output::line(paths.kubeconfig().display());
        return Ok(());
    };
    if !hikeshi_scenario::scenario::is_handle(name) {
        return Err(Failure::usage(format!(
            "{name:?} is no handle: 2 to 16 small letters and digits, e.g. pika7"
        )));
    }
    let roles = hikeshi_scenario::scenario::SEATS;
    if !roles.contains(&args.role.as_str()) {
        let meant = hikeshi_scenario::problem::nearest(&args.role, roles)
            .map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
        return Err(Failure::usage(format!(
            "no role is called {:?}{meant}; roles: {}",
            args.role,
            roles.join(", ")
        )));
    }
    let request = Request::SeatKubeconfig {
        name: name.clone(),
        seat: args.role.clone(),
    };
    let answer = client::ask(&paths, &request, |_| ())?;
    output::line(answer["path"].as_str().unwrap_or_default());
    Ok(())
}
