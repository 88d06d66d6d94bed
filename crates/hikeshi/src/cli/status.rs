//! `hikeshi status`.

use serde_json::json;

use super::args::JsonArgs;
use super::output;
use crate::control::record::Record;
use crate::daemon::client;
use crate::daemon::protocol::Request;
use crate::failure::Failure;
use crate::paths::Paths;

pub fn run(args: &JsonArgs) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let status = match Record::running(&paths) {
        Some(_) => client::ask(&paths, &Request::Status, |_| ())?,
        None => json!({"running": false, "home": paths.home}),
    };
    if args.json {
        output::json(&status);
        return Ok(());
    }
    if status["running"] != true {
        output::line(format!("not running (state folder {})", paths.home.display()));
        return Ok(());
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    output::line(format!("running {}", text(&status["system"])));
    output::line(format!("  API server  {}", text(&status["api"])));
    output::line(format!("  war room    {}", text(&status["url"])));
    match status["drill"]["id"].as_str() {
        Some(id) => output::line(format!("  drill       {id}")),
        None => output::line("  drill       none"),
    }
    Ok(())
}
