//! One Ingress over two Services, its weights honoured to the request and changed under traffic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Home, eventually};
use crate::kubectl::Kubectl;

/// For what takes a moment on an idle machine and longer on a busy one.
const SOON: Duration = Duration::from_secs(90);

/// One nginx that says its name, behind a Service of that name.
fn site(name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: default}}
data:
  nginx.conf: |
    user root;
    pid /tmp/nginx.pid;
    error_log stderr;
    events {{}}
    http {{
      access_log off;
      client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
      uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
      server {{ listen 80; default_type text/plain; location / {{ return 200 "{name}"; }} }}
    }}
---
{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: nginx
          image: nginx
          command: [nginx, -c, /etc/app/nginx.conf, -g, 'daemon off;']
          ports: [{{containerPort: 80}}]
          readinessProbe: {{tcpSocket: {{port: 80}}, periodSeconds: 1}}
          volumeMounts: [{{name: conf, mountPath: /etc/app}}]
      volumes: [{{name: conf, configMap: {{name: {name}}}}}]
---
"#
    )
}

/// The Ingress with these shares, as the AWS load balancer's users write it.
fn ingress(stable: u32, canary: u32) -> String {
    format!(
        r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: default
  annotations:
    alb.ingress.kubernetes.io/actions.split: |
      {{"type": "forward", "forwardConfig": {{"targetGroups": [
        {{"serviceName": "stable", "servicePort": 80, "weight": {stable}}},
        {{"serviceName": "canary", "servicePort": 80, "weight": {canary}}}]}}}}
spec:
  ingressClassName: alb
  rules:
    - host: shop.test
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: split, port: {{name: use-annotation}}}}}}}}]}}
"#
    )
}

/// Who answers at the entrance; `Err` says what came instead.
struct Entrance {
    http: reqwest::Client,
    url: String,
}

impl Entrance {
    async fn ask(&self) -> Result<String, String> {
        let answer = self.http.get(&self.url).header("host", "shop.test").send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("{status}: {body}"))
        }
    }

    /// How many of so many requests in a row each Service answered.
    async fn count(&self, requests: u32) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            let name = self.ask().await.expect("a request at the entrance");
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}

fn shares(stable: u32, canary: u32) -> BTreeMap<String, u32> {
    [("stable", stable), ("canary", canary)]
        .into_iter()
        .filter(|(_, share)| *share > 0)
        .map(|(name, share)| (name.to_owned(), share))
        .collect()
}

/// On a running system: exact shares of 1,000 requests, and other ones after a change that no request suffers from.
pub async fn shares_requests_exactly(home: &Home, admin: &Kubectl) {
    admin
        .apply(&format!(
            "{}{}{}",
            site("stable"),
            site("canary"),
            ingress(970, 30)
        ))
        .await;
    let address = home.record()["hosts"]["ingress"]
        .as_str()
        .expect("the entrance's address")
        .to_owned();
    let entrance = Arc::new(Entrance {
        http: reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("an HTTP client"),
        url: format!("http://{address}/page"),
    });
    for name in ["stable", "canary"] {
        admin
            .ok(&format!(
                "rollout status deployment {name} -n default --timeout=90s"
            ))
            .await;
    }
    eventually("the entrance serves the Ingress", SOON, async || {
        // Endpoints follow readiness a moment later: both must have answered.
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            seen.insert(entrance.ask().await.ok()?);
        }
        (seen.len() == 2).then_some(())
    })
    .await;
    assert_eq!(entrance.count(1_000).await, shares(970, 30));

    // Somebody goes on asking while the weights change, twice.
    let stop = Arc::new(AtomicBool::new(false));
    let (asking, stopped) = (entrance.clone(), stop.clone());
    let traffic = tokio::spawn(async move {
        let (mut served, mut failed) = (0_u32, Vec::new());
        while !stopped.load(Ordering::SeqCst) {
            match asking.ask().await {
                Ok(_) => served += 1,
                Err(why) => failed.push(why),
            }
        }
        (served, failed)
    });
    admin.apply(&ingress(500, 500)).await;
    eventually("half of the requests go to the canary", SOON, async || {
        let canary = entrance.count(50).await.remove("canary");
        (canary? > 15).then_some(())
    })
    .await;
    admin.apply(&ingress(0, 1_000)).await;
    eventually("all of the requests go to the canary", SOON, async || {
        (entrance.count(50).await == shares(0, 50)).then_some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    let (served, failed) = traffic.await.expect("the traffic ends");
    assert!(served > 0 && failed.is_empty(), "{served} served; {failed:?}");
    assert_eq!(entrance.count(1_000).await, shares(0, 1_000));

    admin.apply(&ingress(1, 3)).await;
    eventually("a quarter of the requests is back", SOON, async || {
        (entrance.count(8).await == shares(2, 6)).then_some(())
    })
    .await;
    assert_eq!(entrance.count(1_000).await, shares(250, 750));
    admin.ok("delete ingress shop -n default").await;
    admin
        .ok("delete deployment,service,configmap stable canary -n default")
        .await;
}
