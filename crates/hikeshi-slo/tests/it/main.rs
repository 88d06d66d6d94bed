//! Rules judged by the real `promtool`, and the shipped `cujs.yaml`.

mod files;
mod formats;
mod generated;
mod promtool;
mod sloth_shapes;

/// The shipped file.
pub fn shipped() -> hikeshi_slo::Cujs {
    let text = include_str!("../../../../systems/chirpy/cujs.yaml");
    hikeshi_slo::parse("cujs.yaml", text).expect("the shipped file is right")
}
