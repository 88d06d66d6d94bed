//! The verbs on resources.

mod custom_metrics;
mod delete;
mod eviction;
mod forward;
mod immutable;
mod metrics;
mod page;
mod patch;
mod proxy;
mod read;
mod review;
mod stream;
mod sub;
mod token;
mod watch;
mod write;

use axum::response::Response;
use http::Method;
use http::request::Parts;

pub(crate) use custom_metrics::{GROUPS as METRIC_GROUPS, handle as metric, is_metric};
pub(crate) use write::{Saving, create_object};

use crate::app::App;
use crate::registry::{Backing, Status};
use crate::request::Call;
use crate::status::{ApiError, ApiResult};

/// Answers a call. `parts` is what a websocket upgrade needs.
pub(crate) async fn handle(app: &App, call: Call, parts: Parts) -> ApiResult<Response> {
    match call.resource.backing {
        Backing::Review => return review::handle(app, &call),
        Backing::Metrics => return metrics::handle(app, &call).await,
        Backing::Store => {}
    }
    let named = call.name.is_some();
    match (call.sub.as_deref(), &call.method) {
        (None, &Method::GET | &Method::HEAD) if call.params.flag("watch") => watch::handle(app, call),
        (None, &Method::GET | &Method::HEAD) if named => read::get(app, &call),
        (None, &Method::GET | &Method::HEAD) => read::list(app, &call),
        (None, &Method::POST) if !named => write::create(app, &call),
        (None, &Method::PUT) if named => write::update(app, &call, false),
        (None, &Method::PATCH) if named => patch::patch(app, &call, false),
        (None, &Method::DELETE) if named => delete::one(app, &call),
        (None, &Method::DELETE) => delete::collection(app, &call),
        (Some("status"), method) if call.resource.status != Status::None => match *method {
            Method::GET => read::get(app, &call),
            Method::PUT => write::update(app, &call, true),
            Method::PATCH => patch::patch(app, &call, true),
            _ => Err(ApiError::method_not_allowed()),
        },
        (Some("scale"), _) if call.resource.scale => sub::scale(app, &call),
        (Some("finalize"), &Method::PUT) if call.resource.plural == "namespaces" => {
            write::update(app, &call, false)
        }
        (Some("log"), method) if call.resource.plural == "pods" && method != Method::GET => {
            Err(ApiError::method_not_allowed())
        }
        (Some("exec" | "attach" | "portforward"), method)
            if call.resource.plural == "pods" && !matches!(*method, Method::GET | Method::POST) =>
        {
            Err(ApiError::method_not_allowed())
        }
        (Some(sub), _) if call.resource.plural == "pods" => match sub {
            "binding" => sub::binding(app, &call),
            "eviction" => eviction::evict(app, &call),
            "log" => stream::log(app, &call).await,
            "exec" => stream::exec(app, &call, parts).await,
            "attach" => stream::attach(app, &call, parts).await,
            "portforward" => forward::handle(app, &call, parts).await,
            "proxy" => proxy::pod(app, &call, &parts).await,
            _ => Err(ApiError::no_such_path()),
        },
        (Some("token"), _) if call.resource.plural == "serviceaccounts" => token::handle(app, &call),
        (Some("proxy"), _) if call.resource.plural == "services" => proxy::service(app, &call, &parts).await,
        (Some(_), _) => Err(ApiError::no_such_path()),
        _ => Err(ApiError::method_not_allowed()),
    }
}
