//! Every mistake that CEL can't see, all at once.
//!
//! What CEL does see is not repeated here, except where a typed object may come by another road than the API server
//! (exactly one source, exactly one handler).

use std::collections::HashSet;

use keyweir_crds::handler::HandlerSpec;
use keyweir_crds::{StreamConsumer, StreamConsumerSpec};

use crate::environment::Environment;
use crate::mistakes::Mistake;

/// All that is wrong with an object in that place.
pub(crate) fn validate(object: &StreamConsumer, environment: &Environment) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let spec = &object.spec;
    sources(spec, &mut mistakes);
    handlers(spec, environment, &mut mistakes);
    routes(spec, &mut mistakes);
    outputs(spec, &mut mistakes);
    mistakes
}

/// The topics an object reads.
pub(crate) fn topics(spec: &StreamConsumerSpec) -> Vec<&str> {
    let kafka = spec.source.kafka.iter().flat_map(|kafka| &kafka.topics);
    let embedded = spec.source.embedded.iter().flat_map(|embedded| &embedded.topics);
    kafka.chain(embedded).map(|topic| topic.as_str()).collect()
}

fn sources(spec: &StreamConsumerSpec, mistakes: &mut Vec<Mistake>) {
    let source = &spec.source;
    let given = [source.kafka.is_some(), source.etcd.is_some(), source.embedded.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        mistakes.push(Mistake::new("spec.source", "set exactly one of kafka, etcd, embedded"));
    }
    let mut seen = HashSet::new();
    for topic in topics(spec) {
        if !seen.insert(topic) {
            mistakes.push(Mistake::new("spec.source", format!("topic {topic} is named twice: remove one")));
        }
    }
    for (place, paused) in spec.paused_partitions.iter().enumerate() {
        if !seen.contains(paused.topic.as_str()) {
            let text = format!("{} is not among the source's topics", paused.topic.as_str());
            mistakes.push(Mistake::new(format!("spec.pausedPartitions[{place}].topic"), text));
        }
    }
}

fn handlers(spec: &StreamConsumerSpec, environment: &Environment, mistakes: &mut Vec<Mistake>) {
    handler("spec.handler", &spec.handler, mistakes);
    let local = environment.as_local();
    if spec.handler.container.is_some() && local.is_some_and(|local| local.handler_url.is_none()) {
        let text =
            "no container is started here: start it yourself and say where it listens with --handler-url";
        mistakes.push(Mistake::new("spec.handler.container", text));
    }
    if let Some(url) = local.and_then(|local| local.handler_url.as_deref())
        && spec.handler.http.is_none()
        && spec.handler.container.is_none()
    {
        let text = format!("--handler-url {url} replaces http and container handlers only: remove it");
        mistakes.push(Mistake::new("spec.handler", text));
    }
}

fn handler(field: &str, handler: &HandlerSpec, mistakes: &mut Vec<Mistake>) {
    let given = [
        handler.http.is_some(),
        handler.container.is_some(),
        handler.exec.is_some(),
        handler.builtin.is_some(),
        handler.native.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        mistakes.push(Mistake::new(field, "set exactly one of http, container, exec, builtin, native"));
    }
    if handler.exec.as_ref().is_some_and(|exec| exec.command.is_empty()) {
        mistakes.push(Mistake::new(format!("{field}.exec.command"), "name the program"));
    }
}

fn routes(spec: &StreamConsumerSpec, mistakes: &mut Vec<Mistake>) {
    let known: HashSet<&str> = topics(spec).into_iter().collect();
    let mut names = HashSet::new();
    for (place, route) in spec.routes.iter().enumerate() {
        let field = format!("spec.routes[{place}]");
        if !names.insert(route.name.as_str()) {
            mistakes.push(Mistake::new(
                format!("{field}.name"),
                "another route has this name: choose one of its own",
            ));
        }
        for topic in route.topics.iter().filter(|topic| !known.contains(topic.as_str())) {
            let text = format!("{} is not among the source's topics", topic.as_str());
            mistakes.push(Mistake::new(format!("{field}.topics"), text));
        }
        handler(&format!("{field}.handler"), &route.handler, mistakes);
    }
}

fn outputs(spec: &StreamConsumerSpec, mistakes: &mut Vec<Mistake>) {
    let named: HashSet<&str> = spec.outputs.iter().map(|output| output.name.as_str()).collect();
    let own = [("spec.handler".to_owned(), &spec.handler)];
    let routed = spec.routes.iter().enumerate();
    let routed = routed.map(|(place, route)| (format!("spec.routes[{place}].handler"), &route.handler));
    for (field, handler) in own.into_iter().chain(routed) {
        let map = handler.builtin.as_ref().and_then(|builtin| builtin.map.as_ref());
        if let Some(map) = map.filter(|map| !named.contains(map.output.as_str())) {
            let text = format!("there is no output {:?}: add it to spec.outputs", map.output.as_str());
            mistakes.push(Mistake::new(format!("{field}.builtin.map.output"), text));
        }
    }
}
