//! Long because it is tables: what people type, and what tries to get past the list.

use proptest::prelude::*;

use super::*;

fn run(line: &str) -> Result<ConsoleCommand, CommandLineError> {
    Programs::default().resolve(line)
}

fn words(line: &str) -> Vec<String> {
    split(line).unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[test]
fn words_are_quoted_as_in_a_shell() {
    let table: &[(&str, &[&str])] = &[
        ("kubectl get pods", &["kubectl", "get", "pods"]),
        ("  a   b\tc ", &["a", "b", "c"]),
        ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
        (r"a b\ c \|", &["a", "b c", "|"]),
        ("a '' \"\"", &["a", "", ""]),
        (
            "-o=jsonpath='{.items[*].metadata.name}'",
            &["-o=jsonpath={.items[*].metadata.name}"],
        ),
        ("-o jsonpath={.items[*]}", &["-o", "jsonpath={.items[*]}"]),
        (
            r#"psql -c "select \"a\" from b where c = '$'""#,
            &["psql", "-c", r#"select "a" from b where c = '$'"#],
        ),
        ("echo 'a | b; $(c) > d'", &["echo", "a | b; $(c) > d"]),
        ("grep 'end$' x$", &["grep", "end$", "x$"]),
        (
            "--field-selector status.phase!=Running",
            &["--field-selector", "status.phase!=Running"],
        ),
        ("言葉 は そのまま", &["言葉", "は", "そのまま"]),
    ];
    for (line, expected) in table {
        assert_eq!(words(line), *expected, "{line}");
    }
}

#[test]
fn what_needs_a_shell_is_refused_by_name() {
    for (line, character) in [
        ("kubectl logs x | grep ERROR", "|"),
        ("kubectl get pods || true", "||"),
        ("kubectl get pods && kubectl get svc", "&&"),
        ("kubectl get pods; ls", ";"),
        ("kubectl get pods &", "&"),
        ("kubectl get pods > /tmp/x", ">"),
        ("kubectl apply < x", "<"),
        ("kubectl delete pod $(cat x)", "$("),
        ("kubectl delete pod \"$(cat x)\"", "$("),
        ("kubectl delete pod `cat x`", "`"),
        ("kubectl delete pod \"`cat x`\"", "`"),
        ("kubectl get $HOME", "$"),
        ("kubectl get pods\nls", "line break"),
        ("(kubectl get pods)", "("),
    ] {
        match run(line) {
            Err(CommandLineError::Shell { character: found, .. }) => assert_eq!(found, character, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert_eq!(run("kubectl get 'pods"), Err(CommandLineError::OpenQuote('\'')));
    assert_eq!(run("kubectl get \"pods"), Err(CommandLineError::OpenQuote('"')));
    assert_eq!(run("kubectl get pods \\"), Err(CommandLineError::OpenEscape));
    assert_eq!(run("   "), Err(CommandLineError::Empty));
}

#[test]
fn every_refusal_is_said_in_both_languages() {
    for line in [
        "",
        "kubectl get 'pods",
        "kubectl get pods \\",
        "kubectl get pods | grep x",
        "grep x",
        "nmap",
        "curl http://x",
        "kubectl edit cm x",
        "kubectl get pods --as root",
    ] {
        let error = run(line).expect_err(line);
        let ApiError::Refused { words, .. } = ApiError::from(error) else {
            panic!("{line}: another kind of refusal");
        };
        assert!(
            words.en.is_ascii() && !words.en.is_empty(),
            "{line}: {}",
            words.en
        );
        assert!(
            words.ja.contains('。') || words.ja.contains("例"),
            "{line}: {}",
            words.ja
        );
    }
}

#[test]
fn the_storys_commands_pass() {
    for (line, mutating) in [
        ("kubectl logs -l app=chirpy-server --since=5m", false),
        ("kubectl top pods -l app=timeline-service", false),
        ("kubectl scale deployment timeline-service --replicas=10", true),
        ("kubectl logs -l app=redis-cluster --since=10m", false),
        ("kubectl delete pod redis-cluster-2", true),
        ("kubectl get pods -l app=redis-cluster", false),
        ("$ kubectl get pods -A -o wide", false),
        ("kubectl -n chirpy get pods", false),
        ("kubectl -n chirpy scale deploy/x --replicas=1", true),
        ("kubectl rollout status deployment/x", false),
        ("kubectl rollout restart deployment/x", true),
        ("kubectl set env deployment/x RETRIES=3", true),
        ("kubectl set env deployment/x --list", false),
        ("kubectl patch cm x -p '{\"data\":{\"a\":\"1\"}}'", true),
        ("kubectl delete pod x --dry-run=server", false),
        ("kubectl exec redis-cluster-2 -- redis-cli -c client list", false),
        (
            "kubectl exec redis-cluster-2 -- redis-cli client kill type normal",
            true,
        ),
        ("kubectl exec redis-cluster-2 -- ps -f", false),
        ("kubectl exec x -- curl -s http://y:8080/metrics", false),
        ("kubectl exec x -- curl -X POST http://y:8080/", true),
        ("kubectl create configmap x --from-literal=a=b", true),
        ("kubectl logs -p x", false),
        ("kubectl", false),
        ("kubectl --help", false),
    ] {
        let command = run(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(command.mutating, mutating, "{line}");
        assert!(!command.follows, "{line}");
    }
}

#[test]
fn following_is_told_apart() {
    for line in [
        "kubectl get pods -w",
        "kubectl get pods --watch",
        "kubectl logs -f x",
        "kubectl logs -l app=x --follow",
        "kubectl get pods -Aw",
    ] {
        assert!(
            run(line).unwrap_or_else(|e| panic!("{line}: {e}")).follows,
            "{line}"
        );
    }
    assert!(!run("kubectl get pods -owide").unwrap().follows);
}

#[test]
fn programs_in_pods_become_exec() {
    assert_eq!(
        run("redis-cli cluster info").unwrap().args,
        ["exec", "redis-cluster-0", "--", "redis-cli", "cluster", "info"]
    );
    assert_eq!(
        run("psql -c 'select 1'").unwrap().args,
        ["exec", "postgres-0", "--", "psql", "-c", "select 1"]
    );
    assert!(
        run("ps aux")
            .unwrap_err()
            .to_string()
            .contains("kubectl exec POD -- ps aux")
    );
    let own = Programs::new(vec![("mysql".into(), Some("db-0".into()))]);
    assert_eq!(
        own.resolve("mysql -e x").unwrap().args[..3],
        ["exec", "db-0", "--"]
    );
    assert_eq!(own.names(), ["kubectl", "mysql"]);
}

#[test]
fn unknown_programs_name_what_is_allowed() {
    for line in [
        "rm -rf /",
        "bash -c ls",
        "A=1 kubectl get pods",
        "grep x",
        "/usr/bin/kubectl get pods",
    ] {
        let words = run(line).unwrap_err().to_string();
        assert!(words.contains("kubectl, redis-cli, psql"), "{line}: {words}");
    }
}

#[test]
fn identity_host_files_and_terminals_are_refused() {
    for line in [
        "kubectl --kubeconfig=/root/x get pods",
        "kubectl --kubeconfig /root/x get pods",
        "kubectl get pods --as admin",
        "kubectl get pods --as=admin",
        "kubectl get pods --as-group=system:masters",
        "kubectl get pods --token=x",
        "kubectl get pods --server https://evil",
        "kubectl get pods -s https://evil",
        "kubectl get pods -Ashttps://evil",
        "kubectl --context other get pods",
        "kubectl get pods --user=x",
        "kubectl apply -f /etc/passwd",
        "kubectl apply -f- ",
        "kubectl apply -Rf x",
        "kubectl apply -k /x",
        "kubectl apply --filename=x",
        "kubectl delete --filename x",
        "kubectl create configmap x --from-file=/etc/shadow",
        "kubectl create configmap x --from-env-file /etc/shadow",
        "kubectl create deployme x",
        "kubectl get pods -o jsonpath-file=/etc/passwd",
        "kubectl get pods -o go-template-file=/etc/passwd",
        "kubectl get pods -o=custom-columns-file=/etc/passwd",
        "kubectl cluster-info dump --output-directory=/x",
        "kubectl get pods --cache-dir=/x",
        "kubectl get pods --profile=cpu",
        "kubectl patch cm x --patch-file=/x",
        "kubectl edit cm x",
        "kubectl create svc clusterip x --tcp=1 --edit",
        "kubectl cp x:/a /b",
        "kubectl proxy",
        "kubectl port-forward x 1:2",
        "kubectl config view",
        "kubectl plugin list",
        "kubectl some-plugin",
        "kubectl -n chirpy some-plugin",
        "kubectl exec -it x",
        "kubectl exec x --",
        "kubectl exec x -- sh -c ls",
        "kubectl exec x -- /bin/bash",
    ] {
        refusal(line);
    }
}

fn refusal(line: &str) -> Text {
    match run(line) {
        Err(CommandLineError::Refused(words)) => {
            assert!(!words.en.is_empty() && !words.ja.is_empty(), "{line}");
            words
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn no_word_passes_for_another() {
    for line in [
        // `--` as a value.
        "kubectl -n -- proxy --www=/ --address=0.0.0.0",
        "kubectl --namespace -- proxy",
        "kubectl get pods -n -- --kubeconfig=/x",
        "kubectl get pods -l -- -f /x",
        "kubectl exec x -c -- sh -- ls",
        "kubectl get pods -- -f /x",
        "kubectl -- proxy",
        "kubectl run x --image=y -- sh",
        // A verb as the value of a flag that kubectl does not know before it.
        "kubectl --reject-methods get proxy --www=/",
        "kubectl --field-manager logs apply -f /path",
        "kubectl --env get kustomize https://evil",
        "kubectl -l get proxy",
        "kubectl -o get proxy",
        "kubectl -A get proxy",
        "kubectl -h get proxy",
        "kubectl --help get pods",
        "kubectl -n chirpy -l get proxy",
        "kubectl -n chirpy -n other get pods",
        "kubectl -n chirpy --help get pods",
        "kubectl '' get pods",
        "kubectl -n '' get pods",
        "kubectl -n",
        "kubectl -nA/b get pods",
        "kubectl --namespace=-x get pods",
        "kubectl -v 9 get pods",
        // A subcommand that is a value, or comes later.
        "kubectl rollout -n chirpy status deployment/x",
        "kubectl create -f pod x",
        "kubectl create --field-manager configmap plugin",
        "kubectl create -n configmap plugin",
        "kubectl create secret tls x",
        "kubectl set plugin x",
        "kubectl cluster-info dump",
        "kubectl cluster-info -h dump --help=false",
        "kubectl auth reconcile",
        "kubectl apply edit-last-applied deployment/x",
        "kubectl apply",
        "kubectl replace --force",
        "kubectl diff",
        "kubectl kustomize https://evil",
        "kubectl plugin",
        "kubectl __complete get",
        // Files of the host.
        "kubectl get pods -o templatefile=/etc/passwd",
        "kubectl get pods -otemplatefile=/etc/passwd",
        "kubectl get pods -Aotemplatefile=/etc/passwd",
        "kubectl get pods -o go-template-file --template=/etc/passwd",
        "kubectl get pods -o go-template --template=/etc/passwd",
        "kubectl get pods -o template --template /etc/passwd",
        "kubectl get pods -o jsonpath-file=/etc/passwd",
        "kubectl get pods --output=custom-columns-file=/etc/passwd",
        "kubectl get pods -o=custom-columns-file=/etc/passwd",
        "kubectl get pods --template=/etc/passwd",
        "kubectl get --raw /healthz",
        "kubectl get pods --from_file=/x",
        "kubectl get pods --log-file=/x",
        "kubectl get pods --vmodule=a=9",
        "kubectl get pods -f /x",
        "kubectl get pods -wf /x",
        "kubectl get -k https://evil",
        "kubectl exec x -f /x -- ls",
        "kubectl describe -Af /x",
        "kubectl set env deployment/x -",
        // Others' names.
        "kubectl get pods --as_group=system:masters",
        "kubectl exec x --server=https://evil -- ls",
        "kubectl exec --as=admin x -- ls",
        "kubectl create rolebinding x --role=y --user=z",
        // Values that kubectl reads in more ways than one.
        "kubectl delete pod x --dry-run=false",
        "kubectl delete pod x --dry-run=",
        "kubectl set env deployment/x A=b --list=0",
        "kubectl get pods -o",
        "kubectl get pods -l",
        "kubectl get pods -l -A",
        "kubectl get pods ---",
        "kubectl get pods --=x",
        "kubectl get pods -w=",
        "kubectl get pods -言",
        "kubectl get pods --no-such",
        "kubectl exec x y -- ls",
        "kubectl exec -- ls",
        "kubectl exec x -- env sh",
    ] {
        refusal(line);
    }
}

#[test]
fn refusals_name_the_flag_and_what_may_be_used() {
    for (line, en, ja) in [
        ("kubectl get pods --no-such=x", "--no-such is not", "--no-such は"),
        ("kubectl get pods --no-such", "--selector", "--selector"),
        (
            "kubectl --field-manager logs apply",
            "--field-manager",
            "--field-manager",
        ),
        (
            "kubectl rollout -w status",
            "status, history, restart",
            "status, history, restart",
        ),
        ("kubectl get pods -o xml", "custom-columns=", "custom-columns="),
        (
            "kubectl get pods -o go-template-file=/x",
            "-o go-template-file is",
            "-o go-template-file は",
        ),
        (
            "kubectl get pods --template=/x",
            "-o go-template=",
            "-o go-template=",
        ),
        ("kubectl get pods -l -A", "-l needs a value", "-l には値"),
        (
            "kubectl apply -f x",
            "kubectl apply is refused",
            "kubectl apply は",
        ),
        (
            "kubectl delete pod x --dry-run=false",
            "none, client, server",
            "none, client, server",
        ),
    ] {
        let words = refusal(line);
        assert!(words.en.contains(en), "{line}: {}", words.en);
        assert!(words.ja.contains(ja), "{line}: {}", words.ja);
    }
}

#[test]
fn ordinary_commands_pass() {
    let looking: &[&str] = &[
        "kubectl get po,svc,deploy -A --show-labels",
        "kubectl get pods -owide --watch=false",
        "kubectl get pods -Aowide",
        "kubectl get pods -o=json -l=app=x",
        "kubectl get pod x -oyaml --show-managed-fields",
        "kubectl get pods -o jsonpath='{.items[*].metadata.name}'",
        "kubectl get pods -o custom-columns=NAME:.metadata.name --no-headers",
        "kubectl get pods -o 'go-template={{range .items}}{{.kind}}{{end}}'",
        "kubectl get pods --sort-by=.metadata.creationTimestamp",
        "kubectl get pods --field-selector status.phase!=Running -L app",
        "kubectl get pods -n proxy",
        "kubectl -nchirpy get pods",
        "kubectl -n=chirpy get pods",
        "kubectl --namespace chirpy get pods",
        "kubectl --namespace=chirpy get pods",
        "kubectl -n get get get",
        "kubectl -n chirpy",
        "kubectl get --help",
        "kubectl rollout",
        "kubectl rollout -h",
        "kubectl help rollout status",
        "kubectl options",
        "kubectl delete pod x --help",
        "kubectl describe pod redis-cluster-2",
        "kubectl describe nodes --show-events=false",
        "kubectl logs -l app=x --since=1m --tail=3",
        "kubectl logs deploy/x -c app --tail -1 --timestamps --prefix",
        "kubectl logs x --follow=false --previous",
        "kubectl top pods -l app=x",
        "kubectl top po -A --containers --sort-by=cpu",
        "kubectl top nodes",
        "kubectl events --for pod/x --types=Warning",
        "kubectl explain deployment.spec --recursive",
        "kubectl api-resources --namespaced=true -o name",
        "kubectl api-versions",
        "kubectl auth can-i delete pods -n chirpy",
        "kubectl auth can-i --list",
        "kubectl auth whoami -o yaml",
        "kubectl version --client -o json",
        "kubectl cluster-info",
        "kubectl get pods -v=6 --request-timeout=5s",
        "kubectl rollout status deployment timeline-service --timeout=180s",
        "kubectl rollout history deployment/x --revision=2",
        "kubectl rollout undo deployment/x --dry-run=server",
        "kubectl scale deployment x --replicas=1 --dry-run",
        "kubectl create deploy x --image=y -r 2 --dry-run=client -oyaml",
        "kubectl wait --for=condition=Ready pod/x --timeout=60s",
        "kubectl wait --for condition=Ready pods -l app=x",
        "kubectl exec redis-cluster-2 -- redis-cli INFO clients",
        "kubectl exec -it redis-cluster-2 -- redis-cli -h x INFO",
        "kubectl exec deploy/x -c app -n chirpy -- ls -- -f --kubeconfig",
    ];
    let following: &[&str] = &[
        "kubectl get pods -o wide -w",
        "kubectl logs -fl app=x --max-log-requests 20",
        "kubectl logs x -fc app",
        "kubectl get events -w",
    ];
    let changing: &[&str] = &[
        "kubectl -n chirpy rollout restart deployment timeline-service",
        "kubectl rollout undo deployment/x --to-revision=1",
        "kubectl rollout pause deploy/x",
        "kubectl scale deployment x --replicas 10 --current-replicas=2",
        "kubectl scale deployment x --replicas=1 --dry-run=client --dry-run=none",
        "kubectl set env deployment/x A=b",
        "kubectl set env deployment/x -c app -e A=b --overwrite",
        "kubectl set env deployment/x A- --list=false",
        "kubectl set env deployment/x --from=configmap/y --prefix=P_",
        "kubectl set image deployment/x app=image:2",
        "kubectl set resources deployment x --limits=cpu=1,memory=1Gi",
        "kubectl set sa deployment x y",
        "kubectl patch configmap timeline-service-config --type=merge -p '{\"data\":{\"A\":\"64\"}}'",
        "kubectl patch deploy x --patch '{}' --subresource=scale",
        "kubectl label pod x a=b --overwrite",
        "kubectl annotate pods --all a-",
        "kubectl delete pod x --force --grace-period=0",
        "kubectl delete pods -l app=x --now --wait=false",
        "kubectl delete rs x --cascade=orphan",
        "kubectl create deployment x --image=y --replicas=2",
        "kubectl create cm x --from-literal=a=b --from-literal c=d",
        "kubectl create secret generic x --from-literal=a=b",
        "kubectl create job x --from=cronjob/y",
        "kubectl create svc clusterip x --tcp=80:8080",
        "kubectl create rolebinding x --role=y --serviceaccount=a:b",
        "kubectl create pdb x --selector=app=x --min-available=1",
        "kubectl expose deployment x --port=80 --target-port=8080 -l a=b",
        "kubectl autoscale deployment x --min=1 --max=5 --cpu-percent=80",
        "kubectl run x --image=y --restart=Never --env=A=b",
        "kubectl cordon node-1",
        "kubectl uncordon node-1",
        "kubectl drain node-1 --ignore-daemonsets --delete-emptydir-data",
        "kubectl taint nodes node-1 a=b:NoSchedule --overwrite",
        "kubectl -n chirpy exec redis-cluster-0 -- redis-cli CONFIG SET maxclients 4000",
    ];
    for (lines, mutating, follows) in [
        (looking, false, false),
        (following, false, true),
        (changing, true, false),
    ] {
        for line in lines {
            let command = run(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(command.mutating, mutating, "{line}");
            assert_eq!(command.follows, follows, "{line}");
            assert_eq!(command.args, words(line)[1..], "{line}");
        }
    }
}

/// Flags that no line may carry before `--`.
const FORBIDDEN: &str = "--kubeconfig --server --token --as --as-group --as-uid --context --cluster --user --username \
    --password --certificate-authority --client-key --client-certificate --insecure-skip-tls-verify \
    --tls-server-name --cache-dir --filename --kustomize --from-file --from-env-file --env-file --patch-file \
    --output-directory --template --raw --edit --profile --profile-output --log-file --vmodule --www --address \
    -k -s -";

/// What lines are made of, right or wrong.
const PIECES: &str = "pods x pod/x proxy get logs -- -n -nchirpy chirpy --namespace -l -lapp=x -f -A -w -Aw -wf -p -c \
    -o -oyaml -o=wide json -otemplatefile=/x -o=jsonpath-file=/x go-template-file=/x --output \
    --output=jsonpath={.a} --selector --tail -1 --dry-run --dry-run=none --watch --follow --container --type \
    --from-literal --from-literal=a=b --image --env --field-manager --list --all --help sh ls redis-cli";

const VERBS: &str = "get|get pods|logs|top pods|rollout status|rollout|scale|set env|patch|delete|create|\
    create configmap|create secret generic|run|wait|exec|exec x|apply|proxy|cluster-info|config|edit|plugin";

fn one_of(words: &'static str, between: char) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words.split(between).collect::<Vec<_>>())
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        16 => one_of(PIECES, ' ').prop_map(str::to_owned),
        1 => one_of(FORBIDDEN, ' ').prop_map(str::to_owned),
        1 => one_of(FORBIDDEN, ' ').prop_map(|flag| format!("{flag}=/x")),
    ]
}

proptest! {
    #[test]
    fn single_quotes_keep_any_word(word in "[^'\\r\\n]{0,40}") {
        prop_assert_eq!(split(&format!("kubectl '{word}'")).unwrap(), vec!["kubectl".to_owned(), word]);
    }

    #[test]
    fn no_line_panics(line in "\\PC{0,80}") {
        let _ = run(&line);
        let _ = run(&format!("kubectl {line}"));
    }

    #[test]
    fn no_accepted_line_carries_a_forbidden_flag(
        before in prop::collection::vec(piece(), 0..3),
        verb in one_of(VERBS, '|'),
        after in prop::collection::vec(piece(), 0..6),
    ) {
        // Before the verb most is refused: half of the lines begin with it.
        for line in [
            format!("kubectl {verb} {}", after.join(" ")),
            format!("kubectl {} {verb} {}", before.join(" "), after.join(" ")),
        ] {
            let Ok(ConsoleCommand { args, .. }) = run(&line) else {
                continue;
            };
            let verb = match args.first().map_or("", String::as_str) {
                "-n" | "--namespace" => args.get(2),
                first if first.starts_with('-') => args.get(1),
                _ => args.first(),
            };
            let verb = verb.map_or("", String::as_str);
            let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
            prop_assert!(end == args.len() || verb == "exec", "{}", line);
            let own = &args[..end];
            for arg in own {
                let name = arg.split('=').next().unwrap_or_default();
                prop_assert!(FORBIDDEN.split(' ').all(|flag| flag != name), "{}", line);
                prop_assert!(verb == "logs" || !matches!(name, "-f" | "-wf"), "{}", line);
                prop_assert!(!arg.starts_with("-o") || !arg.contains("file="), "{}", line);
            }
            for pair in own.windows(2) {
                let output = pair[0] == "-o" || pair[0] == "--output";
                prop_assert!(!output || !pair[1].contains("file="), "{}", line);
            }
        }
    }
}
