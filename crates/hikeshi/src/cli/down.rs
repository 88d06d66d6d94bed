//! `hikeshi down`: ends control, data plane and every pod; works just as well when control is already dead.

use super::args::DownArgs;
use super::output;
use crate::control::{dataplane, ending, record::Record};
use crate::failure::{Context, Failure};
use crate::paths::Paths;
use crate::stage;

pub fn run(args: &DownArgs) -> Result<(), Failure> {
    let paths = Paths::from_environment()?;
    let ran = paths.home.is_dir() && anything_runs(&paths);
    // Without anything running there may still be files of what died.
    if paths.home.is_dir() {
        destroy(&paths, args.keep_volumes)?;
        let swept = super::runtime()?.block_on(stage::sweep(&paths))?;
        if swept > 0 {
            output::line(format!(
                "removed what killed rehearsals or measurements had left: {swept}"
            ));
        }
    }
    output::line(if ran {
        "everything has ended"
    } else {
        "nothing is running"
    });
    Ok(())
}

fn anything_runs(paths: &Paths) -> bool {
    let pods = std::fs::read_dir(paths.home.join("pods")).is_ok_and(|mut pods| pods.next().is_some());
    pods || Record::running(paths).is_some() || dataplane::running(&paths.dataplane()).is_some()
}

/// Leaves no process, mount, socket or lock behind. Drills and certificates stay; volumes when asked.
pub fn destroy(paths: &Paths, keep_volumes: bool) -> Result<(), Failure> {
    end_system(paths)?;
    let _ = std::fs::remove_file(paths.control_record());
    if keep_volumes {
        return Ok(());
    }
    remove(&paths.volumes())
}

/// Ends the system and forgets its data, so that the next `up` is the normal state. Addresses and invitations stay.
pub fn reset(paths: &Paths) -> Result<(), Failure> {
    end_system(paths)?;
    remove(&paths.volumes())?;
    // Last: a reset that was cut short is done again.
    let _ = std::fs::remove_file(paths.drilled());
    Ok(())
}

fn end_system(paths: &Paths) -> Result<(), Failure> {
    // Control first: it would start again what is ended under it.
    if let Some(record) = Record::running(paths) {
        ending::end(&record.process);
    }
    super::runtime()?
        .block_on(hikeshi_node::destroy_all(&paths.home))
        .component("ending the pods")?;
    dataplane::stop(&paths.dataplane());
    for file in [paths.control_socket(), paths.lock()] {
        let _ = std::fs::remove_file(file);
    }
    // The cluster's objects describe pods that are no more; the next `up` applies the system anew.
    remove(&paths.store())
}

fn remove(folder: &std::path::Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::component(format!(
            "removing {}: {error}",
            folder.display()
        ))),
        _ => Ok(()),
    }
}
