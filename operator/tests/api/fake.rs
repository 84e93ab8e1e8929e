//! An API server small enough to read: objects by path, every call written down, faults on demand.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// How the path of a collection that is listed ends.
const COLLECTIONS: [&str; 4] = ["/pods", "/services", "/deployments", "/statefulsets"];

/// An answer to give instead of the true one.
struct Fault {
    method: Method,
    path: String,
    code: u16,
    reason: &'static str,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    calls: Vec<String>,
    faults: Vec<Fault>,
    version: u64,
}

/// The server; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            }),
            "default",
        )
    }

    /// Stores an object as if somebody had.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.objects.insert(path.to_owned(), object);
    }

    /// Changes a stored object as if somebody else had.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(path).unwrap_or_else(|| unreachable!("{path} is not stored"));
        change(&mut object);
        self.put(path, object);
    }

    /// Removes an object as if somebody else had.
    pub(crate) fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// The object at a path.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// Answers the next such call with an error.
    pub(crate) fn fail(&self, method: Method, path: &str, code: u16, reason: &'static str) {
        self.state().faults.push(Fault { method, path: path.to_owned(), code, reason });
    }

    /// The events that were told, each as reason and note.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let state = self.state();
        let events = state.objects.iter().filter(|(path, _)| path.starts_with("/apis/events.k8s.io/"));
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        events.map(|(_, event)| (text(event, "reason"), text(event, "note"))).collect()
    }

    /// The calls since the last time, each as `METHOD path`.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap_or_default();
        let given = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        let mut state = self.state();
        state.calls.push(format!("{} {path}", parts.method));
        let fault = state.faults.iter().position(|fault| fault.method == parts.method && fault.path == path);
        if let Some(position) = fault {
            let fault = state.faults.remove(position);
            return failure(fault.code, fault.reason);
        }
        match parts.method {
            Method::GET => state.read(&path, &query),
            Method::PATCH => state.apply(&path, given),
            Method::POST => state.create(&path, given),
            Method::PUT => state.replace(&path, given),
            Method::DELETE => state.delete(&path),
            _ => failure(405, "MethodNotAllowed"),
        }
    }
}

impl State {
    fn read(&self, path: &str, query: &str) -> Response<Body> {
        if let Some(object) = self.objects.get(path) {
            return success(object);
        }
        if !COLLECTIONS.iter().any(|plural| path.ends_with(plural)) {
            return failure(404, "NotFound");
        }
        let wanted = selector(query);
        let items: Vec<_> = self
            .objects
            .iter()
            .filter(|(at, object)| {
                let below = at.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
                below && wanted.iter().all(|(name, value)| object["metadata"]["labels"][name] == **value)
            })
            .map(|(_, object)| object)
            .collect();
        success(&json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    fn apply(&mut self, path: &str, given: Value) -> Response<Body> {
        let status = path.strip_suffix("/status");
        let at = status.or(path.strip_suffix("/scale")).unwrap_or(path);
        let before = self.objects.get(at).cloned();
        let mut after = match (&before, status) {
            (None, Some(_)) => return failure(404, "NotFound"),
            (None, None) => given.clone(),
            (Some(before), Some(_)) => {
                let mut after = before.clone();
                after["status"] = given["status"].clone();
                after
            }
            (Some(before), None) => {
                let mut after = before.clone();
                merge(&mut after, &given);
                after
            }
        };
        if before.as_ref() != Some(&after) {
            self.version += 1;
            after["metadata"]["resourceVersion"] = self.version.to_string().into();
            if status.is_none() {
                after["metadata"]["generation"] =
                    (after["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
            }
        }
        self.objects.insert(at.to_owned(), after.clone());
        if path.ends_with("/scale") {
            let replicas = &after["spec"]["replicas"];
            return success(
                &json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": after["metadata"],
                "spec": {"replicas": replicas}, "status": {"replicas": 0}}),
            );
        }
        success(&after)
    }

    fn create(&mut self, path: &str, mut given: Value) -> Response<Body> {
        let at = format!("{path}/{}", given["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&at) {
            return failure(409, "AlreadyExists");
        }
        self.version += 1;
        given["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(at, given.clone());
        success(&given)
    }

    fn replace(&mut self, path: &str, mut given: Value) -> Response<Body> {
        let Some(before) = self.objects.get(path) else { return failure(404, "NotFound") };
        if before["metadata"]["resourceVersion"] != given["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        self.version += 1;
        given["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.to_owned(), given.clone());
        success(&given)
    }

    /// In the foreground: the object stays, marked, until a test removes it.
    fn delete(&mut self, path: &str) -> Response<Body> {
        let Some(object) = self.objects.get_mut(path) else { return failure(404, "NotFound") };
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let object = object.clone();
        success(&object)
    }
}

/// What server-side apply by a single manager comes to: objects are merged, all else is replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn selector(query: &str) -> Vec<(String, String)> {
    let decoded = query.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    let Some((_, rest)) = decoded.split_once("labelSelector=") else { return Vec::new() };
    let text = rest.split('&').next().unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn success(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string().into_bytes()))
}

fn failure(code: u16, reason: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the test says {reason}"), "reason": reason, "code": code,
    });
    let mut response = success(&status);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}
