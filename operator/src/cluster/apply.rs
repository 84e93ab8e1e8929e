//! The only file that writes objects: server-side apply in a fixed order, then what is no longer wanted goes.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::{ConfigMap, Pod, Secret, Service},
        networking::v1::NetworkPolicy,
    },
};
use keyweir_render::WIRE_KEY;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use thiserror::Error;
use tracing::warn;

use super::{
    FIELD_MANAGER,
    memory::{self, Memory, mark},
    objects::{Applied, Mark, MeterObjects, Objects, PurgeObjects, Workload},
    owner::Owner,
};

/// Which write failed.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// An object could not be written.
    #[error("failed to apply {kind} {name}")]
    Apply {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// An object could not be looked at.
    #[error("failed to look at {kind} {name}")]
    Look {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// What is no longer wanted could not be looked for or removed.
    #[error("failed to prune objects of kind {kind}")]
    Prune {
        /// Their kind.
        kind: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
}

impl ApplyError {
    /// The API server's own answer.
    pub fn source_error(&self) -> &kube::Error {
        match self {
            Self::Apply { source, .. } | Self::Look { source, .. } | Self::Prune { source, .. } => source,
        }
    }
}

/// Whether objects that are no longer wanted are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// They are: the spec or the operator has changed since the last time.
    Orphans,
    /// They are not: the same was built before.
    Nothing,
}

/// Writes the objects of an owner.
///
/// What a pod needs to start comes before what starts pods. A field that someone else changed is taken back; a
/// field that the objects do not mention stays as others set it. A workload of the other sort, left by an earlier
/// spec, ends first: until its last pod is gone, nothing takes its place.
///
/// What was applied before and has not been touched since is only looked at, one read instead of five writes.
pub async fn apply(
    client: &Client,
    memory: &Memory,
    owner: &Owner,
    objects: Objects,
    sweep: Sweep,
) -> Result<Applied, ApplyError> {
    let writer = Writer { client, owner };
    let print = memory::print(&objects);
    if sweep == Sweep::Nothing
        && memory.holds(owner.uid(), print)
        && let Some(workload) = writer.look(&objects.workload).await?
    {
        return Ok(Applied { workload: Some(workload) });
    }
    // Whatever fails from here on: the next time all of it is applied.
    memory.forget(owner.uid());
    let mut marks = vec![
        mark(&writer.put(&objects.service_account).await?),
        mark(&writer.put(&objects.config_map).await?),
        mark(&writer.put(&objects.service).await?),
        mark(&writer.put(&objects.disruption_budget).await?),
    ];
    if let Some(secret) = objects.wire_secret {
        writer.make_once(secret).await?;
    }
    if let Some(service) = &objects.lag_service {
        marks.push(mark(&writer.put(service).await?));
    }
    match &objects.network_policy {
        Some(policy) => marks.push(mark(&writer.put(policy).await?)),
        None if memory.is_walled(owner.uid()) => {
            remove_policy(client, &owner.namespace, &owner.child.to_string()).await?;
        }
        None => {}
    }
    if sweep == Sweep::Orphans {
        let kept = [Some(&objects.service), objects.lag_service.as_ref()];
        writer
            .keep_only::<Service>(&kept.map(|kept| kept.map(ResourceExt::name_any).unwrap_or_default()))
            .await?;
    }
    if sweep == Sweep::Orphans && writer.predecessor_remains(&objects.workload).await? {
        return Ok(Applied { workload: None });
    }
    writer.mark(&objects.marks).await;
    let workload = match objects.workload {
        Workload::Deployment(desired) => {
            let applied = writer.put(&*desired).await?;
            marks.push(mark(&applied));
            Workload::Deployment(Box::new(applied))
        }
        Workload::StatefulSet(desired) => {
            let applied = writer.put(&*desired).await?;
            marks.push(mark(&applied));
            Workload::StatefulSet(Box::new(applied))
        }
    };
    memory.keep(owner.uid(), print, marks);
    Ok(Applied { workload: Some(workload) })
}

/// How a StatefulSet starts its pods unless it says otherwise.
const ONE_AFTER_ANOTHER: &str = "OrderedReady";

struct Writer<'a> {
    client: &'a Client,
    owner: &'a Owner,
}

impl Writer<'_> {
    /// The workload as it is; `None` if it is gone.
    async fn look(&self, wanted: &Workload) -> Result<Option<Workload>, ApplyError> {
        Ok(match wanted {
            Workload::Deployment(_) => self.get().await?.map(|found| Workload::Deployment(Box::new(found))),
            Workload::StatefulSet(_) => self.get().await?.map(|found| Workload::StatefulSet(Box::new(found))),
        })
    }

    async fn get<K>(&self) -> Result<Option<K>, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let name = self.owner.child.to_string();
        let api = Api::<K>::namespaced(self.client.clone(), &self.owner.namespace);
        let kind = || K::kind(&()).into_owned();
        api.get_opt(&name).await.map_err(|source| ApplyError::Look { kind: kind(), name, source })
    }

    async fn put<K>(&self, desired: &K) -> Result<K, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        put(self.client, &self.owner.namespace, desired).await
    }

    /// Marks pods. One that can't be marked goes by chance, or hears of its number a little later: no reason to keep all.
    async fn mark(&self, marks: &[Mark]) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.owner.namespace);
        let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        for Mark { pod, annotation, value } in marks {
            let annotation = *annotation;
            let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
            match pods.patch_metadata(pod, &by, &patch).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => warn!(pod, %error, "a pod was not marked"),
            }
        }
    }

    /// Makes a Secret with a content that nobody knows, unless there is one: then its content stays.
    async fn make_once(&self, desired: Secret) -> Result<(), ApplyError> {
        let name = desired.name_any();
        let content = draw().map_err(|source| ApplyError::Apply {
            kind: "Secret".to_owned(),
            name: name.clone(),
            source,
        })?;
        let secret = Secret { string_data: Some([(WIRE_KEY.to_owned(), content)].into()), ..desired };
        let manager = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.owner.namespace);
        match api.create(&manager, &secret).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(source) => Err(ApplyError::Apply { kind: "Secret".to_owned(), name, source }),
            Ok(_) => Ok(()),
        }
    }

    /// Deletes what else keeps pods for this owner; says whether some of it is still there.
    async fn predecessor_remains(&self, wanted: &Workload) -> Result<bool, ApplyError> {
        let own = [self.owner.child.to_string()];
        let (deployment, set): (&[String], &[String]) = match wanted {
            Workload::Deployment(_) => (&own, &[]),
            Workload::StatefulSet(_) => (&[], &own),
        };
        let others =
            self.keep_only::<Deployment>(deployment).await? | self.keep_only::<StatefulSet>(set).await?;
        Ok(others | self.replaces_set(wanted).await?)
    }

    /// How the pods of a StatefulSet are started can't be changed: one that does it in another way ends first.
    async fn replaces_set(&self, wanted: &Workload) -> Result<bool, ApplyError> {
        let Workload::StatefulSet(wanted) = wanted else { return Ok(false) };
        let Some(found) = self.get::<StatefulSet>().await? else { return Ok(false) };
        let policy = |set: &StatefulSet| {
            let said = set.spec.as_ref().and_then(|spec| spec.pod_management_policy.clone());
            said.unwrap_or_else(|| ONE_AFTER_ANOTHER.to_owned())
        };
        if policy(&found) == policy(wanted) {
            return Ok(false);
        }
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), &self.owner.namespace);
        let failed = |source| ApplyError::Prune { kind: "StatefulSet".to_owned(), source };
        delete(&api, &found.name_any()).await.map_err(failed)?;
        Ok(true)
    }

    /// Deletes the owner's objects of a kind that are not among these; says whether there were any.
    async fn keep_only<K>(&self, kept: &[String]) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let failed = |source| ApplyError::Prune { kind: K::kind(&()).into_owned(), source };
        let api = Api::<K>::namespaced(self.client.clone(), &self.owner.namespace);
        let ours = ListParams::default().labels(&self.owner.labels.selector_text());
        let mut found = false;
        for object in api.list_metadata(&ours).await.map_err(failed)? {
            let owned = object.owner_references().iter().any(|owner| owner.uid == self.owner.uid());
            if owned && !kept.contains(&object.name_any()) {
                found = true;
                delete(&api, &object.name_any()).await.map_err(failed)?;
            }
        }
        Ok(found)
    }
}

async fn put<K>(client: &Client, namespace: &str, desired: &K) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let name = desired.name_any();
    Api::<K>::namespaced(client.clone(), namespace)
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(desired))
        .await
        .map_err(|source| ApplyError::Apply { kind: K::kind(&()).into_owned(), name, source })
}

/// Writes a meter: its Deployment, and what goes with that.
pub async fn apply_meter(client: &Client, objects: MeterObjects) -> Result<(), ApplyError> {
    let namespace = objects.deployment.namespace().unwrap_or_default();
    let deployment = put(client, &namespace, &objects.deployment).await?;
    let owners = deployment.controller_owner_ref(&()).map(|owner| vec![owner]);
    let mut service = objects.service;
    service.metadata.owner_references.clone_from(&owners);
    put(client, &namespace, &service).await?;
    if let Some(mut policy) = objects.network_policy {
        policy.metadata.owner_references = owners;
        return put(client, &namespace, &policy).await.map(|_| ());
    }
    remove_policy(client, &namespace, &deployment.name_any()).await
}

async fn remove_policy(client: &Client, namespace: &str, name: &str) -> Result<(), ApplyError> {
    let failed = |source| ApplyError::Prune { kind: "NetworkPolicy".to_owned(), source };
    delete(&Api::<NetworkPolicy>::namespaced(client.clone(), namespace), name).await.map_err(failed)
}

/// Namespace and name of the Deployments with these labels.
pub async fn found(api: &Api<Deployment>, labels: &str) -> Result<Vec<(String, String)>, ApplyError> {
    let failed = |source| ApplyError::Prune { kind: "Deployment".to_owned(), source };
    let list = api.list_metadata(&ListParams::default().labels(labels)).await.map_err(failed)?;
    Ok(list.into_iter().map(|found| (found.namespace().unwrap_or_default(), found.name_any())).collect())
}

/// Deletes a Deployment and what goes with it.
pub async fn remove(client: &Client, namespace: &str, name: &str) -> Result<(), ApplyError> {
    let failed = |source| ApplyError::Prune { kind: "Deployment".to_owned(), source };
    delete(&Api::<Deployment>::namespaced(client.clone(), namespace), name).await.map_err(failed)
}

/// Purges what an owner has written; says whether that is done.
pub async fn apply_purge(client: &Client, owner: &Owner, objects: PurgeObjects) -> Result<bool, ApplyError> {
    put(client, &owner.namespace, &objects.config_map).await?;
    let job = put(client, &owner.namespace, &objects.job).await?;
    Ok(job.status.and_then(|status| status.succeeded).unwrap_or(0) > 0)
}

/// Removes what has purged.
pub async fn end_purge(client: &Client, owner: &Owner) -> Result<(), ApplyError> {
    let name = format!("{}-purge", owner.child);
    let failed = |kind: &str| {
        let kind = kind.to_owned();
        move |source| ApplyError::Prune { kind, source }
    };
    let (jobs, maps) = (
        Api::<Job>::namespaced(client.clone(), &owner.namespace),
        Api::<ConfigMap>::namespaced(client.clone(), &owner.namespace),
    );
    delete(&jobs, &name).await.map_err(failed("Job"))?;
    delete(&maps, &name).await.map_err(failed("ConfigMap"))
}

/// Lets an object have these finalizers, unless somebody has changed it meanwhile.
pub async fn keep_finalizers<K>(
    client: &Client,
    object: &K,
    finalizers: Vec<String>,
) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
{
    let (name, version) = (object.name_any(), object.resource_version());
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}});
    let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match api.patch_metadata(&name, &by, &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::Apply { kind: K::kind(&()).into_owned(), name, source }),
        Ok(_) => Ok(()),
    }
}

/// Ends what keeps pods for an owner, where that is asked for.
pub async fn stand_down(client: &Client, owner: &Owner, asked: bool) -> Result<(), ApplyError> {
    if asked {
        let writer = Writer { client, owner };
        writer.keep_only::<Deployment>(&[]).await?;
        writer.keep_only::<StatefulSet>(&[]).await?;
    }
    Ok(())
}

/// 256 random bits as text.
fn draw() -> Result<String, kube::Error> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let error = std::io::Error::other("the system gives no random numbers");
        kube::Error::Service(Box::new(error))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Deletes in the foreground: the object stays until its pods are gone, so that it can be waited for.
async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: DeserializeOwned + Clone + Debug,
{
    match api.delete(name, &DeleteParams::foreground()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
