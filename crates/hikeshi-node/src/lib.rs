//! The node: the kubelet that turns pods of the API into processes, the native images they run, and the
//! init that is pid 1 of every pod's namespaces.

mod chaosagent;
pub mod images;
mod kubelet;
pub mod netagent;
pub mod shim;
pub mod stress;

pub use images::{ImageCheck, check_images};
pub use kubelet::{
    ConnectError, ContainerUsage, ExecError, Kubelet, KubeletConfig, KubeletError, LogError, LogRequest,
    NodeTemplate, NodeUsage, PodUsage, destroy_all,
};
pub use shim::pod_init_main;
