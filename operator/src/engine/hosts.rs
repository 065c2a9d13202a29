//! Which databases SecretEngines may name. The server connects to them, with its place in the network: without a list, who
//! may write a SecretEngine can make it knock at any door.

/// Hosts of an administrator's list: `pg.shop.svc`, `*.shop.svc`, `*.{namespace}.svc`, each with an optional `:port`.
pub fn allowed(patterns: &[String], namespace: &str, url: &str) -> Result<(), String> {
    let patterns: Vec<String> =
        patterns.iter().map(|pattern| pattern.trim().replace("{namespace}", namespace).to_lowercase()).collect();
    if patterns.iter().all(String::is_empty) {
        return Ok(());
    }
    for host in hosts(url)? {
        if !patterns.iter().any(|pattern| fits(pattern, &host)) {
            return Err(format!(
                "{host} is none of the databases that an administrator allows here: {}",
                patterns.join(", ")
            ));
        }
    }
    Ok(())
}

/// `host:port` of every host that the URL names, in lower case. Whatever could name one in another way is refused.
fn hosts(url: &str) -> Result<Vec<String>, String> {
    let rest = url.split_once("://").map(|(_, rest)| rest).ok_or("connectionURL: no postgresql://host:port/name")?;
    let (authority, query) = match rest.find(['/', '?', '#']) {
        Some(end) => (&rest[..end], rest[end..].split_once('?').map_or("", |(_, query)| query)),
        None => (rest, ""),
    };
    let plain = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for key in query.split('&').filter_map(|pair| pair.split('=').next()).filter(|key| !key.is_empty()) {
        if !plain(key) || ["host", "hostaddr", "port"].contains(&key) {
            return Err(format!("connectionURL: {key:?} is not allowed; name host and port before the database"));
        }
    }
    let named = authority.rsplit_once('@').map_or(authority, |(_, named)| named);
    let hosts: Vec<String> = named.split(',').map(str::to_lowercase).collect();
    let known = |c: char| c.is_ascii_alphanumeric() || "._-:[]".contains(c);
    match hosts.iter().find(|host| host.is_empty() || host.starts_with(':') || !host.chars().all(known)) {
        Some(host) => Err(format!("connectionURL: {host:?} is no host:port")),
        None => Ok(hosts),
    }
}

fn fits(pattern: &str, host: &str) -> bool {
    let (name, port) = split(host);
    let (wanted, wanted_port) = split(pattern);
    let same_port = wanted_port.is_none_or(|wanted| wanted == port.unwrap_or("5432"));
    let same_name = match wanted.strip_prefix('*') {
        // A star stands for one or more labels, and for nothing less.
        Some(end) => name.len() > end.len() && name.ends_with(end),
        None => name == wanted,
    };
    same_port && same_name
}

/// Host and port; the host of `[::1]:5432` keeps its brackets.
fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(patterns: &[&str], url: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        allowed(&patterns, "shop", &format!("postgresql://{{{{username}}}}:{{{{password}}}}@{url}")).is_ok()
    }

    #[test]
    fn only_listed_databases_are_reached() {
        assert!(ok(&[], "anything:1/db"));
        let own = ["*.{namespace}.svc", "pg.central:6432"];
        for good in ["pg.shop.svc/orders", "PG.shop.svc:5433/orders?sslmode=require", "pg.central:6432/x"] {
            assert!(ok(&own, good), "{good}");
        }
        for bad in [
            "pg.other.svc/orders",
            "shop.svc/orders",
            "evil.example/x?y=.shop.svc",
            "pg.central/x",
            "pg.central:6433/x",
            "pg.shop.svc,evil.example/x",
            "pg.shop.svc/x?host=evil.example",
            "pg.shop.svc/x?hostaddr=10.0.0.1",
            "pg.shop.svc/x?%68ost=evil.example",
            "evil.example/x?application_name=@pg.shop.svc",
            "evil.example#@pg.shop.svc",
            "%2Fvar%2Frun/x",
            "/x",
        ] {
            assert!(!ok(&own, bad), "{bad}");
        }
    }
}
