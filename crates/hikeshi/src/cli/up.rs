//! `hikeshi up`: start control if need be, apply the system, wait until it is ready.

use super::args::UpArgs;
use super::output::{self, Progress};
use crate::daemon::protocol::Request;
use crate::daemon::{client, start};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::tools;

pub fn run(args: &UpArgs) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let mut progress = Progress::new(args.json);
    start::ensure(&paths, &args.system, args.listen, |text| progress.say(text))?;
    let up = Request::Up {
        system: args.system.clone(),
        left_behind: args.left_behind,
    };
    let status = client::ask(&paths, &up, |text| progress.say(text))?;
    progress.close();
    super::slo::seen(&args.system);
    if args.json {
        output::json(&status);
        return Ok(());
    }
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    output::line(format!("{} is up: {} pods", args.system, status["pods"]));
    output::line(format!(
        "  Chirpy      http://{}/",
        status["hosts"]["chirpy"].as_str().unwrap_or("-")
    ));
    output::line(format!(
        "  Prometheus  http://{}/prometheus/",
        status["hosts"]["prometheus"].as_str().unwrap_or("-")
    ));
    output::line(format!("  kubectl     export KUBECONFIG={}", text("kubeconfig")));
    output::line(format!("  war room    {}", text("url")));
    if let Some(advice) = tools::kubectl_advice() {
        output::line(advice);
    }
    output::line("start a drill: hikeshi drill start timelines-stop-updating");
    Ok(())
}
