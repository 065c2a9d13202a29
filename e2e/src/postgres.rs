//! The user's database: one PostgreSQL in a namespace, with a table to query.

use anyhow::Result;

use crate::shell::{exec, kubectl, kubectl_apply};

const MANIFEST: &str = include_str!("../manifests/postgres.yaml");

/// Starts PostgreSQL in the namespace and waits until it answers.
pub async fn start(namespace: &str) -> Result<()> {
    kubectl_apply(namespace, MANIFEST).await?;
    kubectl(&format!("rollout status -n {namespace} deployment/pg --timeout=120s")).await?;
    Ok(())
}

/// One statement as the superuser; rows as lines.
pub async fn query(namespace: &str, sql: &str) -> Result<String> {
    let line = format!("psql -U postgres -d orders -tA -c \"{sql}\"");
    let pod = kubectl(&format!("get pod -n {namespace} -l app=pg -o jsonpath={{.items[0].metadata.name}}")).await?;
    Ok(exec(namespace, &pod, "postgres", &line).await?.trim().to_owned())
}

/// Names of the users that Holdfast made and did not remove yet.
pub async fn minted(namespace: &str) -> Result<Vec<String>> {
    let rows = query(namespace, "select rolname from pg_roles where rolname like 'v-%' order by 1").await?;
    Ok(rows.lines().map(str::to_owned).collect())
}
