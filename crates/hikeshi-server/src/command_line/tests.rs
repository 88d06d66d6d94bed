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
        ("kubectl get --raw /healthz", false),
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
    ] {
        match run(line) {
            Err(CommandLineError::Refused(words)) => assert!(!words.en.is_empty() && !words.ja.is_empty()),
            other => panic!("{line}: {other:?}"),
        }
    }
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
}
