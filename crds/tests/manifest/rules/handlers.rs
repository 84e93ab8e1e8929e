//! Rules of `handler`, `handlerOptions` and `routes`.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = handler("spec.handler", "handler: {http: null, {}}");
    cases.extend(handler("spec.routes[].handler", "routes: [{name: a, topics: [orders], handler: {{}}}]"));
    cases.extend(containers());
    cases.extend(options());
    cases.extend([
        case("spec.routes[]", "say which records")
            .accepts("routes: [{name: a, topics: [orders], handler: {builtin: {type: Drop}}}]")
            .accepts("routes: [{name: a, recordTypes: [Refund], handler: {builtin: {type: Drop}}}]")
            .refuses("routes: [{name: a, handler: {builtin: {type: Drop}}}]"),
        case("spec.routes[]", "a route can't bring a container")
            .accepts("routes: [{name: a, topics: [orders], handler: {http: {url: 'http://a/'}}}]")
            .refuses("routes: [{name: a, topics: [orders], handler: {container: {image: 'a:1'}}}]"),
    ]);
    cases
}

/// What holds for each handler; `{}` stands for its kinds.
fn handler(at: &str, spec: &str) -> Vec<Case> {
    let of = |kinds: &str| spec.replace("{}", kinds);
    let builtin = format!("{at}.builtin");
    vec![
        case(at, "set exactly one of http, container, exec, builtin, native")
            .accepts(of("exec: {command: [cat]}"))
            .accepts(of("native: {name: orders}"))
            .accepts(of("builtin: {type: Echo}"))
            .refuses(of(""))
            .refuses(of("exec: {command: [cat]}, builtin: {type: Drop}")),
        case(&builtin, "set delay together with type: Delay")
            .accepts(of("builtin: {type: Delay, delay: 10ms}"))
            .refuses(of("builtin: {type: Delay}"))
            .refuses(of("builtin: {type: Drop, delay: 10ms}")),
        case(&builtin, "set map together with type: Map")
            .accepts(of("builtin: {type: Map, map: {expression: /id, output: ids}}"))
            .refuses(of("builtin: {type: Map}"))
            .refuses(of("builtin: {type: Echo, map: {expression: /id, output: ids}}")),
        case(&builtin, "remove fail, or set type: Fail")
            .accepts(of("builtin: {type: Fail}"))
            .accepts(of("builtin: {type: Fail, fail: {attempts: 2}}"))
            .refuses(of("builtin: {type: Drop, fail: {}}")),
        case(format!("{at}.builtin.delay"), "must be between 0s and 24h").bounds(
            &of("builtin: {type: Delay, delay: {}}"),
            &["0s", "1ms", "24h"],
            &["24h1ms"],
        ),
    ]
}

fn containers() -> Vec<Case> {
    let at = "spec.handler.container";
    let spec = "handler: {http: null, container: {image: 'orders:1', {}}}";
    vec![
        case(format!("{at}.env[]"), "every variable needs a name").bounds(
            spec,
            &["env: [{name: A, value: b}]", "env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}]"],
            &["env: [{value: b}]"],
        ),
        case(format!("{at}.volumeMounts[]"), "every volume mount needs name and mountPath").bounds(
            spec,
            &["volumeMounts: [{name: a, mountPath: /a, readOnly: true}]"],
            &["volumeMounts: [{name: a}]", "volumeMounts: [{mountPath: /a}]"],
        ),
        case(format!("{at}.securityContext"), "privileged containers are refused").bounds(
            spec,
            &["securityContext: {runAsUser: 1000, privileged: false}", "securityContext: {}"],
            &["securityContext: {privileged: true}", "securityContext: {allowPrivilegeEscalation: true}"],
        ),
    ]
}

fn options() -> Vec<Case> {
    let at = "spec.handlerOptions";
    let batch = "handlerOptions: {batch: {}}";
    vec![
        case(at, "heartbeat must be below timeout").bounds(
            "handlerOptions: {}",
            &["{heartbeat: 1m}", "{timeout: None, heartbeat: 1h}", "{timeout: 1s}"],
            &["{heartbeat: 5m}", "{timeout: 1s, heartbeat: 2s}"],
        ),
        case(format!("{at}.timeout"), "must be between 1ms and 24h, or None").bounds(
            "handlerOptions: {timeout: {}}",
            &["1ms", "5m", "24h", "None"],
            &["0s", "24h1ms"],
        ),
        case(format!("{at}.heartbeat"), "must be between 100ms and 1h, or empty").bounds(
            "handlerOptions: {timeout: None, heartbeat: {}}",
            &["100ms", "1h", "''"],
            &["99ms", "1h1ms"],
        ),
        case(format!("{at}.maxResponseBytes"), "must be between 1Ki and 1Gi").bounds(
            "handlerOptions: {maxResponseBytes: {}}",
            &["1Ki", "1M", "1Gi"],
            &["'0'", "1k", "2Gi"],
        ),
        case(format!("{at}.batch.linger"), "must be between 0s and 1m").bounds(
            "handlerOptions: {batch: {linger: {}}}",
            &["0s", "5ms", "1m"],
            &["61s"],
        ),
        case("spec", "only http and container handlers take batches")
            .accepts(batch)
            .accepts(format!("{batch}\nhandler: {{http: null, container: {{image: 'orders:1'}}}}"))
            .accepts(format!(
                "{batch}\nhandler: {{http: null, builtin: {{type: Drop}}}}\n\
                 routes: [{{name: a, topics: [orders], handler: {{http: {{url: 'http://a/'}}}}}}]"
            ))
            .refuses(format!("{batch}\nhandler: {{http: null, exec: {{command: [cat]}}}}"))
            .refuses(format!("{batch}\nhandler: {{http: null, native: {{name: orders}}}}")),
    ]
}
